package nodes

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

// podOn makes a pod. kind is that of its controller.
func podOn(node, name, kind string, edit func(map[string]any)) *unstructured.Unstructured {
	o := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "Pod", "metadata": map[string]any{"name": name, "namespace": "shop", "uid": "uid of " + name},
		"spec":   map[string]any{"nodeName": node},
		"status": map[string]any{"phase": "Running"},
	}}
	if kind != "" {
		o.Object["metadata"].(map[string]any)["ownerReferences"] = []any{map[string]any{"kind": kind, "name": "x", "controller": true}}
	}
	if edit != nil {
		edit(o.Object)
	}
	return o
}

// evictions lets a stand-in for an API server evict as a real one does: allow decides, and the pod ends after a while.
func evictions(t *testing.T, client *fake.FakeDynamicClient, ends time.Duration, allow func(pod string) error) (evicted func() []string) {
	t.Helper()
	var names []string
	client.PrependReactor("create", "pods", func(action clienttesting.Action) (bool, runtime.Object, error) {
		create := action.(clienttesting.CreateAction)
		if create.GetSubresource() != "eviction" {
			return false, nil, nil
		}
		o := create.GetObject().(*unstructured.Unstructured)
		if err := allow(o.GetName()); err != nil {
			return true, nil, err
		}
		uid, _, _ := unstructured.NestedString(o.Object, "deleteOptions", "preconditions", "uid")
		if uid != "uid of "+o.GetName() {
			return true, nil, apierrors.NewConflict(schema.GroupResource{Resource: "pods"}, o.GetName(), errors.New("uid"))
		}
		names = append(names, o.GetName())
		time.AfterFunc(ends, func() {
			_ = client.Tracker().Delete(schema.GroupVersionResource{Version: "v1", Resource: "pods"}, o.GetNamespace(), o.GetName())
		})
		return true, o, nil
	})
	return func() []string { slices.Sort(names); return names }
}

// told gathers what is told of a node.
type told struct{ list []Progress }

func (l *told) tell(p Progress) { l.list = append(l.list, p) }

func (l *told) has(kind, pod string) bool {
	return slices.ContainsFunc(l.list, func(p Progress) bool { return p.Kind == kind && (pod == "" || p.Pod == "shop/"+pod) })
}

func cordoned(t *testing.T, client *fake.FakeDynamicClient, name string) bool {
	t.Helper()
	list, err := List(t.Context(), client)
	if err != nil {
		t.Fatal(err)
	}
	n, err := find(list, name)
	if err != nil {
		t.Fatal(err)
	}
	return n.Cordoned
}

func always(string) error { return nil }

func TestDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		blockedUntil := time.Now().Add(12 * time.Second)
		client := api(node("one", "10.0.0.1", "True", "server"), node("two", "10.0.0.2", "True"),
			podOn("two", "web", "ReplicaSet", nil), podOn("two", "db", "StatefulSet", nil), podOn("two", "logs", "DaemonSet", nil),
			podOn("two", "file", "Node", func(o map[string]any) {
				o["metadata"].(map[string]any)["annotations"] = map[string]any{"kubernetes.io/config.mirror": "x"}
			}),
			podOn("two", "done", "", func(o map[string]any) { o["status"] = map[string]any{"phase": "Succeeded"} }),
			podOn("two", "cache", "ReplicaSet", func(o map[string]any) {
				o["spec"].(map[string]any)["volumes"] = []any{map[string]any{"name": "c", "emptyDir": map[string]any{}}}
			}),
			podOn("one", "elsewhere", "", nil))
		evicted := evictions(t, client, 3*time.Second, func(pod string) error {
			if pod == "db" && time.Now().Before(blockedUntil) {
				return apierrors.NewTooManyRequests("Cannot evict pod as it would violate the pod's disruption budget.", 10)
			}
			return nil
		})
		var l told
		began := time.Now()
		if err := Drain(t.Context(), client, "two", DrainOptions{}, l.tell); err != nil {
			t.Fatal(err)
		}
		if got := evicted(); !slices.Equal(got, []string{"cache", "db", "done", "web"}) {
			t.Errorf("evicted %v", got)
		}
		if took := time.Since(began); took < 15*time.Second || took > 25*time.Second {
			t.Errorf("took %s: the budget was not waited for, or for too long", took)
		}
		for _, want := range [][2]string{{"cordoned", ""}, {"skipped", "logs"}, {"skipped", "file"}, {"evicting", "web"}, {"blocked", "db"}, {"evicting", "db"}, {"gone", "db"}, {"drained", ""}} {
			if !l.has(want[0], want[1]) {
				t.Errorf("%v is not told: %+v", want, l.list)
			}
		}
		if n := len(l.list); l.list[n-2].Left != 0 || l.list[n-1].Kind != "drained" {
			t.Errorf("at last %+v", l.list[n-2:])
		}
		if !cordoned(t, client, "two") || cordoned(t, client, "one") {
			t.Error("the wrong nodes are cordoned")
		}
		if err := Cordon(t.Context(), client, "two", false); err != nil || cordoned(t, client, "two") {
			t.Errorf("not uncordoned: %v", err)
		}
	})
}

func TestDrainRefuses(t *testing.T) {
	client := api(node("two", "10.0.0.2", "True"), podOn("two", "alone", "", nil), podOn("two", "web", "ReplicaSet", nil),
		podOn("two", "cache", "ReplicaSet", func(o map[string]any) {
			o["spec"].(map[string]any)["volumes"] = []any{map[string]any{"name": "s", "secret": map[string]any{}}, map[string]any{"name": "c", "emptyDir": map[string]any{}}}
		}))
	evicted := evictions(t, client, 0, always)
	var l told
	err := Drain(t.Context(), client, "two", DrainOptions{KeepEmptyDir: true}, l.tell)
	if !reason.Is(err, reason.NodeNotDrained) || !strings.Contains(err.Error(), "shop/alone") || !strings.Contains(err.Error(), "shop/cache") || len(evicted()) != 0 {
		t.Errorf("%v; evicted %v", err, evicted())
	}
	if err := Drain(t.Context(), client, "none", DrainOptions{}, l.tell); !reason.Is(err, reason.NodeUnknown) {
		t.Errorf("no such node: %v", err)
	}
}

// TestDrainIsBounded: pods that do not go, and an API server that does not answer, are named when the time is over.
func TestDrainIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := api(node("two", "10.0.0.2", "True"), podOn("two", "held", "ReplicaSet", nil), podOn("two", "slow", "ReplicaSet", nil))
		evictions(t, client, time.Hour, func(pod string) error {
			if pod == "held" {
				return apierrors.NewTooManyRequests("the disruption budget web needs 1 healthy pods and has 1 currently", 10)
			}
			return nil
		})
		var l told
		began := time.Now()
		err := Drain(t.Context(), client, "two", DrainOptions{Timeout: time.Minute}, l.tell)
		if !reason.Is(err, reason.NodeNotDrained) || !strings.Contains(err.Error(), "the disruption budget web") || !strings.Contains(err.Error(), "shop/slow was told to end") || time.Since(began) != time.Minute {
			t.Errorf("after %s: %v", time.Since(began), err)
		}
		client.PrependReactor("list", "pods", func(clienttesting.Action) (bool, runtime.Object, error) {
			if time.Since(began) < 65*time.Second {
				return false, nil, nil
			}
			return true, nil, &apierrors.StatusError{ErrStatus: metav1.Status{Code: http.StatusServiceUnavailable, Message: "away"}}
		})
		err = Drain(t.Context(), client, "two", DrainOptions{Timeout: time.Minute}, l.tell)
		if !reason.Is(err, reason.NodeNotDrained) || !strings.Contains(err.Error(), "away") {
			t.Errorf("API server away: %v", err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		if err := Drain(ctx, client, "two", DrainOptions{}, l.tell); err == nil || reason.Is(err, reason.NodeNotDrained) {
			t.Errorf("who asked has gone: %v", err)
		}
		time.Sleep(2 * time.Hour) // the evictions that are under way
	})
}

func TestRemove(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		password := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "Secret", "metadata": map[string]any{"name": "two.node-password.k3s", "namespace": system}}}
		client := api(node("one", "10.0.0.1", "True", "server", "etcd"), node("two", "10.0.0.2", "True", "server", "etcd"), podOn("two", "web", "ReplicaSet", nil), password)
		evictions(t, client, time.Second, always)
		gvr := schema.GroupVersionResource{Version: "v1", Resource: "nodes"}
		client.PrependReactor("delete", "nodes", func(action clienttesting.Action) (bool, runtime.Object, error) {
			name := action.(clienttesting.DeleteAction).GetName() // it goes when its member of etcd has
			time.AfterFunc(7*time.Second, func() { _ = client.Tracker().Delete(gvr, "", name) })
			return true, nil, nil
		})
		var l told
		began := time.Now()
		if err := Remove(t.Context(), client, "two", DrainOptions{Timeout: time.Minute}, l.tell); !reason.Is(err, reason.NodeRuns) || !l.has("drained", "") || !l.has("waiting", "") || time.Since(began) < time.Minute {
			t.Errorf("it runs: %v", err)
		}
		began = time.Now()
		if err := Remove(t.Context(), client, "two", DrainOptions{Force: true}, l.tell); err != nil {
			t.Fatal(err)
		}
		if time.Since(began) < 7*time.Second || !l.has("gone", "web") || !l.has("deleted", "") {
			t.Errorf("after %s: %+v", time.Since(began), l.list)
		}
		if list, err := List(t.Context(), client); err != nil || len(list) != 1 {
			t.Errorf("%+v, %v", list, err)
		}
		if list, err := core(client, "secrets").Namespace(system).List(t.Context(), metav1.ListOptions{}); err != nil || len(list.Items) != 0 {
			t.Errorf("its password is there: %v, %v", list, err)
		}
		if err := Remove(t.Context(), client, "one", DrainOptions{}, l.tell); !reason.Is(err, reason.NodeNeeded) {
			t.Errorf("the last server: %v", err)
		}
		if cordoned(t, client, "one") {
			t.Error("the last server is cordoned")
		}
		if err := Remove(t.Context(), client, "two", DrainOptions{}, l.tell); !reason.Is(err, reason.NodeUnknown) {
			t.Errorf("twice: %v", err)
		}
	})
}

// TestRemoveWaitsForTheEndOfAServer: it has gone when it was uninstalled, and is taken out when it has stopped, but not if the
// others could not decide then.
func TestRemoveWaitsForTheEndOfAServer(t *testing.T) {
	for _, uninstalled := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			client := api(node("one", "10.0.0.1", "True", "server", "etcd"), node("two", "10.0.0.2", "True", "server", "etcd"), node("three", "10.0.0.3", "False", "server", "etcd"), node("four", "10.0.0.4", "True", "server", "etcd"))
			set := func(o *unstructured.Unstructured) {
				_, _ = core(client, "nodes").Update(context.Background(), o, metav1.UpdateOptions{})
			}
			time.AfterFunc(20*time.Second, func() {
				if uninstalled {
					_ = core(client, "nodes").Delete(context.Background(), "two", metav1.DeleteOptions{})
				} else {
					set(node("two", "10.0.0.2", "Unknown", "server", "etcd")) // two of four: nobody can decide
				}
			})
			time.AfterFunc(40*time.Second, func() { set(node("three", "10.0.0.3", "True", "server", "etcd")) })
			var l told
			began := time.Now()
			err := Remove(t.Context(), client, "two", DrainOptions{}, l.tell)
			want := map[bool]time.Duration{true: 20 * time.Second, false: 40 * time.Second}[uninstalled]
			if took := time.Since(began); err != nil || took < want || took > want+3*time.Second || !l.has("deleted", "") {
				t.Errorf("uninstalled %t: after %s: %v, %+v", uninstalled, took, err, l.list)
			}
			time.Sleep(time.Minute)
		})
	}
}

// TestRemoveOfAMachineThatIsOff: nothing on it can be told to end.
func TestRemoveOfAMachineThatIsOff(t *testing.T) {
	client := api(node("one", "10.0.0.1", "True", "server"), node("two", "10.0.0.2", "Unknown"), podOn("two", "web", "ReplicaSet", nil))
	evicted := evictions(t, client, 0, always)
	var l told
	if err := Remove(t.Context(), client, "two", DrainOptions{}, l.tell); !reason.Is(err, reason.NodeNotDrained) {
		t.Errorf("without force: %v", err)
	}
	if err := Remove(t.Context(), client, "two", DrainOptions{Force: true}, l.tell); err != nil || len(evicted()) != 0 || !l.has("skipped", "") {
		t.Errorf("%v; evicted %v; %+v", err, evicted(), l.list)
	}
	if err := Forget(t.Context(), client, "one"); !reason.Is(err, reason.NodeNeeded) {
		t.Errorf("the last server: %v", err)
	}
	// a node that was made anew under the same name is another one
	other := node("three", "10.0.0.3", "True")
	if _, err := core(client, "nodes").Create(t.Context(), other, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	client.PrependReactor("delete", "nodes", func(action clienttesting.Action) (bool, runtime.Object, error) {
		o := other.DeepCopy()
		o.SetUID(types.UID("another"))
		return true, nil, client.Tracker().Update(schema.GroupVersionResource{Version: "v1", Resource: "nodes"}, o, "")
	})
	if err := Forget(t.Context(), client, "three"); err != nil {
		t.Error(err)
	}
}

func TestSpare(t *testing.T) {
	etcd := func(states ...string) []Node { // the first is the one that is to go
		var list []Node
		for i, s := range states {
			list = append(list, Node{Name: fmt.Sprint(i), Server: true, Etcd: true, Ready: s})
		}
		return list
	}
	tests := []struct {
		name string
		list []Node
		want bool // it can be spared
	}{
		{"worker", []Node{{Name: "0", Ready: "True"}, {Name: "s", Server: true}}, true},
		{"last server", []Node{{Name: "0", Server: true, Ready: "True"}, {Name: "w"}}, false},
		{"last with etcd", etcd("True"), false},
		{"one of two", etcd("True", "True"), true},
		{"a dead one of two", etcd("False", "True"), false},
		{"one of two, the other is dead", etcd("True", "False"), false},
		{"one of three", etcd("True", "True", "True"), true},
		{"a dead one of three", etcd("Unknown", "True", "True"), true},
		{"one of three, another is dead", etcd("True", "True", "False"), false},
		{"two dead of five, a dead one goes", etcd("False", "True", "True", "True", "False"), true},
		{"two dead of five, a good one goes", etcd("True", "True", "True", "False", "False"), false},
		{"three dead of five", etcd("False", "False", "False", "True", "True"), false},
		{"a server without etcd", []Node{{Name: "0", Server: true, Ready: "True"}, {Name: "s", Server: true, Etcd: true, Ready: "True"}}, true},
		{"the only etcd among servers", []Node{{Name: "0", Server: true, Etcd: true, Ready: "True"}, {Name: "s", Server: true, Ready: "True"}}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := spare(tt.list, tt.list[0])
			if (err == nil) != tt.want || err != nil && !reason.Is(err, reason.NodeNeeded) {
				t.Errorf("%v", err)
			}
		})
	}
}

func TestOwn(t *testing.T) {
	list := []Node{{Name: "one", BootID: "a", Internal: []string{"10.0.0.1"}}, {Name: "two", BootID: "a", Internal: []string{"10.0.0.2"}},
		{Name: "three", BootID: "b", Internal: []string{"10.0.0.3"}}, {Name: "four", Internal: []string{"10.0.0.3", "fd00::4"}}}
	for _, tt := range []struct{ boot, host, addresses, want string }{
		{"b", "anything", "", "three"}, {"a", "TWO", "", "two"}, {"a", "anything", "", ""}, {"c", "one", "", ""}, {"", "four", "", ""},
		{"b", "one", "10.0.0.1", "three"},                                                                      // the kernel knows best
		{"c", "anything", "10.0.0.2", "two"}, {"c", "four", "10.0.0.3", "four"}, {"c", "five", "10.0.0.3", ""}, // a container has another id
		{"c", "anything", "fd00::4", "four"}, {"c", "one", "10.0.0.9", ""},
	} {
		if got := own(list, tt.boot, strings.Fields(tt.addresses), tt.host); got != tt.want {
			t.Errorf("%+v: %q", tt, got)
		}
	}
}

// FuzzParseNode: whatever an API server says, a node is read or refused, and its addresses are addresses.
func FuzzParseNode(f *testing.F) {
	raw, err := node("one", "10.0.0.1", "True", "server", "etcd").MarshalJSON()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	f.Add([]byte(`{"apiVersion":"v1","kind":"Node","status":{"addresses":[{"type":"InternalIP","address":"$(x)"}]}}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		o := &unstructured.Unstructured{}
		if o.UnmarshalJSON(raw) != nil {
			return
		}
		if n, err := parseNode(o); err == nil {
			for _, a := range n.Internal {
				if strings.ContainsAny(a, "$/ \n") {
					t.Errorf("%q", a)
				}
			}
		}
		_, _, _ = parsePod(o)
	})
}

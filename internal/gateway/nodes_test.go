package gateway_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/gateway"
	"github.com/pipeopshq/pipeops-agent/internal/nodes"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

// kubeNodes is a stand-in for the Kubernetes API of a cluster of two nodes, behind an agent; it knows nodes and pods, and no
// controllers.
type kubeNodes struct {
	doorkeeper
	mu       sync.Mutex
	nodes    map[string]string // name -> JSON of its labels
	pods     map[string]string // name -> node
	cordoned map[string]bool
	users    map[string]bool
	held     string // why a pod is not let go
}

func newKube() *kubeNodes {
	return &kubeNodes{nodes: map[string]string{"one": `{"node-role.kubernetes.io/control-plane":"true"}`, "two": `{}`},
		pods: map[string]string{"web": "two"}, cordoned: map[string]bool{}, users: map[string]bool{}}
}

func (k *kubeNodes) node(name string) string {
	return fmt.Sprintf(`{"apiVersion":"v1","kind":"Node","metadata":{"name":%q,"uid":"u-%s","labels":%s},"spec":{"unschedulable":%t},
		"status":{"nodeInfo":{"kubeletVersion":"v1.33.2+k3s1"},"addresses":[{"type":"InternalIP","address":"10.0.0.1"}],"conditions":[{"type":"Ready","status":"True"},{"type":"DiskPressure","status":"True"}]}}`,
		name, name, k.nodes[name], k.cordoned[name])
}

func (k *kubeNodes) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path, ok := strings.CutPrefix(r.URL.Path, wire.PathAgentKube+"/api/v1")
	if !ok {
		k.doorkeeper.ServeHTTP(w, r)
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.users[r.Header.Get(wire.HeaderUser)+" "+r.Header.Get(wire.HeaderGroup)] = true
	w.Header().Set("Content-Type", "application/json")
	gone := func() {
		w.WriteHeader(http.StatusNotFound)
		_, _ = w.Write([]byte(`{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"NotFound","code":404}`))
	}
	name := path[strings.LastIndex(path, "/")+1:]
	switch {
	case path == "/nodes":
		var items []string
		for n := range k.nodes {
			items = append(items, k.node(n))
		}
		_, _ = fmt.Fprintf(w, `{"apiVersion":"v1","kind":"NodeList","items":[%s]}`, strings.Join(items, ","))
	case strings.HasPrefix(path, "/nodes/") && k.nodes[name] == "":
		gone()
	case strings.HasPrefix(path, "/nodes/"):
		switch r.Method {
		case http.MethodPatch:
			var patch struct{ Spec struct{ Unschedulable bool } }
			_ = json.NewDecoder(r.Body).Decode(&patch)
			k.cordoned[name] = patch.Spec.Unschedulable
		case http.MethodDelete:
			delete(k.nodes, name)
			_, _ = w.Write([]byte(`{"kind":"Status","apiVersion":"v1","status":"Success"}`))
			return
		}
		_, _ = w.Write([]byte(k.node(name)))
	case path == "/pods":
		var items []string
		for p, n := range k.pods {
			items = append(items, fmt.Sprintf(`{"apiVersion":"v1","kind":"Pod","metadata":{"name":%q,"namespace":"shop","uid":"u","ownerReferences":[{"kind":"ReplicaSet","controller":true}]},"spec":{"nodeName":%q}}`, p, n))
		}
		_, _ = fmt.Fprintf(w, `{"apiVersion":"v1","kind":"PodList","items":[%s]}`, strings.Join(items, ","))
	case strings.HasSuffix(path, "/eviction") && k.held != "":
		w.WriteHeader(http.StatusTooManyRequests)
		_, _ = fmt.Fprintf(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"TooManyRequests","code":429,"message":%q}`, k.held)
	case strings.HasSuffix(path, "/eviction"):
		delete(k.pods, strings.Split(path, "/")[4])
		w.WriteHeader(http.StatusCreated)
		_, _ = w.Write([]byte(`{"kind":"Status","apiVersion":"v1","status":"Success"}`))
	default:
		gone()
	}
}

func (k *kubeNodes) hold(why string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.held = why
}

func TestNodes(t *testing.T) {
	g, first, _ := shop(t)
	if _, err := g.Admin.Nodes(t.Context(), "shop"); !reason.Is(err, reason.ClusterNotConnected) {
		t.Errorf("an agent that does not know the API: %v", err)
	}
	first.stop()
	g.WaitConnected("shop", false)
	kube := newKube()
	a := runAgent(t, first.id, kube)
	g.WaitConnected("shop", true)
	id, _, err := join(g, t.TempDir(), "two", nodeToken(t, g, wire.RoleWorker))
	if err != nil {
		t.Fatal(err)
	}
	worker := runAgent(t, id, http.NotFoundHandler())
	g.Wait("the worker is connected", func() bool { return connected(t, g, id.Machine()) })

	list, err := g.Admin.Nodes(t.Context(), "shop")
	if err != nil || len(list) != 2 {
		t.Fatalf("%+v, %v", list, err)
	}
	if n := list[0]; n.Name != "one" || n.Role != "server" || n.Ready != "True" || n.Machine != "" || n.Tunnel {
		t.Errorf("%+v", n) // the stand-in for its agent does not say which node it is
	}
	if n := list[1]; n.Name != "two" || n.Role != "worker" || n.Machine != id.Machine() || !n.Tunnel || n.Leads || len(n.Pressures) != 1 || n.Version != "v1.33.2+k3s1" {
		t.Errorf("%+v", n)
	}

	var kinds []string
	tell := func(p gateway.NodeProgress) { kinds = append(kinds, p.Kind) }
	kube.hold("it would violate the budget of web")
	err = g.Admin.DrainNode(t.Context(), "shop", "two", nodes.DrainOptions{Timeout: time.Second}, tell)
	if !reason.Is(err, reason.NodeNotDrained) || !strings.Contains(err.Error(), "budget of web") {
		t.Errorf("held back: %v", err)
	}
	kube.hold("")
	if err := g.Admin.CordonNode(t.Context(), "shop", "two", false, tell); err != nil {
		t.Error(err)
	}
	kinds = nil
	if err := g.Admin.DrainNode(t.Context(), "shop", "two", nodes.DrainOptions{}, tell); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(kinds, " "); got != "cordoned evicting gone drained done" {
		t.Errorf("told %s", got)
	}
	if err := g.Admin.RemoveNode(t.Context(), "shop", "one", nodes.DrainOptions{}, tell); !reason.Is(err, reason.NodeNeeded) {
		t.Errorf("the last server: %v", err)
	}
	if err := g.Admin.RemoveNode(t.Context(), "shop", "two", nodes.DrainOptions{}, tell); err != nil {
		t.Fatal(err)
	}
	worker.reason(g, string(reason.IdentityRevoked))
	if list, err := g.Admin.Nodes(t.Context(), "shop"); err != nil || len(list) != 1 {
		t.Errorf("%+v, %v", list, err)
	}
	if err := g.Admin.RemoveNode(t.Context(), "shop", "two", nodes.DrainOptions{}, tell); !reason.Is(err, reason.NodeUnknown) {
		t.Errorf("twice: %v", err)
	}
	kube.mu.Lock()
	if len(kube.users) != 1 || !kube.users["pipeops:admin pipeops:admins"] {
		t.Errorf("asked as %v", kube.users)
	}
	kube.mu.Unlock()
	a.stop()
}

// TestANodeGoesWithItsMachine: a machine that was uninstalled is taken out of its cluster by way of the others, and one that
// never became a node is forgotten all the same.
func TestANodeGoesWithItsMachine(t *testing.T) {
	g, first, _ := shop(t)
	first.stop()
	g.WaitConnected("shop", false)
	kube := newKube()
	runAgent(t, first.id, kube)
	g.WaitConnected("shop", true)
	for _, name := range []string{"two", "never"} {
		id, _, err := join(g, t.TempDir(), name, nodeToken(t, g, wire.RoleWorker))
		if err != nil {
			t.Fatal(err)
		}
		if name == "never" {
			if err := g.Admin.RemoveNode(t.Context(), "shop", name, nodes.DrainOptions{}, func(gateway.NodeProgress) {}); err != nil {
				t.Errorf("%v", err)
			}
			continue
		}
		if err := id.Leave(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		g.Wait("its node is gone", func() bool { list, err := g.Admin.Nodes(t.Context(), "shop"); return err == nil && len(list) == 1 })
	}
	if list, err := g.Admin.Machines(t.Context(), "shop"); err != nil || len(list) != 1 {
		t.Errorf("%+v, %v", list, err)
	}
}

// TestTheOnlyServerWithATunnelIsNotRemoved: the cluster has another server, of which the gateway knows nothing. With the machine it would
// lose the cluster, its projects, and the way by which the node is removed.
func TestTheOnlyServerWithATunnelIsNotRemoved(t *testing.T) {
	g, first, _ := shop(t)
	first.stop()
	g.WaitConnected("shop", false)
	kube := newKube()
	kube.nodes["stray"] = kube.nodes["one"]
	server := newServer(t, "one", first.id)
	server.answers = kube
	server.run(t)
	g.Wait("its node is known", func() bool { list, err := g.Admin.Nodes(t.Context(), "shop"); return err == nil && list[0].Tunnel })
	err := g.Admin.RemoveNode(t.Context(), "shop", "one", nodes.DrainOptions{Force: true}, func(gateway.NodeProgress) {})
	if !reason.Is(err, reason.NodeNeeded) {
		t.Errorf("got %v", err)
	}
	if list, err := g.Admin.Nodes(t.Context(), "shop"); err != nil || len(list) != 3 || list[0].Cordoned {
		t.Errorf("%+v, %v", list, err)
	}
	if info, ok := g.Cluster("shop"); !ok || !info.Connected {
		t.Errorf("%+v", info)
	}
}

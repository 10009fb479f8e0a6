package reach

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/pipeopshq/pipeops-agent/internal/carry"
	"github.com/pipeopshq/pipeops-agent/internal/cluster"
	"github.com/pipeopshq/pipeops-agent/internal/cluster/clustertest"
	"github.com/pipeopshq/pipeops-agent/internal/policy"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
	"github.com/pipeopshq/pipeops-agent/internal/refusal"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type m = map[string]any

func thing(kind, apiVersion, namespace, name string, labels m, more m) *unstructured.Unstructured {
	o := m{"apiVersion": apiVersion, "kind": kind, "metadata": m{"name": name, "namespace": namespace, "uid": kind + "-" + name, "labels": labels}}
	for k, v := range more {
		o[k] = v
	}
	return &unstructured.Unstructured{Object: o}
}

func pod(name string, onHost bool, phase string, ips ...string) *unstructured.Unstructured {
	var list []any
	for _, ip := range ips {
		list = append(list, m{"ip": ip})
	}
	return thing("Pod", "v1", "shop", name, m{}, m{
		"spec": m{"hostNetwork": onHost, "containers": []any{m{"name": "c", "ports": []any{
			m{"name": "http", "containerPort": int64(8080)}, m{"name": "dns", "containerPort": int64(53), "protocol": "UDP"}}}}},
		"status": m{"phase": phase, "podIPs": list},
	})
}

func service(name string, spec m) *unstructured.Unstructured {
	if spec["ports"] == nil {
		spec["ports"] = []any{m{"name": "web", "port": int64(80)}, m{"name": "dns", "port": int64(53), "protocol": "UDP"}}
	}
	return thing("Service", "v1", "shop", name, m{}, m{"spec": spec})
}

// slice names places behind a service: "POD ADDRESS", POD may be -.
func slice(name string, places ...string) *unstructured.Unstructured {
	var list []any
	for _, p := range places {
		who, address, _ := strings.Cut(p, " ")
		e := m{"addresses": []any{address}, "conditions": m{"ready": !strings.HasPrefix(who, "late")}}
		if who != "-" {
			e["targetRef"] = m{"kind": "Pod", "name": who}
		}
		list = append(list, e)
	}
	return thing("EndpointSlice", "discovery.k8s.io/v1", "shop", name+"-x", m{"kubernetes.io/service-name": name}, m{
		"addressType": "IPv4", "endpoints": list,
		"ports": []any{m{"name": "web", "port": int64(8080)}, m{"name": "dns", "port": int64(53), "protocol": "UDP"}}})
}

func node(name string, addresses ...string) *unstructured.Unstructured {
	var list []any
	for _, a := range addresses {
		list = append(list, m{"type": "InternalIP", "address": a})
	}
	return thing("Node", "v1", "", name, m{}, m{"spec": m{"podCIDRs": []any{"10.42.7.0/24"}}, "status": m{"addresses": list}})
}

// world is a Reach with an API server and a network that are not there: whatever address is dialled leads to one server of the test.
type world struct {
	*Reach
	api    *fake.FakeDynamicClient
	server net.Listener

	mu      sync.Mutex
	dialled []string
	denied  map[string]bool // users
	reviews int
}

func build(t *testing.T, objects ...*unstructured.Unstructured) *world {
	t.Helper()
	api := thing("Service", "v1", "default", "kubernetes", m{}, m{"spec": m{"clusterIP": "10.43.0.1", "ports": []any{m{"name": "https", "port": int64(443)}}}})
	apiSlice := slice("kubernetes", "- 192.0.2.1")
	apiSlice.SetNamespace("default")
	objects = append(objects, api, apiSlice, node("one", "192.0.2.10", "2001:db8::10", "one"), node("two", "192.0.2.11"))
	client := clustertest.New(objects...)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	w := &world{api: client.Dynamic.(*fake.FakeDynamicClient), server: listener, denied: map[string]bool{}}
	w.api.PrependReactor("create", "selfsubjectaccessreviews", func(action clienttesting.Action) (bool, runtime.Object, error) {
		asked := action.(clienttesting.CreateAction).GetObject().(*unstructured.Unstructured).DeepCopy()
		w.mu.Lock()
		defer w.mu.Unlock()
		w.reviews++
		attributes, _, _ := unstructured.NestedStringMap(asked.Object, "spec", "resourceAttributes")
		what := fmt.Sprintf("%s %s/%s %s/%s", attributes["verb"], attributes["resource"], attributes["subresource"], attributes["namespace"], attributes["name"])
		_ = unstructured.SetNestedField(asked.Object, !w.denied[what], "status", "allowed")
		return true, asked, nil
	})
	w.Reach = New(Options{
		Source: &cluster.Source{Fixed: client}, Log: slog.New(slog.DiscardHandler),
		Addresses: func() ([]netip.Addr, error) {
			return []netip.Addr{netip.MustParseAddr("203.0.113.5"), netip.MustParseAddr("10.42.0.1")}, nil
		},
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			w.mu.Lock()
			w.dialled = append(w.dialled, network+" "+address)
			w.mu.Unlock()
			return (&net.Dialer{}).DialContext(ctx, "tcp", listener.Addr().String())
		},
	})
	t.Cleanup(func() { // a server of the test does not wait for connections that were taken over
		left := func() string {
			w.Reach.mu.Lock()
			defer w.Reach.mu.Unlock()
			w.follower.mu.Lock()
			defer w.follower.mu.Unlock()
			if len(w.follower.objects)+w.open+len(w.users)+len(w.dials) == 0 {
				return ""
			}
			return fmt.Sprintf("%v, %d open, %v, %d dials", w.follower.objects, w.open, w.users, len(w.dials))
		}
		for deadline := time.Now().Add(10 * time.Second); left() != "" && time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		}
		if l := left(); l != "" {
			t.Errorf("left: %s", l)
		}
		w.follower.work.Wait()
	})
	return w
}

func (w *world) reached() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]string(nil), w.dialled...)
}

// ask asks for a target as a user, and returns the error if it is refused.
func (w *world) ask(t *testing.T, user, network, target string) error {
	t.Helper()
	to, err := wire.ParseTarget(network, target)
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequest(http.MethodGet, wire.PathAgentConnect+to.Path(), nil)
	r.Header.Set("Connection", "Upgrade")
	r.Header.Set("Upgrade", wire.Connect)
	if user != "" {
		r.Header.Set(wire.HeaderUser, user)
	}
	recorder := httptest.NewRecorder() // cannot be taken over: what gets so far is closed again
	w.ServeHTTP(recorder, r)
	if recorder.Code == http.StatusOK {
		return nil
	}
	return refusal.Read(recorder.Result())
}

// TestWhatIsNeverDialled is the corpus of what users, or who may write objects, could try to reach by the agent.
func TestWhatIsNeverDialled(t *testing.T) {
	pods := []*unstructured.Unstructured{
		pod("good", false, "Running", "10.42.0.5"), pod("onhost", true, "Running", "192.0.2.10"), pod("done", false, "Succeeded", "10.42.0.6"),
	}
	bad := map[string]string{ // addresses that somebody has written into the status of a pod, or into endpoints
		"loopback": "127.0.0.1", "loopback2": "127.8.9.1", "mapped": "::ffff:127.0.0.1", "six": "::1", "compatible": "::7f00:1", "unspecified": "0.0.0.0", "unspecified6": "::",
		"zero": "0.0.0.1", "metadata": "169.254.169.254", "mappedmeta": "::ffff:169.254.169.254", "metadata6": "fd00:ec2::254", "nat64": "64:ff9b::a9fe:a9fe",
		"sixtofour": "2002:7f00:1::1", "alibaba": "100.100.100.200", "azure": "168.63.129.16", "oracle": "192.0.0.192", "linklocal6": "fe80::1", "multicast": "224.0.0.1",
		"multicast6": "ff02::1", "broadcast": "255.255.255.255", "own": "203.0.113.5", "bridge": "10.42.0.1", "nodeone": "192.0.2.10", "nodetwo": "192.0.2.11",
		"nodesix": "2001:db8::10", "mappednode": "::ffff:192.0.2.11", "farbridge": "10.42.7.1", "farlink": "10.42.7.0", "apiservice": "10.43.0.1", "apiserver": "192.0.2.1",
	}
	var objects []*unstructured.Unstructured
	for name, address := range bad {
		pods = append(pods, pod(name, false, "Running", address))
		objects = append(objects, service("pod-"+name, m{"selector": m{}}), slice("pod-"+name, name+" "+address))      // both lie
		objects = append(objects, service("edited-"+name, m{"selector": m{}}), slice("edited-"+name, "good "+address)) // a slice that was edited
		objects = append(objects, service("free-"+name, m{}), slice("free-"+name, "- "+address))                       // a service without a selector
		objects = append(objects, service("headless-"+name, m{"clusterIP": "None"}), slice("headless-"+name, "- "+address))
	}
	objects = append(objects, service("hosted", m{}), slice("hosted", "onhost 192.0.2.10"), service("elsewhere", m{"type": "ExternalName", "externalName": "metadata.google.internal"}),
		service("outside", m{}), slice("outside", "- 198.51.100.7"), service("ghost", m{}), slice("ghost", "nobody 10.42.0.9"), service("stolen", m{}), slice("stolen", "good 10.42.0.7"))
	w := build(t, append(pods, objects...)...)
	targets := []string{"pod/shop/onhost:22", "svc/shop/hosted:80", "svc/shop/elsewhere:80", "svc/shop/outside:80", "svc/shop/ghost:80", "svc/shop/stolen:80"}
	for name := range bad {
		targets = append(targets, "pod/shop/"+name+":80", "svc/shop/pod-"+name+":80", "svc/shop/edited-"+name+":80", "svc/shop/free-"+name+":80", "svc/shop/headless-"+name+":80")
	}
	for _, target := range targets {
		for _, network := range []string{"tcp", "udp"} {
			to := target
			if network == "udp" {
				to = strings.TrimSuffix(to, "80") + "53"
			}
			if err := w.ask(t, "pipeops:eve", network, to); !reason.Is(err, reason.ConnectAddress) {
				t.Errorf("%s %s: %v", network, to, err)
			}
		}
	}
	if err := w.ask(t, "pipeops:eve", "tcp", "svc/default/kubernetes:443"); !reason.Is(err, reason.ConnectUnreachable) && !reason.Is(err, reason.ConnectAddress) {
		t.Errorf("the API server: %v", err)
	}
	if got := w.reached(); len(got) > 0 {
		t.Errorf("dialled: %v", got)
	}
	t.Logf("%d targets", 2*len(targets))
}

func TestRefusals(t *testing.T) {
	w := build(t, pod("good", false, "Running", "10.42.0.5"), pod("done", false, "Succeeded", "10.42.0.6"), service("web", m{}), slice("web", "good 10.42.0.5"), service("empty", m{}),
		slice("empty", "late 10.42.0.9"))
	w.denied["create services/proxy shop/secret"] = true
	w.denied["create pods/portforward shop/secret"] = true
	w.Allow = (&policyOf{ports: []int{80}}).judge
	for _, tt := range []struct {
		user, network, target string
		want                  reason.Code
		says                  string
	}{
		{"", "tcp", "svc/shop/web:80", reason.UserMissing, ""},
		{"eve", "tcp", "svc/shop/web:80", reason.UserMissing, "prefix"},
		{"pipeops:eve", "tcp", "svc/shop/none:80", reason.ConnectUnknown, "no such service"},
		{"pipeops:eve", "tcp", "svc/other/web:80", reason.ConnectUnknown, "no such service"},
		{"pipeops:eve", "tcp", "svc/shop/web:81", reason.ConnectUnknown, "no such port of TCP"},
		{"pipeops:eve", "tcp", "svc/shop/web:53", reason.ConnectUnknown, "no such port of TCP"},
		{"pipeops:eve", "udp", "svc/shop/web:80", reason.ConnectUnknown, "no such port of UDP"},
		{"pipeops:eve", "tcp", "svc/shop/web:none", reason.ConnectUnknown, "no such port"},
		{"pipeops:eve", "tcp", "pod/shop/none:80", reason.ConnectUnknown, "no such pod"},
		{"pipeops:eve", "tcp", "pod/shop/good:none", reason.ConnectUnknown, "no container"},
		{"pipeops:eve", "tcp", "pod/shop/done:80", reason.ConnectUnreachable, "Succeeded"},
		{"pipeops:eve", "tcp", "svc/shop/empty:80", reason.ConnectUnreachable, "no pod behind"},
		{"pipeops:eve", "tcp", "svc/shop/secret:80", reason.ConnectForbidden, "create services/proxy secret in shop"},
		{"pipeops:eve", "tcp", "pod/shop/secret:80", reason.ConnectForbidden, "create pods/portforward secret in shop"},
		{"pipeops:eve", "udp", "svc/shop/web:dns", reason.PolicyForbids, "ports"},
		{"pipeops:eve", "tcp", "pod/shop/good:8080", reason.PolicyForbids, "ports"},
	} {
		err := w.ask(t, tt.user, tt.network, tt.target)
		if !reason.Is(err, tt.want) || !strings.Contains(fmt.Sprint(err), tt.says) {
			t.Errorf("%s %s %s: %v", tt.user, tt.network, tt.target, err)
		}
	}
	if got := w.reached(); len(got) > 0 {
		t.Errorf("dialled: %v", got)
	}
}

type policyOf struct{ ports []int }

func (p *policyOf) judge(r policy.Request) error {
	if err := (&policy.Policy{Ports: p.ports}).Judge(r); err != nil {
		return reason.Newf(reason.PolicyForbids, "%s: %v", r, err)
	}
	return nil
}

// session serves the Reach as an agent does, and opens a connection to a target through it.
func (w *world) session(t *testing.T) func(network, target string) (net.Conn, error) {
	t.Helper()
	server := httptest.NewServer(w)
	t.Cleanup(server.Close)
	return func(network, target string) (net.Conn, error) {
		to, err := wire.ParseTarget(network, target)
		if err != nil {
			t.Fatal(err)
		}
		conn, err := net.Dial("tcp", server.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		_, _ = fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: agent\r\nConnection: Upgrade\r\nUpgrade: %s\r\n%s: pipeops:alice\r\n\r\n", wire.PathAgentConnect+to.Path(), wire.Connect, wire.HeaderUser)
		read := bufio.NewReader(conn)
		response, err := http.ReadResponse(read, nil)
		if err != nil {
			t.Fatal(err)
		}
		if response.StatusCode != http.StatusSwitchingProtocols {
			return nil, refusal.Read(response)
		}
		return carry.Buffered(conn, read), nil
	}
}

// local is a connection of TCP: one end for a program, one to be carried.
func local(t *testing.T) (program, end net.Conn) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	program, err = net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if end, err = listener.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = program.Close(); _ = end.Close() })
	return program, end
}

func TestConnect(t *testing.T) {
	w := build(t, pod("good", false, "Running", "10.42.0.5"), service("web", m{}), slice("web", "good 10.42.0.5", "late 10.42.0.9"))
	connect := w.session(t)
	for target, want := range map[string]string{
		"svc/shop/web:80": "tcp 10.42.0.5:8080", "svc/shop/web:web": "tcp 10.42.0.5:8080", "pod/shop/good:http": "tcp 10.42.0.5:8080", "pod/shop/good:9": "tcp 10.42.0.5:9",
	} {
		tunnel, err := connect("tcp", target)
		if err != nil {
			t.Fatalf("%s: %v", target, err)
		}
		server, err := w.server.Accept()
		if err != nil {
			t.Fatal(err)
		}
		program, end := local(t)
		var work sync.WaitGroup
		var result carry.Result
		work.Go(func() { result = carry.Stream(t.Context(), end, tunnel) })
		work.Go(func() {
			_, _ = io.Copy(server, server)
			_ = server.Close()
		})
		_, _ = io.WriteString(program, "hello")
		_ = program.(*net.TCPConn).CloseWrite()
		if got, err := io.ReadAll(program); string(got) != "hello" || err != nil {
			t.Errorf("%s: %q, %v", target, got, err)
		}
		work.Wait()
		if result.Err != nil || result.Sent != 5 || result.Received != 5 {
			t.Errorf("%s: %+v", target, result)
		}
		if got := w.reached(); got[len(got)-1] != want {
			t.Errorf("%s: dialled %v, want %s", target, got, want)
		}
	}
	if w.reviews > 2 {
		t.Errorf("%d reviews for two targets", w.reviews)
	}
}

// TestTheAddressIsCheckedAtEachDial: endpoints that are edited between two connections do not lead anywhere, and what was checked is what
// is dialled.
func TestTheAddressIsCheckedAtEachDial(t *testing.T) {
	w := build(t, pod("good", false, "Running", "10.42.0.5"), service("web", m{}), slice("web", "good 10.42.0.5"))
	var moves atomic.Bool
	w.api.PrependReactor("list", "endpointslices", func(clienttesting.Action) (bool, runtime.Object, error) {
		if !moves.Load() {
			return false, nil, nil
		}
		list := &unstructured.UnstructuredList{Items: []unstructured.Unstructured{*slice("web", "good 10.42.0.5")}}
		_ = w.api.Tracker().Update(podsResource, pod("good", false, "Running", "127.0.0.1"), "shop")
		return true, list, nil
	})
	connect := w.session(t)
	tunnel, err := connect("tcp", "svc/shop/web:80")
	if err != nil {
		t.Fatal(err)
	}
	_ = tunnel.Close()
	edited := slice("web", "good 127.0.0.1")
	if _, err := w.api.Resource(slicesResource).Namespace("shop").Update(t.Context(), edited, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := connect("tcp", "svc/shop/web:80"); !reason.Is(err, reason.ConnectAddress) {
		t.Errorf("after the edit: %v", err)
	}
	moves.Store(true) // between the answer of the API and the dial
	if _, err := connect("tcp", "svc/shop/web:80"); !reason.Is(err, reason.ConnectAddress) {
		t.Errorf("with a pod that has moved: %v", err)
	}
	if got := w.reached(); len(got) != 1 {
		t.Errorf("dialled: %v", got)
	}
}

// TestWhatGoesEndsItsConnections: a pod or a service that goes away ends the connections to it at once, though nothing comes from its network.
func TestWhatGoesEndsItsConnections(t *testing.T) {
	for name, tt := range map[string]struct {
		target, why string
		end         func(*world) error
	}{
		"the pod is deleted": {"pod/shop/good:80", "pod shop/good", func(w *world) error {
			return w.api.Resource(podsResource).Namespace("shop").Delete(context.Background(), "good", metav1.DeleteOptions{})
		}},
		"the pod behind the service is deleted": {"svc/shop/web:80", "pod shop/good", func(w *world) error {
			return w.api.Resource(podsResource).Namespace("shop").Delete(context.Background(), "good", metav1.DeleteOptions{})
		}},
		"the service is deleted": {"svc/shop/web:80", "service shop/web", func(w *world) error {
			return w.api.Resource(servicesResource).Namespace("shop").Delete(context.Background(), "web", metav1.DeleteOptions{})
		}},
		"the pod has ended": {"pod/shop/good:80", "pod shop/good", func(w *world) error {
			_, err := w.api.Resource(podsResource).Namespace("shop").Update(context.Background(), pod("good", false, "Failed", "10.42.0.5"), metav1.UpdateOptions{})
			return err
		}},
		"another pod has its name": {"pod/shop/good:80", "pod shop/good", func(w *world) error {
			other := pod("good", false, "Running", "10.42.0.8")
			other.SetUID("another")
			_, err := w.api.Resource(podsResource).Namespace("shop").Update(context.Background(), other, metav1.UpdateOptions{})
			return err
		}},
	} {
		t.Run(name, func(t *testing.T) {
			w := build(t, pod("good", false, "Running", "10.42.0.5"), service("web", m{}), slice("web", "good 10.42.0.5"))
			connect := w.session(t)
			tunnel, err := connect("tcp", tt.target)
			if err != nil {
				t.Fatal(err)
			}
			server, err := w.server.Accept() // which says nothing, and never goes
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = server.Close() }()
			program, end := local(t)
			result := make(chan carry.Result, 1)
			go func() { result <- carry.Stream(context.Background(), end, tunnel) }()
			clustertest.WaitWatched(t, w.api, strings.Fields(tt.why)[0]+"s")
			if err := tt.end(w); err != nil {
				t.Fatal(err)
			}
			if _, err := program.Read(make([]byte, 1)); err == nil || errors.Is(err, io.EOF) {
				t.Errorf("the program sees %v", err)
			}
			if r := <-result; r.Outcome != wire.OutcomeGone || !strings.Contains(fmt.Sprint(r.Err), tt.why) {
				t.Errorf("%+v", r)
			}
		})
	}
}

// TestWhatWasRefusedIsWatchedLater: an API server that has just started knows nobody's rights yet.
func TestWhatWasRefusedIsWatchedLater(t *testing.T) {
	w := build(t, pod("good", false, "Running", "10.42.0.5"))
	refusals := 2
	w.api.PrependWatchReactor("pods", func(clienttesting.Action) (bool, watch.Interface, error) {
		refusals--
		return refusals >= 0, nil, apierrors.NewForbidden(podsResource.GroupResource(), "good", errors.New("not yet"))
	})
	conn, err := w.Dial(t.Context(), wire.Target{Network: "tcp", Kind: wire.KindPod, Namespace: "shop", Name: "good", Port: "80"})
	if err != nil {
		t.Fatal(err)
	}
	clustertest.WaitWatched(t, w.api, "pods")
	if err := w.api.Resource(podsResource).Namespace("shop").Delete(t.Context(), "good", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Read(make([]byte, 1)); err == nil || errors.Is(err, io.EOF) {
		t.Errorf("it sees %v", err)
	}
	_ = conn.Close()
}

// TestDialForPages: what the agent dials for itself is checked in the same way, and ends with its pod.
func TestDialForPages(t *testing.T) {
	w := build(t, pod("good", false, "Running", "10.42.0.5"), service("web", m{}), slice("web", "good 10.42.0.5"), service("bad", m{}), slice("bad", "good 127.0.0.1"))
	if _, err := w.Dial(t.Context(), wire.Target{Network: "tcp", Kind: wire.KindService, Namespace: "shop", Name: "bad", Port: "80"}); !reason.Is(err, reason.ConnectAddress) {
		t.Errorf("got %v", err)
	}
	conn, err := w.Dial(t.Context(), wire.Target{Network: "tcp", Kind: wire.KindService, Namespace: "shop", Name: "web", Port: "80"})
	if err != nil {
		t.Fatal(err)
	}
	clustertest.WaitWatched(t, w.api, "pods")
	if err := w.api.Resource(podsResource).Namespace("shop").Delete(t.Context(), "good", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Read(make([]byte, 1)); err == nil || errors.Is(err, io.EOF) {
		t.Errorf("it sees %v", err)
	}
	_ = conn.Close()
}

package gateway_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/pipeopshq/pipeops-agent/internal/cluster"
	"github.com/pipeopshq/pipeops-agent/internal/cluster/clustertest"
	"github.com/pipeopshq/pipeops-agent/internal/forward"
	"github.com/pipeopshq/pipeops-agent/internal/gateway/gatewaytest"
	"github.com/pipeopshq/pipeops-agent/internal/reach"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

// market is the whole way of a connection: user, gateway, tunnel, agent, and a pod that is a server of the test.
type market struct {
	gateway *gatewaytest.Gateway
	api     *fake.FakeDynamicClient
	access  forward.Access
	tcp     net.Listener
	udp     net.PacketConn
}

func openMarket(t testing.TB) *market {
	t.Helper()
	type m = map[string]any
	thing := func(kind, version, namespace, name string, more m) *unstructured.Unstructured {
		o := &unstructured.Unstructured{Object: m{"apiVersion": version, "kind": kind, "metadata": m{"name": name, "namespace": namespace, "uid": name}}}
		for k, v := range more {
			o.Object[k] = v
		}
		return o
	}
	slice := thing("EndpointSlice", "discovery.k8s.io/v1", "shop", "web-x", m{
		"ports":     []any{m{"name": "http", "port": int64(8080)}, m{"name": "dns", "port": int64(53), "protocol": "UDP"}},
		"endpoints": []any{m{"addresses": []any{"10.42.0.5"}, "targetRef": m{"kind": "Pod", "name": "web-0"}}},
	})
	slice.SetLabels(map[string]string{"kubernetes.io/service-name": "web"})
	client := clustertest.New(slice,
		thing("Service", "v1", "shop", "web", m{"spec": m{"ports": []any{m{"name": "http", "port": int64(80)}, m{"name": "dns", "port": int64(53), "protocol": "UDP"}}}}),
		thing("Pod", "v1", "shop", "web-0", m{"spec": m{}, "status": m{"phase": "Running", "podIP": "10.42.0.5"}}))
	s := &market{gateway: gatewaytest.Start(t), api: client.Dynamic.(*fake.FakeDynamicClient)}
	s.api.PrependReactor("create", "selfsubjectaccessreviews", func(action clienttesting.Action) (bool, runtime.Object, error) {
		asked := action.(clienttesting.CreateAction).GetObject().(*unstructured.Unstructured).DeepCopy()
		_ = unstructured.SetNestedField(asked.Object, true, "status", "allowed")
		return true, asked, nil
	})
	var err error
	if s.tcp, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.tcp.Close() })
	if s.udp, err = net.ListenPacket("udp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.udp.Close() })
	ways := reach.New(reach.Options{
		Source: &cluster.Source{Fixed: client}, Log: slog.New(slog.DiscardHandler),
		Addresses: func() ([]netip.Addr, error) { return nil, nil },
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			to := map[string]string{"tcp 10.42.0.5:8080": s.tcp.Addr().String(), "udp 10.42.0.5:53": s.udp.LocalAddr().String()}[network+" "+address]
			if to == "" {
				return nil, fmt.Errorf("nobody is at %s %s", network, address)
			}
			return (&net.Dialer{}).DialContext(ctx, network, to)
		},
	})
	runAgent(t, mustEnroll(t, s.gateway, "shop"), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, wire.PathAgentConnect+"/") {
			ways.ServeHTTP(w, r)
			return
		}
		http.NotFound(w, r)
	}))
	s.gateway.WaitConnected("shop", true)
	made, err := s.gateway.Admin.CreateAccess(t.Context(), "shop", "alice", 0)
	if err != nil {
		t.Fatal(err)
	}
	s.access = forward.Access{Gateway: s.gateway.Address, CA: []byte(made.CA), Cluster: "shop", Token: made.Token}
	return s
}

// listen runs a forward until the test ends, and returns its address and the events after that.
func (s *market) listen(t testing.TB, network, target string) (address string, events <-chan forward.Event) {
	t.Helper()
	to, err := wire.ParseTarget(network, target)
	if err != nil {
		t.Fatal(err)
	}
	said := make(chan forward.Event, 1000)
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		tell := func(e forward.Event) {
			select {
			case said <- e:
			default: // more than a test looks at
			}
		}
		if err := (forward.Forward{Access: s.access, Target: to, Tell: tell}).Run(ctx, "127.0.0.1:0"); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() { cancel(); running.Wait() })
	return (<-said).Listen, said
}

func dial(t testing.TB, network, address string) net.Conn {
	t.Helper()
	conn, err := net.Dial(network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(time.Minute))
	return conn
}

// next is the next event of a kind.
func next(t testing.TB, events <-chan forward.Event, kind string) forward.Event {
	t.Helper()
	for {
		select {
		case e := <-events:
			if e.Kind == kind {
				return e
			}
		case <-time.After(time.Minute):
			t.Fatalf("no event %s", kind)
		}
	}
}

func TestConnectTCP(t *testing.T) {
	s := openMarket(t)
	address, events := s.listen(t, "tcp", "svc/shop/web:http")
	big := make([]byte, 5<<20)
	_, _ = rand.NewChaCha8([32]byte{7}).Read(big)
	go func() {
		server, err := s.tcp.Accept()
		if err != nil {
			return
		}
		all, _ := io.ReadAll(server) // until the half is closed
		_, _ = server.Write(all)
		_ = server.Close()
	}()
	program := dial(t, "tcp", address)
	if _, err := program.Write(big); err != nil {
		t.Fatal(err)
	}
	_ = program.(*net.TCPConn).CloseWrite()
	if got, err := io.ReadAll(program); err != nil || !bytes.Equal(got, big) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if e := next(t, events, "ended"); e.Message != "" || e.Sent != int64(len(big)) || e.Received != int64(len(big)) {
		t.Errorf("%+v", e)
	}
}

func TestConnectUDP(t *testing.T) {
	s := openMarket(t)
	go func() {
		buf := make([]byte, 1<<16)
		for {
			n, from, err := s.udp.ReadFrom(buf)
			if err != nil {
				return
			}
			_, _ = s.udp.WriteTo(append([]byte("re:"), buf[:n]...), from)
		}
	}()
	address, events := s.listen(t, "udp", "svc/shop/web:53")
	one, two := dial(t, "udp", address), dial(t, "udp", address)
	buf := make([]byte, 1<<16)
	for n, conn := range []net.Conn{one, two, one, two, one} { // two flows, each gets its own answers
		said := bytes.Repeat([]byte{byte('a' + n)}, 1200+n)
		if _, err := conn.Write(said); err != nil {
			t.Fatal(err)
		}
		got, err := conn.Read(buf)
		if err != nil || string(buf[:got]) != "re:"+string(said) {
			t.Fatalf("datagram %d: %d bytes, %v", n, got, err)
		}
	}
	first := next(t, events, "opened").From
	if first == next(t, events, "opened").From {
		t.Error("both flows are one")
	}
}

// TestConnectCuts: whatever is cut on the way, the program sees a reset and the user an error that says how far it came.
func TestConnectCuts(t *testing.T) {
	for name, cut := range map[string]func(*market, net.Conn) error{
		"the gateway loses all connections": func(s *market, _ net.Conn) error { s.gateway.Cut(); return nil },
		"the gateway stops":                 func(s *market, _ net.Conn) error { s.gateway.Stop(); return nil },
		"the server resets": func(_ *market, server net.Conn) error {
			_ = server.(*net.TCPConn).SetLinger(0)
			return server.Close()
		},
		"the pod is deleted": func(s *market, _ net.Conn) error {
			clustertest.WaitWatched(t, s.api, "pods")
			return s.api.Resource(schema.GroupVersionResource{Version: "v1", Resource: "pods"}).Namespace("shop").Delete(context.Background(), "web-0", metav1.DeleteOptions{})
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := openMarket(t)
			address, events := s.listen(t, "tcp", "svc/shop/web:80")
			program := dial(t, "tcp", address)
			server, err := s.tcp.Accept()
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = server.Close() }()
			_, _ = io.WriteString(program, "hello")
			if _, err := io.ReadFull(server, make([]byte, 5)); err != nil {
				t.Fatal(err)
			}
			_, _ = io.WriteString(server, "all is w")
			if _, err := io.ReadFull(program, make([]byte, 8)); err != nil {
				t.Fatal(err)
			}
			if err := cut(s, server); err != nil {
				t.Fatal(err)
			}
			if _, err := program.Read(make([]byte, 1)); err == nil || errors.Is(err, io.EOF) {
				t.Errorf("the program sees %v", err)
			}
			if e := next(t, events, "ended"); e.Code != string(reason.ConnectCut) || !strings.Contains(e.Message, "incomplete at byte 8 received, 5 sent") {
				t.Errorf("%+v", e)
			}
			_ = server.SetReadDeadline(time.Now().Add(time.Minute))
			if _, err := server.Read(make([]byte, 1)); err == nil || errors.Is(err, io.EOF) {
				t.Errorf("the server sees %v", err)
			}
		})
	}
}

// TestOneFailureEndsNoForward: what cannot be reached now is told, its program sees a reset, and the next one is served.
func TestOneFailureEndsNoForward(t *testing.T) {
	s := openMarket(t)
	address, events := s.listen(t, "tcp", "svc/shop/web:80")
	pods := s.api.Resource(schema.GroupVersionResource{Version: "v1", Resource: "pods"}).Namespace("shop")
	pod, err := pods.Get(t.Context(), "web-0", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := pods.Delete(t.Context(), "web-0", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if _, err := dial(t, "tcp", address).Read(make([]byte, 1)); err == nil || errors.Is(err, io.EOF) {
			t.Errorf("the program sees %v", err)
		}
		if e := next(t, events, "refused"); e.Code != string(reason.ConnectAddress) {
			t.Errorf("%+v", e)
		}
	}
	s.gateway.CutUntilBack("shop")
	if _, err := pods.Create(t.Context(), pod, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	program := dial(t, "tcp", address)
	server, err := s.tcp.Accept()
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.WriteString(server, "well")
	_ = server.Close()
	_ = program.(*net.TCPConn).CloseWrite()
	if got, err := io.ReadAll(program); string(got) != "well" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
}

// TestConnectRefusals: what the user sees before anything is listened on, and what each connection would see.
func TestConnectRefusals(t *testing.T) {
	s := openMarket(t)
	mustEnroll(t, s.gateway, "other")
	other, err := s.gateway.Admin.CreateAccess(t.Context(), "other", "alice", 0)
	if err != nil {
		t.Fatal(err)
	}
	target := wire.Target{Network: "tcp", Kind: wire.KindService, Namespace: "shop", Name: "web", Port: "80"}
	if err := s.access.Check(t.Context(), target); err != nil {
		t.Errorf("a good one: %v", err)
	}
	for name, tt := range map[string]struct {
		change func(*forward.Access, *wire.Target)
		want   reason.Code
	}{
		"another's token": {func(a *forward.Access, _ *wire.Target) { a.Token = other.Token }, reason.UserRefused},
		"no token":        {func(a *forward.Access, _ *wire.Target) { a.Token = "" }, reason.UserRefused},
		"not connected":   {func(a *forward.Access, _ *wire.Target) { a.Token, a.Cluster = other.Token, "other" }, reason.ClusterNotConnected},
		"no target":       {func(_ *forward.Access, t *wire.Target) { t.Name = "127.0.0.1" }, reason.Usage},
		"nobody there":    {func(a *forward.Access, _ *wire.Target) { a.Gateway = "127.0.0.1:1" }, reason.GatewayUnreachable},
		"another's CA":    {func(a *forward.Access, _ *wire.Target) { a.CA = []byte(foreignCA(t)) }, reason.GatewayUntrusted},
	} {
		a, to := s.access, target
		tt.change(&a, &to)
		if err := a.Check(t.Context(), to); !reason.Is(err, tt.want) {
			t.Errorf("check, %s: %v", name, err)
		}
		if conn, err := a.Open(t.Context(), to); !reason.Is(err, tt.want) {
			t.Errorf("open, %s: %v, %v", name, conn, err)
		}
	}
	for want, change := range map[reason.Code]func(*wire.Target){
		reason.ConnectUnknown: func(t *wire.Target) { t.Name = "none" },
		// the agent knows no address for it
		reason.ConnectUnreachable: func(t *wire.Target) { t.Kind, t.Name, t.Port = wire.KindPod, "web-0", "9" },
	} {
		to := target
		change(&to)
		if _, err := s.access.Open(t.Context(), to); !reason.Is(err, want) {
			t.Errorf("%s: %v", want, err)
		}
	}
	// HTTP/2 has no upgrades, and nothing else than one is answered with what to do
	u := login(t, s.gateway, "shop")
	response, err := u.client.Do(request(t, u, "https://"+s.gateway.Address+wire.PathConnect+"/shop"+target.Path()))
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	if response.StatusCode != http.StatusUpgradeRequired {
		t.Errorf("HTTP/2: %s", response.Status)
	}
}

func request(t testing.TB, u *user, url string) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+u.token)
	return r
}

// foreignCA is the CA of another gateway, in PEM.
func foreignCA(t testing.TB) string {
	t.Helper()
	g := gatewaytest.Start(t)
	mustEnroll(t, g, "shop")
	made, err := g.Admin.CreateAccess(t.Context(), "shop", "alice", 0)
	if err != nil {
		t.Fatal(err)
	}
	return made.CA
}

// loadBytes is how much TestConnectLoadWithCuts wants to arrive whole: make soak-connect asks for 10 GB.
var loadBytes = flag.Int64("connect-bytes", 20<<20, "bytes that TestConnectLoadWithCuts carries")

// TestConnectLoadWithCuts sends through the whole way while everything is cut again and again: what arrives is whole, or its program
// sees an error.
func TestConnectLoadWithCuts(t *testing.T) {
	s := openMarket(t)
	address, _ := s.listen(t, "tcp", "svc/shop/web:80")
	body := make([]byte, 16<<20-1)
	_, _ = rand.NewChaCha8([32]byte{9}).Read(body)
	ctx, cancel := context.WithCancel(context.Background())
	var work sync.WaitGroup
	work.Go(func() {
		for {
			server, err := s.tcp.Accept()
			if err != nil {
				return
			}
			work.Go(func() {
				defer func() { _ = server.Close() }()
				var size [3]byte
				if _, err := io.ReadFull(server, size[:]); err != nil {
					return
				}
				n := int(size[0])<<16 | int(size[1])<<8 | int(size[2])
				_, _ = server.Write(body[:n])
			})
		}
	})
	work.Go(func() {
		for ctx.Err() == nil {
			time.Sleep(time.Duration(10+rand.IntN(300)) * time.Millisecond)
			s.gateway.Cut()
		}
	})
	whole, cut, came := 0, 0, int64(0)
	for whole+cut < 60 || came < *loadBytes {
		n := 1 + rand.IntN(len(body)>>rand.IntN(8)) // 1 byte to 16 MB
		program, err := net.Dial("tcp", address)
		if errors.Is(err, syscall.ECONNRESET) { // it was refused before it was known here
			cut++
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		_ = program.SetDeadline(time.Now().Add(time.Minute))
		_, wrong := program.Write([]byte{byte(n >> 16), byte(n >> 8), byte(n)})
		wrong = errors.Join(wrong, program.(*net.TCPConn).CloseWrite()) // a reset is told once, by what is done next
		got, err := io.ReadAll(program)
		_ = program.Close()
		came += int64(len(got))
		switch {
		case err != nil, wrong != nil:
			cut++
		case !bytes.Equal(got, body[:n]):
			t.Fatalf("%d of %d bytes came, and passed for all", len(got), n)
		default:
			whole++
		}
	}
	cancel()
	_ = s.tcp.Close()
	work.Wait()
	t.Logf("%d bytes: %d whole, %d cut, 0 silently", came, whole, cut)
	if cut == 0 {
		t.Error("nothing was cut")
	}
}

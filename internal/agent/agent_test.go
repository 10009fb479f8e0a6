package agent

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/pipeopshq/pipeops-agent/internal/gateway/gatewaytest"
	"github.com/pipeopshq/pipeops-agent/internal/health"
	"github.com/pipeopshq/pipeops-agent/internal/host"
	"github.com/pipeopshq/pipeops-agent/internal/identity"
	"github.com/pipeopshq/pipeops-agent/internal/localapi"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// bench is an agent on loopback between a real gateway and a stand-in for the API server, which knows one ready node and
// refuses every change. The real API server's part is tested end to end.
type bench struct {
	t       *testing.T
	gateway *gatewaytest.Gateway
	options Options
	api     *httptest.Server
}

func newBench(t *testing.T) *bench {
	t.Helper()
	dir := t.TempDir()
	b := &bench{t: t, gateway: gatewaytest.Start(t)}
	b.api = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		switch r.URL.Path {
		case "/readyz":
		case "/version":
			_, _ = w.Write([]byte(`{"gitVersion":"v1.33.2+k3s1"}`))
		case "/api/v1/nodes":
			_, _ = w.Write([]byte(`{"kind":"NodeList","apiVersion":"v1","items":[{"kind":"Node","apiVersion":"v1","metadata":{"name":"n"},"status":{"conditions":[{"type":"Ready","status":"True"}]}}]}`))
		default:
			w.WriteHeader(http.StatusForbidden)
			_, _ = w.Write([]byte(`{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Forbidden","code":403,"message":"refused by the test"}`))
		}
	}))
	t.Cleanup(b.api.Close)
	id, err := identity.Enroll(t.Context(), identity.Options{Dir: filepath.Join(dir, "identity"), Gateway: b.gateway.Address,
		Token: b.gateway.Token(""), Cluster: "one", Agent: "test"})
	if err != nil {
		t.Fatal(err)
	}
	b.options = Options{Identity: id, Kubeconfig: filepath.Join(dir, "kubeconfig"), Distro: "k3s", StateDir: dir,
		Socket: filepath.Join(dir, "agent.sock"), Version: "test", Host: host.Live(), Log: slog.New(slog.DiscardHandler)}
	return b
}

// run runs the agent until the test ends or the returned function is called.
func (b *bench) run() (stop func()) {
	b.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- Run(ctx, b.options) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			b.t.Errorf("the agent ends with %v", err)
		}
	}
	b.t.Cleanup(stop)
	return stop
}

// cluster makes the API server reachable, as an install does in its course.
func (b *bench) cluster() {
	b.t.Helper()
	kubeconfig := `{"apiVersion":"v1","kind":"Config","current-context":"c","contexts":[{"name":"c","context":{"cluster":"c"}}],` +
		`"clusters":[{"name":"c","cluster":{"server":"` + b.api.URL + `"}}]}`
	if err := os.WriteFile(b.options.Kubeconfig, []byte(kubeconfig), 0o600); err != nil {
		b.t.Fatal(err)
	}
}

// awaitLocal waits until the local socket reports a condition.
func (b *bench) awaitLocal(kind, want string) {
	b.t.Helper()
	b.gateway.Wait(kind+" is "+want+" at the local socket", func() bool {
		status, err := localapi.Fetch(b.t.Context(), b.options.Socket)
		if err != nil {
			return false
		}
		for _, c := range status.Conditions {
			if c.Type == kind {
				return c.Status == want
			}
		}
		return false
	})
}

func TestConnectsAndReports(t *testing.T) {
	b := newBench(t)
	stop := b.run()
	b.gateway.WaitConnected("one", true)
	b.awaitLocal(health.Tunnel, health.True)
	b.gateway.Wait("the session is at the local socket", func() bool {
		status, err := localapi.Fetch(t.Context(), b.options.Socket)
		if err != nil || len(status.Sessions) != 1 {
			return false
		}
		s := status.Sessions[0]
		return s.Gateway == b.gateway.Address && s.Transport == "tls" && s.Proxy == "" && !s.Since.IsZero() && s.RoundTripMS > 0 && !s.Second
	})
	b.awaitLocal(health.ClusterReachable, health.False) // there is no kubeconfig yet: a state, not an end
	b.cluster()
	b.awaitLocal(health.ClusterReachable, health.True)
	b.gateway.Wait("the gateway knows the version and the facts", func() bool {
		info, _ := b.gateway.Cluster("one")
		facts, err := b.gateway.Admin.Facts(t.Context(), "one")
		return err == nil && json.Valid(facts) && strings.Contains(string(facts), "kernel") && info.Kubernetes == "v1.33.2+k3s1" && info.Nodes == 1
	})
	stop()
	b.gateway.WaitConnected("one", false)
}

func TestLivesWithoutGateway(t *testing.T) {
	b := newBench(t)
	b.cluster()
	b.gateway.Stop()
	b.run() // starts while nobody is there
	b.awaitLocal(health.ClusterReachable, health.True)
	b.awaitLocal(health.Tunnel, health.False)
	b.gateway.Start()
	b.gateway.WaitConnected("one", true)
	b.gateway.Cut() // and comes back after a connection that was cut
	b.awaitLocal(health.Tunnel, health.True)
	b.gateway.WaitConnected("one", true)
}

func TestStatusOfADocumentReachesTheGateway(t *testing.T) {
	b := newBench(t)
	b.cluster()
	stop := b.run()
	b.gateway.WaitConnected("one", true)
	project := wire.Project{Name: "web", Image: "web:1", Port: 8080}
	if _, err := b.gateway.Admin.Apply(t.Context(), "one", project); err != nil {
		t.Fatal(err)
	}
	refused := func() bool {
		p, err := b.gateway.Admin.Project(t.Context(), "one", "web", 0)
		return err == nil && len(p.Conditions) == 1 && p.Conditions[0].Reason == "ApplyFailed" &&
			strings.Contains(p.Conditions[0].Message, "refused by the test")
	}
	b.gateway.Wait("the status of the document", refused)

	// an agent that comes back without its gateway still knows its documents, and tells the gateway when it is back
	stop()
	b.gateway.Stop()
	b.run()
	b.gateway.Wait("the document is known from disk", func() bool {
		status, err := localapi.Fetch(t.Context(), b.options.Socket)
		return err == nil && len(status.Documents) == 1
	})
	b.gateway.Start()
	b.gateway.Wait("the status of the document again", refused)
}

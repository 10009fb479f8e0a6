package gateway_test

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/pipeopshq/pipeops-agent/internal/backoff"
	"github.com/pipeopshq/pipeops-agent/internal/gateway/gatewaytest"
	"github.com/pipeopshq/pipeops-agent/internal/health"
	"github.com/pipeopshq/pipeops-agent/internal/identity"
	"github.com/pipeopshq/pipeops-agent/internal/session"
	"github.com/pipeopshq/pipeops-agent/internal/tunnel"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(agentDir); dir != "" {
		if err := beAgent(dir); err != nil && !errors.Is(err, context.Canceled) {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	// database/sql opens connections in a goroutine that ends some time after Close.
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("database/sql.(*DB).connectionOpener"))
}

// agent is an agent in this process: a tunnel with a handler, and a record of what it was told.
type agent struct {
	t      testing.TB
	id     *identity.Identity
	health health.Tracker
	stop   func()

	mu        sync.Mutex
	documents []wire.Document
	sessions  int
	standbys  int
}

func enroll(t testing.TB, g *gatewaytest.Gateway, dir, cluster string, token wire.Token) (*identity.Identity, error) {
	t.Helper()
	return identity.Enroll(t.Context(), identity.Options{Dir: dir, Gateway: g.Address, Token: token, Cluster: cluster, Agent: "test"})
}

func mustEnroll(t testing.TB, g *gatewaytest.Gateway, cluster string) *identity.Identity {
	t.Helper()
	id, err := enroll(t, g, t.TempDir(), cluster, g.Token(""))
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// runAgent runs an agent until the test ends.
func runAgent(t testing.TB, id *identity.Identity, handler http.Handler) *agent {
	t.Helper()
	return runAgentWith(t, id, handler, backoff.Backoff{Base: 5 * time.Millisecond, Cap: 50 * time.Millisecond})
}

func runAgentWith(t testing.TB, id *identity.Identity, handler http.Handler, wait backoff.Backoff) *agent {
	t.Helper()
	a := &agent{t: t, id: id}
	a.stop = runTunnel(t, tunnel.Options{
		Identity: id, Handler: handler, Health: &a.health, Log: slog.New(slog.DiscardHandler), OnSession: a.session,
		OnStandby: a.standby, Backoff: wait, Transport: way(t, id),
	})
	return a
}

// runTunnel runs a tunnel until the test, or who calls what it returns, ends it.
func runTunnel(t testing.TB, opts tunnel.Options) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = tunnel.Run(ctx, opts) })
	stop = sync.OnceFunc(func() {
		cancel()
		running.Wait()
	})
	t.Cleanup(stop)
	return stop
}

// session does what a real agent does while it is connected: a heartbeat, and it follows the desired state.
func (a *agent) session(ctx context.Context, c *tunnel.Client) {
	a.mu.Lock()
	a.sessions++
	after := int64(0)
	if n := len(a.documents); n > 0 {
		after = a.documents[n-1].Generation
	}
	a.mu.Unlock()
	conditions, _ := a.health.Conditions()
	_ = c.Heartbeat(ctx, wire.Heartbeat{
		Version: wire.Version, Agent: "test", Conditions: conditions, Facts: json.RawMessage(`{"os":"test"}`), Kubernetes: "v1.33.2", Distro: "k3s", Nodes: 1,
	})
	_ = c.Desired(ctx, after, func(d wire.Document) error {
		a.mu.Lock()
		a.documents = append(a.documents, d)
		a.mu.Unlock()
		condition := wire.Condition{Type: "Available", Status: "True", Since: time.Now()}
		if d.Deleted {
			condition.Type = "Removed"
		}
		return c.Status(ctx, wire.Status{Kind: d.Kind, Name: d.Name, ObservedGeneration: d.Generation, Conditions: []wire.Condition{condition}})
	})
}

func (a *agent) standby(ctx context.Context, c *tunnel.Client) {
	a.mu.Lock()
	a.standbys++
	a.mu.Unlock()
	conditions, _ := a.health.Conditions()
	_ = c.Heartbeat(ctx, wire.Heartbeat{Version: wire.Version, Agent: "test", Conditions: conditions})
}

func (a *agent) stood() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.standbys
}

func (a *agent) seen() []wire.Document {
	a.mu.Lock()
	defer a.mu.Unlock()
	return append([]wire.Document(nil), a.documents...)
}

func (a *agent) count() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.sessions
}

// reason waits until the tunnel is down for a reason.
func (a *agent) reason(g *gatewaytest.Gateway, code string) {
	a.t.Helper()
	g.Wait("tunnel is "+code, func() bool { return a.health.Get(health.Tunnel).Reason == code })
}

// greet makes a session as an agent does that says so late who it is, and returns what the gateway answers. The session lasts as long as the
// test.
func greet(t *testing.T, g *gatewaytest.Gateway, id *identity.Identity, late time.Duration) (w wire.Welcome) {
	t.Helper()
	w, err := greetAs(t, g, id, late, wire.Hello{Version: wire.Version, Instance: "0123456789abcdef"})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// greetAs is greet of a process that says what it likes. If it is refused, the answer is empty, or the session ends before it.
func greetAs(t *testing.T, g *gatewaytest.Gateway, id *identity.Identity, late time.Duration, hello wire.Hello) (w wire.Welcome, err error) {
	t.Helper()
	conn, err := tls.Dial("tcp", g.Address, id.TLS(wire.ALPN))
	if err != nil {
		t.Fatal(err)
	}
	s := session.Client(conn, g.Log)
	var running sync.WaitGroup
	running.Go(func() { _ = s.Serve(context.Background(), http.NotFoundHandler()) })
	t.Cleanup(func() { s.Close(nil); running.Wait() })
	body, say := io.Pipe()
	running.Go(func() {
		time.Sleep(late) // the gateway has seen that the agent is there
		_ = say.CloseWithError(json.NewEncoder(say).Encode(hello))
	})
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://gateway"+wire.PathHello, body)
	if err != nil {
		t.Fatal(err)
	}
	response, err := s.Transport().RoundTrip(r)
	if err != nil {
		return w, err
	}
	defer func() { _ = response.Body.Close() }()
	err = json.NewDecoder(response.Body).Decode(&w)
	return w, err
}

// user is somebody with a user token for a cluster.
type user struct {
	t       testing.TB
	base    string
	token   string
	client  *http.Client
	address string
}

func (u *user) request(method, path string, body io.Reader) *http.Request {
	u.t.Helper()
	r, err := http.NewRequestWithContext(u.t.Context(), method, u.base+path, body)
	if err != nil {
		u.t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+u.token)
	return r
}

func (u *user) get(path string) (status int, body string) {
	u.t.Helper()
	response, err := u.client.Do(u.request(http.MethodGet, path, nil))
	if err != nil {
		u.t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	raw, err := io.ReadAll(response.Body)
	if err != nil {
		u.t.Fatal(err)
	}
	return response.StatusCode, string(raw)
}

func has(t testing.TB, got, want string) {
	t.Helper()
	if !strings.Contains(got, want) {
		t.Errorf("got %q, want %q in it", got, want)
	}
}

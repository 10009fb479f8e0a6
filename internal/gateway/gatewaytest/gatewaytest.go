// Package gatewaytest runs a gateway in the process of a test, on loopback.
package gatewaytest

import (
	"context"
	"flag"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/gateway"
	"github.com/pipeopshq/pipeops-agent/internal/gateway/postgrestest"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

// Gateway is a running gateway. Stop and Start keep its address and its state.
type Gateway struct {
	Address string // host:port
	Data    string
	Admin   *gateway.Admin
	Log     *slog.Logger
	Now     func() time.Time // of the gateway from its next Start; nil means time.Now

	// AppsDomain is that of the gateway from its next Start.
	AppsDomain string
	// Store is the address of a PostgreSQL, "" for a file in Data.
	Store string
	// AdmitRate is that of the gateway from its next Start; 0 is its own default.
	AdmitRate int
	// LameDuck and Drain are those of the gateway from its next Start; 0 and 1 s at first.
	LameDuck, Drain time.Duration
	Limits          gateway.Limits // from its next Start
	Audit           string         // likewise

	// Handover is for how long a machine that leads may be away, from the next Start of the gateway; 50 ms at first.
	Handover time.Duration

	// Running is what has been started last.
	Running *gateway.Gateway

	t       testing.TB
	stop    context.CancelFunc
	stopped chan error

	mu       sync.Mutex
	conns    map[net.Conn]bool
	vanished bool
}

// Start runs a gateway until the test ends.
func Start(t testing.TB) *Gateway {
	t.Helper()
	return StartAt(t, nil)
}

// StartAt runs a gateway by another clock until the test ends.
func StartAt(t testing.TB, now func() time.Time) *Gateway {
	t.Helper()
	g := prepare(t, now)
	if base := os.Getenv(postgrestest.Variable); base != "" {
		g.Store = postgrestest.Schema(t, base)
	}
	g.Start()
	t.Cleanup(g.Stop)
	return g
}

// Fleet runs n gateways that share a PostgreSQL until the test ends; it skips the test where there is none.
func Fleet(t testing.TB, n int) []*Gateway {
	t.Helper()
	base := os.Getenv(postgrestest.Variable)
	if base == "" && flag.Lookup("test.run").Value.String() == "" {
		t.Skip("the test that runs all tests with PostgreSQL runs this one, too")
	}
	if base == "" {
		base = postgrestest.Start(t)
	}
	address := postgrestest.Schema(t, base)
	first := prepare(t, nil)
	first.Store = address
	first.Start()
	t.Cleanup(first.Stop)
	fleet := []*Gateway{first}
	for range n - 1 {
		fleet = append(fleet, first.Beside())
	}
	return fleet
}

// Beside runs another gateway with the same store until the test ends.
func (g *Gateway) Beside() *Gateway {
	g.t.Helper()
	other := prepare(g.t, g.Now)
	other.Store = g.Store
	other.CopyKeys(g)
	other.Start()
	g.t.Cleanup(other.Stop)
	return other
}

// CopyKeys does what makes a gateway one of the fleet of another.
func (g *Gateway) CopyKeys(from *Gateway) {
	g.t.Helper()
	for _, name := range []string{"ca.pem", "ca-key.pem", "secret.key"} {
		raw, err := os.ReadFile(filepath.Join(from.Data, name))
		if err == nil {
			err = os.WriteFile(filepath.Join(g.Data, name), raw, 0o600)
		}
		if err != nil {
			g.t.Fatal(err)
		}
	}
}

func prepare(t testing.TB, now func() time.Time) *Gateway {
	g := &Gateway{t: t, Data: t.TempDir(), Address: "127.0.0.1:0", Log: slog.New(slog.DiscardHandler), Now: now, Handover: 50 * time.Millisecond, Drain: time.Second}
	g.Admin = gateway.NewAdmin(g.Data)
	return g
}

// Start starts a gateway that was stopped, at the address that it had.
func (g *Gateway) Start() {
	g.t.Helper()
	opened, err := gateway.Open(context.Background(), gateway.Options{
		Data: g.Data, Advertise: []string{"127.0.0.1"}, Log: g.Log, Handover: g.Handover, Now: g.Now, AppsDomain: g.AppsDomain,
		Store: g.Store, LameDuck: g.LameDuck, Drain: g.Drain, AdmitRate: g.AdmitRate,
		Limits: g.Limits, Audit: g.Audit,
	})
	if err != nil {
		g.t.Fatal(err)
	}
	g.Running = opened
	var config net.ListenConfig
	listener, err := config.Listen(context.Background(), "tcp", g.Address)
	if err != nil {
		g.t.Fatal(err)
	}
	g.Address = listener.Addr().String()
	g.mu.Lock()
	g.vanished = false
	g.mu.Unlock()
	ctx, cancel := context.WithCancel(context.Background())
	g.stop, g.stopped = cancel, make(chan error, 1)
	ready := make(chan struct{})
	go func() {
		err := opened.Serve(ctx, tracked{listener, g}, func() { close(ready) })
		if closed := opened.Close(); err == nil {
			err = closed
		}
		g.stopped <- err
	}()
	select {
	case <-ready:
	case err := <-g.stopped:
		g.t.Fatal(err)
	}
}

// Stop stops the gateway; it is no error if it is stopped.
func (g *Gateway) Stop() {
	g.t.Helper()
	if g.stop == nil {
		return
	}
	g.stop()
	g.stop = nil
	if err := <-g.stopped; err != nil {
		g.t.Error(err)
	}
}

// Cut resets every connection to the gateway, as a router that lost its state does.
func (g *Gateway) Cut() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for c := range g.conns {
		if tcp, ok := c.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0)
		}
		_ = c.Close()
		delete(g.conns, c)
	}
}

// CutUntilBack cuts, and waits until the agent of a cluster that is connected has come again.
func (g *Gateway) CutUntilBack(cluster string) {
	g.t.Helper()
	before, _ := g.Cluster(cluster)
	g.Cut()
	g.Wait("a new session", func() bool {
		info, _ := g.Cluster(cluster)
		return info.Connected && info.Remote != before.Remote
	})
}

// Vanish cuts the gateway off from everybody but its store, until it is started anew: its connections are reset, and every new one is.
func (g *Gateway) Vanish() {
	g.mu.Lock()
	g.vanished = true
	g.mu.Unlock()
	g.Cut()
}

// Token makes a join token. An empty cluster lets any new name enrol.
func (g *Gateway) Token(cluster string) wire.Token {
	g.t.Helper()
	made, err := g.Admin.CreateToken(g.t.Context(), cluster, 0)
	if err != nil {
		g.t.Fatal(err)
	}
	token, err := wire.ParseToken(made.Secret)
	if err != nil {
		g.t.Fatal(err)
	}
	return token
}

// Cluster returns what the gateway knows of a cluster; ok is false if it knows none of that name.
func (g *Gateway) Cluster(name string) (info gateway.ClusterInfo, ok bool) {
	g.t.Helper()
	list, err := g.Admin.Clusters(g.t.Context())
	if err != nil {
		g.t.Fatal(err)
	}
	for _, c := range list {
		if c.Name == name {
			return c, true
		}
	}
	return info, false
}

// WaitConnected waits until a cluster is connected, or is not, for as long as Wait does.
func (g *Gateway) WaitConnected(cluster string, connected bool) {
	g.t.Helper()
	g.Wait("connected="+map[bool]string{true: "true", false: "false"}[connected], func() bool {
		info, _ := g.Cluster(cluster)
		return info.Connected == connected
	})
}

// Wait waits until a condition holds, for at most a minute: longer than a machine that is busy with other tests may need.
func (g *Gateway) Wait(what string, holds func() bool) {
	g.t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(time.Minute); !holds(); <-tick.C {
		if time.Now().After(deadline) {
			g.t.Fatalf("still not: %s", what)
		}
	}
}

// tracked remembers the connections, so that they can be cut.
type tracked struct {
	net.Listener
	gateway *Gateway
}

func (l tracked) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err == nil {
		l.gateway.mu.Lock()
		if l.gateway.vanished {
			_ = c.Close()
		}
		if l.gateway.conns == nil {
			l.gateway.conns = map[net.Conn]bool{}
		}
		l.gateway.conns[c] = true
		l.gateway.mu.Unlock()
	}
	return c, err
}

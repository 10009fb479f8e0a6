package gateway_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/backoff"
	"github.com/pipeopshq/pipeops-agent/internal/gateway/gatewaytest"
	"github.com/pipeopshq/pipeops-agent/internal/health"
	"github.com/pipeopshq/pipeops-agent/internal/identity"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
	"github.com/pipeopshq/pipeops-agent/internal/transport"
	"github.com/pipeopshq/pipeops-agent/internal/tunnel"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

func TestTunnelUpDownUp(t *testing.T) {
	g := gatewaytest.Start(t)
	id := mustEnroll(t, g, "shop")
	g.Stop()
	a := runAgent(t, id, nil) // starts and stays alive with the gateway down
	a.reason(g, string(reason.GatewayUnreachable))
	for range 3 {
		g.Start()
		g.WaitConnected("shop", true)
		g.Wait("the agent knows", func() bool { return a.health.Get(health.Tunnel).Status == health.True })
		info, _ := g.Cluster("shop")
		if info.Kubernetes != "v1.33.2" || info.Nodes != 1 {
			g.Wait("the heartbeat is stored", func() bool { info, _ := g.Cluster("shop"); return info.Kubernetes == "v1.33.2" && info.Nodes == 1 })
		}
		g.Stop()
		g.Wait("the agent knows", func() bool { return a.health.Get(health.Tunnel).Status == health.False })
	}
	g.Start()
	g.WaitConnected("shop", true)
	a.stop()
	g.WaitConnected("shop", false)
}

func TestTunnelComesBackAfterACut(t *testing.T) {
	g := gatewaytest.Start(t)
	a := runAgent(t, mustEnroll(t, g, "shop"), nil)
	for i := range 3 {
		g.Wait("session", func() bool { return a.count() > i })
		g.WaitConnected("shop", true)
		g.Cut()
	}
	g.WaitConnected("shop", true)
}

func TestGatewaySaysThatItStops(t *testing.T) {
	g := gatewaytest.Start(t)
	a := runAgentWith(t, mustEnroll(t, g, "shop"), nil, backoff.Backoff{Base: time.Hour, Cap: time.Hour})
	g.WaitConnected("shop", true)
	g.Stop()
	a.reason(g, string(reason.GatewayStopping))
}

func TestNewestSessionWins(t *testing.T) {
	g := gatewaytest.Start(t)
	id := mustEnroll(t, g, "shop")
	first := runAgent(t, id, nil)
	g.WaitConnected("shop", true)
	before, _ := g.Cluster("shop")
	second := runAgent(t, id, nil) // a clone
	first.reason(g, string(reason.SessionReplaced))
	first.stop()
	g.Wait("the clone is connected", func() bool {
		info, _ := g.Cluster("shop")
		return info.Connected && info.Remote != before.Remote && second.health.Get(health.Tunnel).Status == health.True
	})
}

func TestDesiredState(t *testing.T) {
	g := gatewaytest.Start(t)
	a := runAgent(t, mustEnroll(t, g, "shop"), nil)
	web := wire.Project{Name: "web", Image: "web:1", Port: 8080}
	if _, err := g.Admin.Apply(t.Context(), "shop", web); err != nil {
		t.Fatal(err)
	}
	p, err := g.Admin.Project(t.Context(), "shop", "web", time.Minute)
	if err != nil || !p.Ready {
		t.Fatalf("got %+v, %v", p, err)
	}
	same, err := g.Admin.Apply(t.Context(), "shop", web)
	if err != nil || same.Generation != p.Generation {
		t.Errorf("the same project again became generation %d after %d, %v", same.Generation, p.Generation, err)
	}
	a.stop() // what changes while the agent is away reaches it later, in its newest form
	g.WaitConnected("shop", false)
	for i := 2; i < 5; i++ {
		web.Image = fmt.Sprintf("web:%d", i)
		if _, err := g.Admin.Apply(t.Context(), "shop", web); err != nil {
			t.Fatal(err)
		}
	}
	late, _ := g.Admin.Project(t.Context(), "shop", "web", 0)
	if late.Ready {
		t.Error("ready without an agent")
	}
	b := runAgent(t, a.id, nil)
	if p, err = g.Admin.Project(t.Context(), "shop", "web", time.Minute); err != nil || !p.Ready {
		t.Fatalf("got %+v, %v", p, err)
	}
	var spec wire.Project
	seen := b.seen()
	if len(seen) != 1 || json.Unmarshal(seen[0].Spec, &spec) != nil || spec.Image != "web:4" {
		t.Errorf("the agent got %+v", seen)
	}
	if _, err := g.Admin.Delete(t.Context(), "shop", "web"); err != nil {
		t.Fatal(err)
	}
	g.Wait("the project is gone", func() bool {
		_, err := g.Admin.Project(t.Context(), "shop", "web", 0)
		return reason.Is(err, reason.ProjectUnknown)
	})
	if _, err := g.Admin.Delete(t.Context(), "shop", "web"); !reason.Is(err, reason.ProjectUnknown) {
		t.Errorf("got %v", err)
	}
	if _, err := g.Admin.Apply(t.Context(), "nowhere", web); !reason.Is(err, reason.ClusterUnknown) {
		t.Errorf("got %v", err)
	}
	web.Port = 0
	if _, err := g.Admin.Apply(t.Context(), "shop", web); !reason.Is(err, reason.ProjectInvalid) {
		t.Errorf("got %v", err)
	}
}

func TestExpiredCertificateIsRenewedNotFatal(t *testing.T) {
	g := gatewaytest.StartAt(t, func() time.Time { return time.Now().Add(-48 * time.Hour) })
	dir := t.TempDir()
	id, err := enroll(t, g, dir, "shop", g.Token(""))
	if err != nil {
		t.Fatal(err)
	}
	g.Stop()
	g.Now = nil // the machine was off over a weekend
	g.Start()
	if time.Now().Before(id.Expires()) {
		t.Fatal("the certificate has not expired")
	}
	a := runAgent(t, id, nil)
	g.WaitConnected("shop", true)
	loaded, err := identity.Load(dir)
	if err != nil || time.Now().After(loaded.Expires()) {
		t.Errorf("on disk: until %v, %v", loaded.Expires(), err)
	}
	g.Wait("the agent says so", func() bool { return a.health.Get(health.Certificate).Status == health.True })
}

func TestRevokedMachineKeepsItsIdentityAndTriesOn(t *testing.T) {
	g := gatewaytest.Start(t)
	dir := t.TempDir()
	id, err := enroll(t, g, dir, "shop", g.Token(""))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := enroll(t, g, t.TempDir(), "shop", g.Token("shop")); err != nil { // another machine takes the name
		t.Fatal(err)
	}
	a := runAgent(t, id, nil)
	a.reason(g, string(reason.IdentityRevoked))
	if _, err := identity.Load(dir); err != nil {
		t.Errorf("the identity is gone: %v", err)
	}
	has(t, a.health.Get(health.Tunnel).Message, "another machine")
}

func TestReporter(t *testing.T) {
	g := gatewaytest.Start(t)
	id := mustEnroll(t, g, "shop")
	r := tunnel.NewReporter(id, nil, slog.New(slog.DiscardHandler))
	for i := range 3 {
		r.Send(wire.Event{Kind: "step", Step: fmt.Sprint(i), State: "done"})
	}
	if err := r.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	events, err := g.Admin.Events(t.Context(), "shop")
	if err != nil || len(events) != 3 || events[2].Step != "2" {
		t.Errorf("got %+v, %v", events, err)
	}
	g.Stop()
	r = tunnel.NewReporter(id, nil, slog.New(slog.DiscardHandler))
	r.Send(wire.Event{Kind: "step"})
	if err := r.Close(t.Context()); err == nil {
		t.Error("a report to nobody succeeded")
	}
}

func TestAdminWithoutGateway(t *testing.T) {
	g := gatewaytest.Start(t)
	g.Stop()
	if _, err := g.Admin.Clusters(t.Context()); !reason.Is(err, reason.GatewayNotRunning) {
		t.Errorf("got %v", err)
	}
	g.Start()
	info, err := os.Stat(filepath.Join(g.Data, "admin.sock"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("socket %v, %v", info.Mode(), err)
	}
}

func TestTunnelNeedsACertificateOfItsCA(t *testing.T) {
	g := gatewaytest.Start(t)
	other := gatewaytest.Start(t)
	foreign := mustEnroll(t, other, "shop")
	_, base := foreign.Client(nil)
	if base == "" {
		t.Fatal("no base")
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: foreign.TLS("http/1.1")}}
	defer client.CloseIdleConnections()
	response, err := client.Get("https://" + g.Address + "/healthz")
	if err == nil {
		_, _ = io.Copy(io.Discard, response.Body)
		_ = response.Body.Close()
		t.Fatal("the agent trusts another gateway's CA")
	}
	if err := transport.Explain(errors.Unwrap(err), g.Address); !reason.Is(err, reason.GatewayUntrusted) {
		t.Errorf("got %v", err)
	}
}

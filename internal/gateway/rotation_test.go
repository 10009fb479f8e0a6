package gateway_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/backoff"
	"github.com/pipeopshq/pipeops-agent/internal/gateway/gatewaytest"
	"github.com/pipeopshq/pipeops-agent/internal/health"
	"github.com/pipeopshq/pipeops-agent/internal/identity"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
	"github.com/pipeopshq/pipeops-agent/internal/session"
	"github.com/pipeopshq/pipeops-agent/internal/tunnel"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

// TestSessionsAreReplacedBeforeTheyEnd: with one gateway, too, no request fails while sessions come and go, and one that lasts goes on on
// the session on which it began.
func TestSessionsAreReplacedBeforeTheyEnd(t *testing.T) {
	g := gatewaytest.Start(t)
	a := &agent{t: t, id: mustEnroll(t, g, "shop")}
	ctx, stop := context.WithCancel(context.Background())
	next := make(chan string)
	var running sync.WaitGroup
	running.Go(func() {
		_ = tunnel.Run(ctx, tunnel.Options{
			Identity: a.id, Health: &a.health, Log: slog.New(slog.DiscardHandler), OnSession: a.session, Age: 200 * time.Millisecond,
			Backoff: backoff.Backoff{Base: 5 * time.Millisecond, Cap: 50 * time.Millisecond},
			Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path != wire.PathAgentKube+"/watch" {
					_, _ = w.Write([]byte("hello"))
					return
				}
				for _ = http.NewResponseController(w).Flush(); ; _ = http.NewResponseController(w).Flush() {
					select {
					case line := <-next:
						_, _ = w.Write([]byte(line))
					case <-r.Context().Done():
						return
					}
				}
			}),
		})
	})
	t.Cleanup(running.Wait)
	t.Cleanup(stop)
	g.WaitConnected("shop", true)
	u := login(t, g, "shop")
	response, err := u.client.Do(u.request(http.MethodGet, "/watch", nil))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		t.Fatal(response.Status)
	}
	for a.count() < 5 {
		gets(u, "hello")
	}
	next <- "still"
	buffer := make([]byte, 5)
	if n, err := response.Body.Read(buffer); err != nil || string(buffer[:n]) != "still" {
		t.Errorf("%q, %v", buffer[:n], err)
	}
	if info, _ := g.Cluster("shop"); !info.Machines[0].Cloned.IsZero() || !info.Connected {
		t.Errorf("%+v", info)
	}
}

// TestAgentsComeWhenTheyAreTold: a gateway that starts again lets in a few at once; those whose place is soon wait for it where they are,
// and the others come at the time that they were given, and not at their own.
func TestAgentsComeWhenTheyAreTold(t *testing.T) {
	for _, tt := range []struct {
		name         string
		agents, rate int
		hold         time.Duration
		told         bool // whether anybody has to be
	}{
		{"soon", 8, 2, 0, false},           // five at once, and three in the second and a half after
		{"later", 8, 2, time.Second, true}, // the last one is told
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := gatewaytest.Start(t)
			var ids []*identity.Identity
			for i := range tt.agents {
				ids = append(ids, mustEnroll(t, g, fmt.Sprintf("shop%d", i)))
			}
			g.Stop()
			g.AdmitRate = tt.rate
			began := time.Now()
			g.Start()
			g.Running.HoldFor(tt.hold)
			var told, other atomic.Int32
			for _, id := range ids {
				runTunnel(t, tunnel.Options{
					Identity: id, Health: new(health.Tracker), Log: slog.New(slog.DiscardHandler), Transport: way(t, id),
					Backoff: backoff.Backoff{Base: time.Hour, Cap: time.Hour},
					OnDown: func(_ *session.Session, code string) {
						if code == string(reason.GatewayBusy) {
							told.Add(1)
						} else {
							other.Add(1)
						}
					},
				})
			}
			for i := range ids {
				g.WaitConnected(fmt.Sprintf("shop%d", i), true)
			}
			most := time.Duration(tt.agents-1) * time.Second / time.Duration(tt.rate) // the place of the last one, were there no burst
			switch took := time.Since(began); {
			case other.Load() > 0:
				t.Errorf("%d connections failed", other.Load())
			case !tt.told && told.Load() > 0:
				t.Errorf("%d were told to come later, though their place was soon", told.Load())
			case tt.told && told.Load() == 0 && took < most:
				t.Errorf("nobody was told to come later, and all were in after %s", took)
			}
		})
	}
}

// TestWhoWaitsForItsTurn is not let in before it; it may go and come back, and is told when the gateway stops.
func TestWhoWaitsForItsTurn(t *testing.T) {
	g := gatewaytest.Start(t)
	id := mustEnroll(t, g, "shop")
	downs := make(chan string, 100)
	run := func() (stop func()) {
		stop = runTunnel(t, tunnel.Options{
			Identity: id, Health: new(health.Tracker), Log: slog.New(slog.DiscardHandler), Transport: way(t, id),
			Backoff: backoff.Backoff{Base: time.Hour, Cap: time.Hour}, OnDown: func(_ *session.Session, code string) { downs <- code },
		})
		g.Wait("one that waits", func() bool { return g.Running.Waiting() == 1 })
		return stop
	}
	const wait, soon = 2 * time.Second, 14 * time.Second
	began := time.Now()
	g.Running.Busy(wait)
	run()()
	if code := <-downs; code == string(reason.GatewayBusy) {
		t.Error("it was told to come later, though its turn is soon")
	}
	stop := run()
	g.WaitConnected("shop", true)
	if took := time.Since(began); took < wait {
		t.Errorf("it was let in after %s", took)
	}
	stop()
	<-downs
	g.WaitConnected("shop", false)

	g.Running.Busy(soon)
	run()
	began = time.Now()
	g.Stop()
	if code := <-downs; code != string(reason.GatewayStopping) {
		t.Errorf("of a gateway that stops: %s", code)
	}
	if took := time.Since(began); took > soon/2 {
		t.Errorf("a gateway with one that waits stops after %s", took)
	}
}

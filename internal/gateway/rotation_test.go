package gateway_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/backoff"
	"github.com/pipeopshq/pipeops-agent/internal/gateway/gatewaytest"
	"github.com/pipeopshq/pipeops-agent/internal/health"
	"github.com/pipeopshq/pipeops-agent/internal/identity"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
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

// TestAgentsComeWhenTheyAreTold: a gateway that starts again lets in a few at once; the others come at the time that they were given, and
// not at their own.
func TestAgentsComeWhenTheyAreTold(t *testing.T) {
	g := gatewaytest.Start(t)
	var ids []*identity.Identity
	for i := range 6 {
		ids = append(ids, mustEnroll(t, g, fmt.Sprintf("shop%d", i)))
	}
	g.Stop()
	g.AdmitRate = 2 // five at once
	g.Start()
	var agents []*agent
	for _, id := range ids {
		agents = append(agents, runAgentWith(t, id, nil, backoff.Backoff{Base: time.Hour, Cap: time.Hour}))
	}
	busy := 0
	for i := range ids {
		g.Wait("in, or told to wait", func() bool {
			return agents[i].health.Get(health.Tunnel).Status == health.True || agents[i].health.Get(health.Tunnel).Reason == string(reason.GatewayBusy)
		})
		if agents[i].health.Get(health.Tunnel).Reason == string(reason.GatewayBusy) {
			busy++
		}
	}
	for i := range ids {
		g.WaitConnected(fmt.Sprintf("shop%d", i), true)
	}
	if busy == 0 {
		t.Skip("this machine is so busy that they came one after the other by themselves")
	}
}

package gateway_test

import (
	"context"
	"log/slog"
	"net/http"
	"testing"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/gateway/gatewaytest"
	"github.com/pipeopshq/pipeops-agent/internal/health"
	"github.com/pipeopshq/pipeops-agent/internal/tunnel"
)

// TestCrowd: an agent of a gateway with thousands of others does less often what it does again and again, as the gateway has told it, and one of a
// gateway with few does not.
func TestCrowd(t *testing.T) {
	g := gatewaytest.Start(t)
	id := mustEnroll(t, g, "shop")
	for crowd, want := range map[int]time.Duration{0: time.Minute, 7500: 2 * time.Minute, 1_000_000: 4 * time.Minute} {
		g.Running.Crowd(crowd)
		var h health.Tracker
		ctx, cancel := context.WithCancel(t.Context())
		paced, ended := make(chan time.Duration, 1), make(chan struct{})
		go func() {
			defer close(ended)
			_ = tunnel.Run(ctx, tunnel.Options{
				Identity: id, Handler: http.NotFoundHandler(), Health: &h, Log: slog.New(slog.DiscardHandler), Transport: way(t, id),
				OnSession: func(_ context.Context, c *tunnel.Client) {
					select {
					case paced <- c.Paced(time.Minute):
					default:
					}
				},
			})
		}()
		if got := <-paced; got != want {
			t.Errorf("with %d others what is done every minute is done every %s, want %s", crowd, got, want)
		}
		cancel()
		<-ended
		g.WaitConnected("shop", false)
		g.Running.Crowd(-crowd)
	}
}

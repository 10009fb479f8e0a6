package gateway

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/metric"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
	"github.com/pipeopshq/pipeops-agent/internal/session"
	"github.com/pipeopshq/pipeops-agent/internal/version"
)

// newMetrics declares what is read when it is asked for.
func (g *Gateway) newMetrics() {
	const p = metric.GatewayPrefix
	s := metric.New(metric.Gateway())
	g.metrics, g.usage.metrics, g.requests = s, s, metric.RequestCounter{Set: s, Prefix: p}
	total := func(of func(session.Stats) int64) func() float64 {
		return func() float64 {
			sum := int64(0)
			for _, q := range g.sessions.all() {
				sum += of(q.session.Stats())
			}
			return float64(sum)
		}
	}
	s.Read(p+metric.Build, func() float64 { return 1 }, version.String())
	s.Read(p+metric.RequestsOpen, func() float64 { return float64(g.requests.Open()) })
	for _, way := range []string{metric.WayTLS, metric.WayWebSocket} {
		s.Read(p+metric.Sessions, func() float64 {
			n := 0
			for _, q := range g.sessions.all() {
				if q.by == way {
					n++
				}
			}
			return float64(n)
		}, way)
	}
	s.Read(p+metric.Streams, total(func(st session.Stats) int64 { return int64(st.Streams) }))
	s.Read(p+metric.Buffered, total(func(st session.Stats) int64 { return st.Unread }))
	s.Read(p+metric.BufferBudget, total(func(session.Stats) int64 { return session.Budget }))
	s.Read(p+metric.Expiry, func() float64 { return float64(g.authority.cert.NotAfter.Unix()) }, "ca")
	s.Read(p+metric.Expiry, func() float64 {
		shown, err := g.authority.serverCertificate(nil)
		if err != nil {
			return 0
		}
		return float64(shown.Leaf.NotAfter.Unix())
	}, "gateway")
	g.audit.Measure(s, p)
}

// code is the reason of the end of a session: what was said, or that the connection was lost.
func code(err error) string {
	var known *reason.Error
	if errors.As(err, &known) {
		return string(known.Code)
	}
	return string(reason.SessionLost)
}

const metricsTimeout = 10 * time.Second

// serveMetrics answers GET /metrics on an address of its own, until ctx ends.
func (g *Gateway) serveMetrics(ctx context.Context) (stop func(), err error) {
	if g.Metrics == "" {
		return func() {}, nil
	}
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", g.Metrics)
	if err != nil {
		return nil, fmt.Errorf("cannot listen for metrics: %w", err)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", g.metrics)
	server := &http.Server{Handler: mux, ReadHeaderTimeout: metricsTimeout, WriteTimeout: metricsTimeout}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(listener)
	}()
	g.Log.Info("metrics served", "address", listener.Addr().String())
	return func() {
		_ = server.Close()
		<-done
	}, nil
}

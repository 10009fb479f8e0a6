package agent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/backoff"
	"github.com/pipeopshq/pipeops-agent/internal/health"
	"github.com/pipeopshq/pipeops-agent/internal/localapi"
	"github.com/pipeopshq/pipeops-agent/internal/metric"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
	"github.com/pipeopshq/pipeops-agent/internal/session"
	"github.com/pipeopshq/pipeops-agent/internal/tunnel"
	"github.com/pipeopshq/pipeops-agent/internal/version"
)

const (
	metricsTimeout = 10 * time.Second
	// roundTripEvery is how often the whole path is tried, there and back, paced. A tunnel may be up on which nothing gets through.
	roundTripEvery = time.Minute
	// roundTripsFailed is how many must fail one after another before the tunnel counts as down: one may meet a busy moment.
	roundTripsFailed = 2
)

// newMetrics declares what is read when it is asked for.
func (a *agent) newMetrics() {
	const p = metric.AgentPrefix
	s := metric.New(metric.Agent())
	a.metrics, a.requests.Set, a.requests.Prefix = s, s, p
	total := func(of func(session.Stats) float64) func() float64 {
		return func() float64 {
			sum := 0.0
			for _, one := range a.sessions.all() {
				sum += of(one.Stats())
			}
			return sum
		}
	}
	s.Read(p+metric.Build, func() float64 { return 1 }, version.String())
	s.Read(p+metric.RequestsOpen, func() float64 { return float64(a.requests.Open()) })
	s.Read(p+metric.Sessions, total(func(session.Stats) float64 { return 1 }))
	s.Read(p+metric.Streams, total(func(st session.Stats) float64 { return float64(st.Streams) }))
	s.Read(p+metric.Buffered, total(func(st session.Stats) float64 { return float64(st.Unread) }))
	s.Read(p+metric.BufferBudget, total(func(session.Stats) float64 { return session.Budget }))
	s.Read(p+metric.RoundTrip, func() float64 {
		list := a.sessions.all()
		if len(list) == 0 {
			return 0
		}
		return list[len(list)-1].Stats().RTT.Seconds()
	})
	s.Read(p+metric.Expiry, func() float64 { return float64(a.Identity.Expires().Unix()) })
	s.Read(p+metric.Memory, func() float64 { return float64(residentMemory()) })
	a.audit.Measure(s, p)
}

// sessions are those that are up, the newest last.
type sessions struct {
	mu   sync.Mutex
	list []oneSession
}

// oneSession is a session that is up.
type oneSession struct {
	*session.Session
	way   tunnel.Way
	since time.Time
}

func (s *sessions) all() []oneSession {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.list)
}

// told is what the agent says of them when it is asked.
func (s *sessions) told() []localapi.Session {
	var out []localapi.Session
	for _, one := range s.all() {
		stats := one.Stats()
		out = append(out, localapi.Session{
			Gateway: one.way.Gateway, Transport: one.way.Transport, Proxy: one.way.Proxy, Since: one.since,
			RoundTripMS: float64(stats.RTT.Microseconds()) / 1e3, Streams: stats.Streams, Second: stats.Second,
		})
	}
	return out
}

// up and down follow the sessions; of one that could not be made down gets nil.
func (a *agent) up(s *session.Session, way tunnel.Way) {
	a.sessions.mu.Lock()
	defer a.sessions.mu.Unlock()
	a.sessions.list = append(a.sessions.list, oneSession{s, way, time.Now()})
	a.metrics.Add(metric.AgentPrefix+metric.SessionsBegan, 1)
}

func (a *agent) down(s *session.Session, code string) {
	a.sessions.mu.Lock()
	defer a.sessions.mu.Unlock()
	a.sessions.list = slices.DeleteFunc(a.sessions.list, func(one oneSession) bool { return one.Session == s })
	a.metrics.Add(metric.AgentPrefix+metric.SessionsEnded, 1, code)
}

// serveMetrics answers GET /metrics on an address of its own, if one is wanted, until ctx ends.
func (a *agent) serveMetrics(ctx context.Context) error {
	if a.Metrics == "" {
		<-ctx.Done()
		return ctx.Err()
	}
	var config net.ListenConfig
	for {
		listener, err := config.Listen(ctx, "tcp", a.Metrics)
		if err == nil {
			return a.answerMetrics(ctx, listener)
		}
		a.Log.Error("metrics cannot be served", "address", a.Metrics, "err", err) // which is no reason to be unreachable
		if err := pause(ctx, roundTripEvery, nil); err != nil {
			return err
		}
	}
}

func (a *agent) answerMetrics(ctx context.Context, listener net.Listener) error {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", a.metrics)
	server := &http.Server{Handler: mux, ReadHeaderTimeout: metricsTimeout, WriteTimeout: metricsTimeout}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	err := server.Serve(listener)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("cannot serve metrics: %w", err)
}

// roundTrips tries at intervals whether requests of the gateway get through to this agent, and keeps the condition of the tunnel by it.
func (a *agent) roundTrips(ctx context.Context, gateway *tunnel.Client) {
	failed, was := 0, a.health.Get(health.Tunnel)
	for {
		err := gateway.RoundTrip(ctx)
		switch {
		case ctx.Err() != nil, reason.Is(err, reason.GatewayRefused): // the gateway does not know how
			return
		case err == nil:
			a.metrics.Add(metric.AgentPrefix+metric.Through, 1, "good")
			if failed >= roundTripsFailed {
				a.health.Set(health.Tunnel, health.True, was.Reason, was.Message)
			}
			failed = 0
		default:
			a.metrics.Add(metric.AgentPrefix+metric.Through, 1, "failed")
			if now := a.health.Get(health.Tunnel); now.Status == health.True {
				was = now
			}
			if failed++; failed >= roundTripsFailed {
				a.health.Set(health.Tunnel, health.False, "NoRoundTrip", "the session is up, but no request of the gateway comes through: "+err.Error())
			}
		}
		if backoff.Sleep(ctx, gateway.Paced(roundTripEvery)) != nil {
			return
		}
	}
}

package session

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

// cable connects two ends until it is cut, at a rate and with a delay. Each direction holds as much as a socket of a slow path does.
type cable struct {
	cut   atomic.Bool
	rate  int // bytes a second; 0 is without limit
	delay time.Duration
	all   sync.WaitGroup
}

// held is what a direction holds, in pieces of at most 4 KiB: 128 KiB not yet sent, and as much on its way.
const held = 64

func (c *cable) ends() (a, b net.Conn) {
	a, fromA := net.Pipe()
	b, fromB := net.Pipe()
	c.all.Go(func() { c.carry(fromB, fromA) })
	c.all.Go(func() { c.carry(fromA, fromB) })
	return a, b
}

func (c *cable) carry(to, from net.Conn) {
	type piece struct {
		bytes []byte
		due   time.Time
	}
	pieces := make(chan piece, held)
	c.all.Go(func() {
		defer close(pieces)
		for {
			buf := make([]byte, 4<<10)
			n, err := from.Read(buf)
			if err != nil {
				return
			}
			pieces <- piece{buf[:n], time.Now().Add(c.delay)}
		}
	})
	for p := range pieces {
		time.Sleep(time.Until(p.due))
		if c.rate > 0 {
			time.Sleep(time.Duration(len(p.bytes)) * time.Second / time.Duration(c.rate))
		}
		if c.cut.Load() {
			continue // lost, and nobody is told
		}
		if _, err := to.Write(p.bytes); err != nil {
			_ = from.Close()
		}
	}
	if !c.cut.Load() {
		_ = to.Close()
	}
}

// talk starts both ends of a session on a cable and serves them. The end of each comes on a channel.
func talk(ctx context.Context, c *cable, start func(net.Conn, *slog.Logger) *Session, handler http.Handler) (agent, gateway *Session, agentEnd, gatewayEnd chan error, close func()) {
	log := slog.New(slog.DiscardHandler)
	a, b := c.ends()
	agent, gateway = start(a, log), Server(b, log)
	agentEnd, gatewayEnd = make(chan error, 1), make(chan error, 1)
	c.all.Go(func() { agentEnd <- agent.Serve(ctx, handler) })
	c.all.Go(func() { gatewayEnd <- gateway.Serve(ctx, handler) })
	return agent, gateway, agentEnd, gatewayEnd, func() {
		c.cut.Store(false) // so that both ends of the pipes are closed
		agent.Close(nil)
		gateway.Close(nil)
		c.all.Wait()
	}
}

// TestCutIsFound: whenever a path is cut, each end finds out within its limit. The path is no TCP connection of which the kernel could tell.
func TestCutIsFound(t *testing.T) {
	for _, end := range []struct {
		name           string
		start          func(net.Conn, *slog.Logger) *Session
		agent, gateway time.Duration
	}{
		{"relayed", Relayed, 10 * time.Second, 10 * time.Second},
		{"direct", Client, assumed + minPatience, Silence + together},
	} {
		t.Run(end.name, func(t *testing.T) {
			for after := time.Second; after < 30*time.Second; after += 700 * time.Millisecond {
				synctest.Test(t, func(t *testing.T) {
					c := &cable{delay: 20 * time.Millisecond}
					_, _, agentEnd, gatewayEnd, done := talk(t.Context(), c, end.start, http.NotFoundHandler())
					defer done()
					time.Sleep(after)
					c.cut.Store(true)
					began := time.Now()
					for range 2 {
						var err error
						var limit time.Duration
						select {
						case err = <-agentEnd:
							limit = end.agent
						case err = <-gatewayEnd:
							limit = end.gateway
						}
						// what was under way when it was cut still came
						if took := time.Since(began); took > limit+2*c.delay || !errors.Is(err, errSilent) {
							t.Errorf("cut after %s: found after %s, want %s: %v", after, took, limit, err)
						}
					}
				})
			}
		})
	}
}

// TestPeerThatNeverAnswers: who has never said a word is waited for longest.
func TestPeerThatNeverAnswers(t *testing.T) {
	for name, end := range map[string]struct {
		start func(net.Conn, *slog.Logger) *Session
		limit time.Duration
	}{"agent": {Client, maxPatience}, "gateway": {Server, Silence}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				here, there := net.Pipe()
				go func() { _, _ = io.Copy(io.Discard, there) }() // takes everything, says nothing
				s := end.start(here, slog.New(slog.DiscardHandler))
				began := time.Now()
				err := s.Serve(t.Context(), http.NotFoundHandler())
				if took := time.Since(began); took != end.limit || !errors.Is(err, errSilent) {
					t.Errorf("ended after %s: %v", took, err)
				}
				_ = there.Close()
			})
		})
	}
}

// TestBusyIsNotDead: on a path so slow that a ping waits for longer than anybody waits for its answer, a session that carries something lives,
// whichever way that goes, and also when the other end does not read it.
func TestBusyIsNotDead(t *testing.T) {
	for _, read := range []bool{true, false} {
		for _, up := range []bool{true, false} {
			synctest.Test(t, func(t *testing.T) {
				c := &cable{rate: 48 << 10, delay: 30 * time.Millisecond} // 64 pieces take 5 s
				stop := make(chan struct{})
				sink := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
					if read {
						_, _ = io.Copy(io.Discard, r.Body)
						return
					}
					<-stop
				})
				agent, gateway, agentEnd, gatewayEnd, done := talk(t.Context(), c, Relayed, sink)
				asker := gateway
				if up {
					asker = agent
				}
				ctx, cancel := context.WithCancel(t.Context())
				for range 8 { // of 256 KiB of window each
					c.all.Go(func() {
						body := io.LimitReader(zeros{}, 4<<20)
						r, _ := http.NewRequestWithContext(ctx, http.MethodPost, "http://peer/", io.NopCloser(body))
						if response, err := asker.Transport().RoundTrip(r); err == nil {
							_ = response.Body.Close()
						}
					})
				}
				select {
				case err := <-agentEnd:
					t.Errorf("read %t, up %t: the agent gave up: %v", read, up, err)
				case err := <-gatewayEnd:
					t.Errorf("read %t, up %t: the gateway gave up: %v", read, up, err)
				case <-time.After(90 * time.Second):
				}
				cancel()
				close(stop)
				done()
			})
		}
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// counted counts what is written.
type counted struct {
	net.Conn
	writes *atomic.Int64
}

func (c counted) Write(p []byte) (int, error) {
	c.writes.Add(1)
	return c.Conn.Write(p)
}

// TestIdleIsCheap: an idle session lives, and says no more than it must, and less where the gateway has so many that it says so.
func TestIdleIsCheap(t *testing.T) {
	const most = wire.MaxKeepAlive * time.Second
	for _, kind := range []struct {
		start func(net.Conn, *slog.Logger) *Session
		told  time.Duration
		every time.Duration // at least
	}{
		{Client, 0, KeepAlive - KeepAlive/jitter}, {Client, most, most - most/jitter},
		{Relayed, 0, relayedKeepAlive - relayedKeepAlive/(2*jitter)}, {Relayed, most, relayedKeepAlive - relayedKeepAlive/(2*jitter)},
	} {
		synctest.Test(t, func(t *testing.T) {
			var writes atomic.Int64
			c := &cable{delay: time.Millisecond}
			start := func(conn net.Conn, log *slog.Logger) *Session { return kind.start(counted{conn, &writes}, log) }
			agent, gateway, agentEnd, gatewayEnd, done := talk(t.Context(), c, start, http.NotFoundHandler())
			defer done()
			if kind.told > 0 {
				gateway.SetKeepAlive(kind.told)
				agent.SetKeepAlive(kind.told)
			}
			select {
			case err := <-agentEnd:
				t.Error(err)
			case err := <-gatewayEnd:
				t.Error(err)
			case <-time.After(time.Hour):
			}
			if n, most := writes.Load(), int64(time.Hour/kind.every)+1; n > most || n < most/2 {
				t.Errorf("%d pings in an hour, want at most %d", n, most)
			}
		})
	}
}

// TestPromiseBeyondWhatWasTold: the gateway believes an agent no longer silence than it has told it, the longest once it has told another,
// and an agent that was told of it keeps to it.
func TestPromiseBeyondWhatWasTold(t *testing.T) {
	const long = 80 * time.Second
	for name, tt := range map[string]struct {
		gateway, agent []time.Duration
		limit          time.Duration // from the agent's last ping
	}{
		"only the agent":  {nil, []time.Duration{long}, assumed + late},
		"both":            {[]time.Duration{long}, []time.Duration{long}, long + long/jitter + late},
		"only a gateway":  {[]time.Duration{long}, nil, assumed + late},
		"first more":      {[]time.Duration{long, KeepAlive}, []time.Duration{long}, long + long/jitter + late},
		"the agent again": {[]time.Duration{long}, []time.Duration{long, KeepAlive}, assumed + late},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := &cable{delay: time.Millisecond}
				agent, gateway, _, gatewayEnd, done := talk(t.Context(), c, Client, http.NotFoundHandler())
				defer done()
				for _, d := range tt.gateway {
					gateway.SetKeepAlive(d)
				}
				for _, d := range tt.agent {
					agent.SetKeepAlive(d)
				}
				time.Sleep(KeepAlive + KeepAlive/jitter + time.Second) // it has pinged with its new promise
				last := gateway.mux.Heard()
				c.cut.Store(true)
				err := <-gatewayEnd
				if took := time.Since(last); took < tt.limit || took > tt.limit+together+time.Second || !errors.Is(err, errSilent) {
					t.Errorf("found after %s, want %s: %v", took, tt.limit, err)
				}
			})
		})
	}
}

func TestKeepAliveOf(t *testing.T) {
	for agents, want := range map[int]time.Duration{0: KeepAlive, 3_750: KeepAlive, 3_900: 26 * time.Second, 10_000: 66 * time.Second, 1_000_000: wire.MaxKeepAlive * time.Second} {
		if got := KeepAliveOf(agents); got != want {
			t.Errorf("%d agents: %s, want %s", agents, got, want)
		}
	}
	if promise := wire.MaxKeepAlive * time.Second * (jitter + 1) / jitter; promise > 127*time.Second {
		t.Errorf("no ping can promise %s", promise)
	}
}

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/gateway"
	"github.com/pipeopshq/pipeops-agent/internal/health"
	"github.com/pipeopshq/pipeops-agent/internal/identity"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
	"github.com/pipeopshq/pipeops-agent/internal/session"
	"github.com/pipeopshq/pipeops-agent/internal/transport"
	"github.com/pipeopshq/pipeops-agent/internal/tunnel"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

// reportEvery is how often a process of a storm prints how it is.
const reportEvery = 100 * time.Millisecond

// stormStatus is how the agents of a process are, or what a gateway has to complain of. All but Up are since the process began.
type stormStatus struct {
	Up     int            // sessions
	Came   int            // sessions that came about
	Told   int            // times that the gateway said when to come again
	Nobody int            // connections that were refused, as nobody listened
	Failed map[string]int // connections on which no session came about, by reason
	Ended  map[string]int // sessions that have ended, likewise
}

func (s *stormStatus) add(o stormStatus) {
	s.Up, s.Came, s.Told, s.Nobody = s.Up+o.Up, s.Came+o.Came, s.Told+o.Told, s.Nobody+o.Nobody
	for why, n := range o.Failed {
		count(&s.Failed, why, n)
	}
	for why, n := range o.Ended {
		count(&s.Ended, why, n)
	}
}

func count(into *map[string]int, why string, n int) {
	if *into == nil {
		*into = map[string]int{}
	}
	(*into)[why] += n
}

// reports are what a process prints; the last one counts.
type reports struct {
	mu     sync.Mutex
	rest   []byte
	status stormStatus
}

func (r *reports) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.rest = append(r.rest, p...)
	for {
		line, rest, whole := bytes.Cut(r.rest, []byte("\n"))
		if !whole {
			return len(p), nil
		}
		r.rest = rest
		var s stormStatus
		if err := json.Unmarshal(line, &s); err != nil {
			return 0, fmt.Errorf("cannot read a report: %w", err)
		}
		r.status = s
	}
}

func (r *reports) last() stormStatus {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.status
}

// counted is a status that many change.
type counted struct {
	mu sync.Mutex
	stormStatus
}

func (c *counted) change(f func(*stormStatus)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f(&c.stormStatus)
}

// report prints the status until ctx ends.
func (c *counted) report(ctx context.Context) {
	print := json.NewEncoder(os.Stdout)
	for pause(ctx, reportEvery) == nil {
		c.change(func(s *stormStatus) { _ = print.Encode(s) }) // who reads it is gone, or kills this process
	}
}

func (r role) data() string { return filepath.Join(r.Folder, "gateway") }

// stormGateway is a gateway as it is, but for its log, of which it counts how handshakes failed.
func stormGateway(ctx context.Context, r role) error {
	var blames counted
	go blames.report(ctx)
	g, err := gateway.Open(ctx, gateway.Options{Data: r.data(), Advertise: []string{r.Tunnel}, Log: slog.New(&blamer{&blames})})
	if err != nil {
		return err
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", r.Tunnel)
	if err != nil {
		return fmt.Errorf("cannot listen: %w", err)
	}
	return errors.Join(g.Serve(ctx, listener, nil), g.Close())
}

// blamer is a log of what net/http says of handshakes that failed.
type blamer struct{ blames *counted }

func (b *blamer) Enabled(context.Context, slog.Level) bool { return true }
func (b *blamer) WithAttrs([]slog.Attr) slog.Handler       { return b }
func (b *blamer) WithGroup(string) slog.Handler            { return b }
func (b *blamer) Handle(_ context.Context, r slog.Record) error {
	if why, found := strings.CutPrefix(r.Message, "http: TLS handshake error from "); found {
		_, why, _ = strings.Cut(why, ": ")
		b.blames.change(func(s *stormStatus) { count(&s.Failed, why, 1) })
	}
	return nil
}

// stormAgents enrols its part of the agents and runs the tunnel of each, as an agent does, with a heartbeat and its documents.
func stormAgents(ctx context.Context, r role) error {
	var all counted
	go all.report(ctx)
	admin := gateway.NewAdmin(r.data())
	ended := make(chan error, r.Agents)
	turns := make(chan struct{}, handshakesAtOnce)
	for i := range r.Agents {
		turns <- struct{}{}
		go func() {
			id, err := stormIdentity(ctx, admin, r, fmt.Sprintf("bench-%d-%d", r.First, i))
			if err != nil {
				ended <- err
				return
			}
			ended <- stormAgent(ctx, id, &all, sync.OnceFunc(func() { <-turns }))
		}()
	}
	return fmt.Errorf("an agent ended: %w", <-ended)
}

func stormIdentity(ctx context.Context, admin *gateway.Admin, r role, name string) (*identity.Identity, error) {
	made, err := admin.CreateToken(ctx, name, 0)
	if err != nil {
		return nil, err
	}
	token, err := wire.ParseToken(made.Secret)
	if err != nil {
		return nil, err
	}
	return identity.Enroll(ctx, identity.Options{Dir: filepath.Join(r.Folder, name), Gateway: r.Tunnel, Token: token, Cluster: name, Agent: "bench"})
}

// stormAgent runs an agent; came is called when it is connected.
func stormAgent(ctx context.Context, id *identity.Identity, all *counted, came func()) error {
	var mu sync.Mutex
	refused := false // the last connection
	var direct net.Dialer
	dialer := &transport.Dialer{Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := direct.DialContext(ctx, network, address)
		mu.Lock()
		defer mu.Unlock()
		refused = errors.Is(err, syscall.ECONNREFUSED)
		return conn, err
	}}
	return tunnel.Run(ctx, tunnel.Options{
		Identity: id, Handler: http.NotFoundHandler(), Health: new(health.Tracker), Log: slog.New(slog.DiscardHandler), Transport: dialer,
		OnSession: func(ctx context.Context, c *tunnel.Client) {
			_ = c.Heartbeat(ctx, wire.Heartbeat{Version: wire.Version, Agent: "bench"}) // as is what ends the session
			_ = c.Desired(ctx, 0, func(wire.Document) error { return nil })
		},
		OnUp: func(*session.Session, tunnel.Way) {
			all.change(func(s *stormStatus) { s.Up, s.Came = s.Up+1, s.Came+1 })
			came()
		},
		OnDown: func(up *session.Session, code string) {
			mu.Lock()
			nobody := refused
			mu.Unlock()
			all.change(func(s *stormStatus) {
				switch {
				case up != nil:
					s.Up--
					count(&s.Ended, code, 1)
				case code == string(reason.GatewayBusy):
					s.Told++
				case nobody:
					s.Nobody++
				default:
					count(&s.Failed, code, 1)
				}
			})
		},
	})
}

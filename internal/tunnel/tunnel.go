// Package tunnel is the agent's end of the connection to the gateway: it dials, keeps a session up, and a second one where there is
// another gateway, serves the gateways' requests on them and carries the agent's own. A gateway that is down, refuses or vanishes is a state with a reason, and
// the tunnel tries again; only the end of its context ends it.
package tunnel

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/backoff"
	"github.com/pipeopshq/pipeops-agent/internal/health"
	"github.com/pipeopshq/pipeops-agent/internal/identity"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
	"github.com/pipeopshq/pipeops-agent/internal/refusal"
	"github.com/pipeopshq/pipeops-agent/internal/session"
	"github.com/pipeopshq/pipeops-agent/internal/transport"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

const (
	// dialTimeout bounds all ways to the gateway together, each of which has 10 s for each of its stages.
	dialTimeout = 40 * time.Second
	// healthyLife is how long a session must have been up for the next wait to start small again.
	healthyLife = time.Minute
	// certificateEvery is how often it is looked how long the certificate is still good.
	certificateEvery = time.Minute
)

// Options say what a tunnel connects.
type Options struct {
	Identity *identity.Identity
	Handler  http.Handler // answers the gateway; ping and goodbye are answered by the tunnel itself
	Health   *health.Tracker
	Log      *slog.Logger

	// OnSession runs on the session on which the agent works, and returns when its context ends, which is at the latest when the session
	// does. It never runs twice at a time. nil means nothing to do.
	OnSession func(context.Context, *Client)
	// OnStandby is the same for a session that is kept up beside that one.
	OnStandby func(context.Context, *Client)

	OnUp   func(*session.Session, Way)           // a session is up; nil means that nobody wants to know
	OnDown func(s *session.Session, code string) // one has ended, or could not be made (nil), with a code of package reason

	Transport *transport.Dialer // how the gateway is reached; nil: directly
	Backoff   backoff.Backoff   // zero value: 0.5 s to 60 s
	Age       time.Duration     // of a session that is replaced by another one; 0 means 12 to 24 h
}

// Way is where a session leads, and how.
type Way struct {
	Gateway   string // host:port that was dialled
	Transport string // "tls" or "websocket"
	Proxy     string // its URL; "": directly
}

// Run keeps a session to a gateway up, and, where there are several, a second one to another, until ctx ends, and returns its error.
func Run(ctx context.Context, o Options) error {
	t := &tunnel{Options: o, again: o.Backoff, instance: newInstance(), events: make(chan event)}
	t.known = wire.Known(o.Identity.Gateways())
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	t.running.Go(func() { t.watchCertificate(ctx, o.Identity.Expires) })
	for ctx.Err() == nil {
		next := t.plan(ctx, time.Now())
		timer := time.NewTimer(next)
		select {
		case <-ctx.Done():
		case e := <-t.events:
			t.take(ctx, e)
		case <-timer.C:
		}
		timer.Stop()
	}
	cancel()
	ended := make(chan struct{})
	go func() {
		t.running.Wait()
		close(ended)
	}()
	for {
		select {
		case <-t.events: // nobody may wait for what is not read any more
		case <-ended:
			return ctx.Err()
		}
	}
}

// newInstance draws the id of this process.
func newInstance() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails: it ends the process instead
	return hex.EncodeToString(b[:])
}

// tunnel is the state of Run, which belongs to its goroutine; lines have their own.
type tunnel struct {
	Options
	instance string
	events   chan event
	running  sync.WaitGroup

	lines   []*line
	primary *line // on which the agent works
	working *work
	known   []wire.GatewayAddress // where gateways are
	epoch   int64

	turn   int                  // which address is next when no session is up
	avoid  map[string]time.Time // addresses of gateways that are about to stop, until when
	retry  time.Time            // when to dial if no session is up
	second time.Time            // when to dial for one that stands by
	again  backoff.Backoff      // of second
}

// errRenewed ends a session that was let in only to renew the certificate.
var errRenewed = errors.New("the certificate was renewed")

func (t *tunnel) dial(ctx context.Context, address string) (*transport.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	conn, err := t.Transport.Tunnel(ctx, address, t.Identity.Config)
	if err != nil {
		return nil, err
	}
	if err := session.Tune(conn); err != nil {
		t.Log.Debug("connection not tuned", "err", err)
	}
	return conn, nil
}

// handler adds what the tunnel itself answers.
func (t *tunnel) handler(bye chan wire.Goodbye, news chan wire.News, calls chan struct{}) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+wire.PathAgentPing, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	mux.HandleFunc("POST "+wire.PathAgentGoodbye, func(w http.ResponseWriter, r *http.Request) { newest(w, r, bye) })
	mux.HandleFunc("POST "+wire.PathAgentNews, func(w http.ResponseWriter, r *http.Request) { newest(w, r, news) })
	mux.HandleFunc("POST "+wire.PathAgentSecond, func(w http.ResponseWriter, _ *http.Request) {
		call(calls)
		w.WriteHeader(http.StatusNoContent)
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case wire.PathAgentPing, wire.PathAgentGoodbye, wire.PathAgentNews, wire.PathAgentSecond:
			mux.ServeHTTP(w, r)
		default: // a ServeMux would redirect paths that it thinks unclean
			t.Handler.ServeHTTP(w, r)
		}
	})
}

// newest takes a document in place of one that has not been read yet.
func newest[T any](w http.ResponseWriter, r *http.Request, into chan T) {
	var e T
	if err := json.NewDecoder(io.LimitReader(r.Body, maxSmall)).Decode(&e); err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	for {
		select {
		case into <- e:
			w.WriteHeader(http.StatusNoContent)
			return
		default:
		}
		select {
		case <-into:
		default:
		}
	}
}

// why makes a reason of the end of a session: what the gateway said, else what the connection said.
func (t *tunnel) why(address string, err error, said *wire.Error) error {
	if said != nil {
		return refusal.FromWire(*said)
	}
	var known *reason.Error
	if errors.As(err, &known) {
		return known
	}
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "remote error" {
		return transport.Explain(err, address)
	}
	return reason.New(reason.SessionLost, address, err)
}

// codeOf is the reason of an end, for programs.
func codeOf(err error) string {
	var known *reason.Error
	if errors.As(err, &known) {
		return string(known.Code)
	}
	return string(reason.SessionLost)
}

func (t *tunnel) down(err error) {
	var known *reason.Error
	if errors.As(err, &known) {
		t.Health.Set(health.Tunnel, health.False, string(known.Code), known.Error())
		return
	}
	t.Health.Set(health.Tunnel, health.False, "Failed", err.Error())
}

// watchCertificate reports on the certificate until ctx ends: a session outlives it.
func (t *tunnel) watchCertificate(ctx context.Context, expires func() time.Time) {
	for {
		t.certificate(expires())
		if backoff.Sleep(ctx, certificateEvery) != nil {
			return
		}
	}
}

// certificate reports on the certificate as the clock of this machine sees it.
func (t *tunnel) certificate(until time.Time) {
	if time.Now().Before(until) {
		t.Health.Set(health.Certificate, health.True, "Valid", fmt.Sprintf("until %s", until.UTC().Format(time.RFC3339)))
	} else {
		t.Health.Set(health.Certificate, health.False, string(reason.CertificateExpired), "since "+until.UTC().Format(time.RFC3339))
	}
}

// Package tunnel is the agent's end of the connection to the gateway: it dials, keeps a session up, serves the gateway's
// requests on it and carries the agent's own. A gateway that is down, refuses or vanishes is a state with a reason, and
// the tunnel tries again; only the end of its context ends it.
package tunnel

import (
	"context"
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

	// OnSession runs while a session is up and returns when its context ends, which is when the session does. nil means
	// nothing to do.
	OnSession func(context.Context, *Client)

	Transport *transport.Dialer // how the gateway is reached; nil: directly
	Backoff   backoff.Backoff   // zero value: 0.5 s to 60 s
}

// Run keeps a session to the gateway up until ctx ends, and returns its error.
func Run(ctx context.Context, o Options) error {
	t := &tunnel{Options: o}
	for {
		began := time.Now()
		err := t.session(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if errors.Is(err, errRenewed) {
			continue
		}
		if time.Since(began) >= healthyLife {
			t.Backoff.Reset()
		}
		if reason.Is(err, reason.SessionReplaced) || reason.Is(err, reason.IdentityRevoked) {
			t.Backoff.Max() // a clone, or an operator's will: haste makes it worse
		}
		wait := t.Backoff.Next()
		t.down(err)
		t.Log.Warn("tunnel down", "err", err, "retry_in", wait.Round(time.Millisecond))
		if backoff.Sleep(ctx, wait) != nil {
			return ctx.Err()
		}
	}
}

type tunnel struct{ Options }

// errRenewed ends a session that was let in only to renew the certificate.
var errRenewed = errors.New("the certificate was renewed")

// session dials, and returns why the session that came of it ended.
func (t *tunnel) session(ctx context.Context) error {
	t.certificate(t.Identity.Expires())
	t.Health.Set(health.Tunnel, health.False, "Dialing", t.Identity.Gateway())
	conn, err := t.dial(ctx)
	if err != nil {
		return err
	}
	start := session.Client
	if conn.Relayed() {
		start = session.Relayed
	}
	s := start(conn, t.Log)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	bye := make(chan wire.Error, 1)
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx, t.handler(bye)) }()

	// With TLS 1.3 the gateway's verdict on the certificate comes after the handshake: only an answer means yes.
	if _, err := s.Ping(ctx); err != nil {
		s.Close(err)
		return t.why(<-served, nil)
	}
	conn.Good()
	t.Health.Set(health.Tunnel, health.True, "Connected", t.Identity.Gateway()+" by "+conn.Way())
	t.Log.Info("tunnel up", "gateway", t.Identity.Gateway(), "cluster", t.Identity.Cluster(), "by", conn.Way())
	client := &Client{http: &http.Client{Transport: s.Transport()}}
	var work sync.WaitGroup
	work.Go(func() {
		t.Identity.KeepFresh(ctx, t.Log, client.Renew)
	})
	work.Go(func() { t.watchCertificate(ctx, t.Identity.Expires) })
	if t.OnSession != nil {
		work.Go(func() { t.OnSession(ctx, client) })
	}
	defer work.Wait()
	defer cancel()

	var said *wire.Error
	for {
		select {
		case err := <-served:
			select {
			case e := <-bye: // both at a time: the word explains the end
				said = &e
			default:
			}
			return t.why(err, said)
		case e := <-bye:
			said = &e
			if e.Code != string(reason.CertificateExpired) {
				continue // the gateway closes the session when what runs on it is done
			}
			err := t.Identity.Renew(ctx, client.Renew)
			s.Close(nil)
			t.Log.Debug("session closed after renewal", "cause", <-served)
			if err != nil {
				return t.why(err, said)
			}
			t.Log.Info("certificate renewed", "expires", t.Identity.Expires())
			return errRenewed
		}
	}
}

func (t *tunnel) dial(ctx context.Context) (*transport.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	conn, err := t.Transport.Tunnel(ctx, t.Identity.Gateway(), t.Identity.Config)
	if err != nil {
		return nil, err
	}
	if err := session.Tune(conn.NetConn()); err != nil {
		t.Log.Debug("connection not tuned", "err", err)
	}
	return conn, nil
}

// handler adds what the tunnel itself answers.
func (t *tunnel) handler(bye chan<- wire.Error) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+wire.PathAgentPing, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	mux.HandleFunc("POST "+wire.PathAgentGoodbye, func(w http.ResponseWriter, r *http.Request) {
		var e wire.Error
		if err := json.NewDecoder(io.LimitReader(r.Body, maxSmall)).Decode(&e); err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		select {
		case bye <- e:
		default: // one goodbye is enough
		}
		w.WriteHeader(http.StatusNoContent)
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case wire.PathAgentPing, wire.PathAgentGoodbye:
			mux.ServeHTTP(w, r)
		default: // a ServeMux would redirect paths that it thinks unclean
			t.Handler.ServeHTTP(w, r)
		}
	})
}

// why makes a reason of the end of a session: what the gateway said, else what the connection said.
func (t *tunnel) why(err error, said *wire.Error) error {
	if said != nil {
		return refusal.FromWire(*said)
	}
	var known *reason.Error
	if errors.As(err, &known) {
		return known
	}
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "remote error" {
		return transport.Explain(err, t.Identity.Gateway())
	}
	return reason.New(reason.SessionLost, t.Identity.Gateway(), err)
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

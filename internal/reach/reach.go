// Package reach connects to services and pods of the cluster, by TCP and UDP, for the users of the gateway. A target is the name of an
// object; the agent asks the Kubernetes API for the address, checks it, and dials that address and no other.
package reach

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/carry"
	"github.com/pipeopshq/pipeops-agent/internal/cluster"
	"github.com/pipeopshq/pipeops-agent/internal/policy"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
	"github.com/pipeopshq/pipeops-agent/internal/refusal"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

// Limits of an agent. A session serves 512 requests at a time, and the Kubernetes API must always get some.
const (
	maxOpen    = 384
	maxPerUser = 200
	// maxDials are made at once: each asks the Kubernetes API some five things. Others wait for their turn, up to askTimeout.
	maxDials = 64
	// maxWaiting bounds what waits in all flows of datagrams, in bytes.
	maxWaiting = 16 << 20
	// askTimeout bounds what is asked of the Kubernetes API for one connection.
	askTimeout = 15 * time.Second
)

// Options say what is reached, and how.
type Options struct {
	Source *cluster.Source
	// Far is set where this machine is no node of the cluster: connections go by way of the API server.
	Far bool
	// Allow returns why the owner of the machine does not want a connection; nil allows every one.
	Allow func(policy.Request) error
	Log   *slog.Logger

	DialContext func(ctx context.Context, network, address string) (net.Conn, error) // nil means a net.Dialer
	Addresses   func() ([]netip.Addr, error)                                         // of this machine; nil means those of its interfaces
	Idle        time.Duration                                                        // after which flows of datagrams end; 0 means carry.DefaultIdle
}

// Reach serves wire.PathAgentConnect, and dials for the agent.
type Reach struct {
	Options
	guard    guard
	reviews  reviews
	follower follower
	budget   carry.Budget

	dials chan struct{} // has room for those that are made at once

	mu    sync.Mutex
	open  int
	users map[string]int
	held  *cluster.Client // of the source, and that
	plain *cluster.Client // without bounds
}

// New returns a Reach.
func New(o Options) *Reach {
	if o.Addresses == nil {
		o.Addresses = ownAddresses
	}
	if o.Idle == 0 {
		o.Idle = carry.DefaultIdle
	}
	r := &Reach{
		Options: o, guard: guard{own: o.Addresses}, follower: follower{log: o.Log},
		budget: carry.Budget{Most: maxWaiting}, users: map[string]int{}, dials: make(chan struct{}, maxDials),
	}
	r.follower.client = r.client
	return r
}

// client is that of the source, without bounds of its own.
func (r *Reach) client() (*cluster.Client, error) {
	now, err := r.Source.Client()
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.held != now {
		plain, err := now.Unbounded()
		if err != nil {
			return nil, err
		}
		r.held, r.plain = now, plain
	}
	return r.plain, nil
}

// ServeHTTP connects the user whom the gateway names to a target, and carries the connection on the stream of the request.
func (r *Reach) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	user, groups, err := wire.Caller(request.Header)
	if err != nil {
		refusal.Write(w, http.StatusForbidden, reason.Newf(reason.UserMissing, "a connection: %v", err))
		return
	}
	t, err := wire.TargetOfPath(strings.TrimPrefix(request.URL.EscapedPath(), wire.PathAgentConnect))
	if err != nil {
		refusal.Write(w, http.StatusBadRequest, reason.New(reason.Usage, err.Error(), nil))
		return
	}
	if request.Method != http.MethodGet || !wire.AsksConnect(request.Header) {
		refusal.Write(w, http.StatusUpgradeRequired, reason.Newf(reason.Usage, "want GET with an upgrade to %s", wire.Connect))
		return
	}
	log := r.Log.With("user", user, "target", t.String(), "network", t.Network)
	if err := r.enter(user); err != nil {
		refuse(w, log, err)
		return
	}
	defer r.leave(user)
	l, err := r.reach(request.Context(), user, groups, t)
	if err != nil {
		refuse(w, log, err)
		return
	}
	defer l.leave()
	stream, err := carry.Switch(w)
	if err != nil {
		_ = l.Close()
		log.Info("connection refused", "err", err)
		return
	}
	log.Info("connection opened", "address", l.RemoteAddr().String())
	began := time.Now()
	result := r.carry(request.Context(), l, stream, t.Network)
	log.Info("connection ended", "sent", result.Sent, "received", result.Received, "dropped", result.Dropped,
		"outcome", result.Outcome.String(), "after", time.Since(began).Round(time.Millisecond), "err", result.Err)
}

// carry carries the connection until either side ends, what it leads to is gone, or the session has ended.
func (r *Reach) carry(ctx context.Context, l *line, stream net.Conn, network string) carry.Result {
	ctx, cancel := context.WithCancelCause(ctx)
	done := make(chan struct{})
	var watching sync.WaitGroup
	watching.Go(func() {
		select {
		case <-l.gone:
			cancel(&carry.EndedError{Outcome: wire.OutcomeGone, Why: l.what})
		case <-done:
		}
	})
	defer func() {
		close(done)
		watching.Wait()
		cancel(nil)
	}()
	if network == "udp" {
		return carry.Datagrams(ctx, l.Conn, stream, r.Idle, &r.budget)
	}
	return carry.Stream(ctx, l.Conn, stream)
}

// reach asks whether the user may, finds out what the target is, asks the owner of the machine, and dials.
func (r *Reach) reach(ctx context.Context, user string, groups []string, t wire.Target) (*line, error) {
	client, err := r.client()
	if err != nil {
		return nil, reason.Newf(reason.ConnectUnreachable, "the agent cannot reach the Kubernetes API of its machine: %v", err)
	}
	done, err := r.turn(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	asked, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	if err := r.reviews.check(asked, client, user, groups, t); err != nil {
		return nil, unasked(err)
	}
	at, err := r.resolve(asked, client, t)
	if err != nil {
		return nil, unasked(err)
	}
	if r.Allow != nil {
		if err := r.Allow(wanted(t, at.port)); err != nil {
			return nil, err
		}
	}
	return r.dial(ctx, client, t, at)
}

// turn waits until a connection may be made. The error is CONNECT_BUSY.
func (r *Reach) turn(ctx context.Context) (done func(), err error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	select {
	case r.dials <- struct{}{}:
		return func() { <-r.dials }, nil
	case <-ctx.Done():
		return nil, reason.Newf(reason.ConnectBusy, "%d are being made", maxDials)
	}
}

// wanted is a connection in the words of a policy.
func wanted(t wire.Target, port int) policy.Request {
	p := policy.Request{Verb: "create", Resource: "services", Subresource: "proxy", Namespace: t.Namespace, Name: t.Name, Port: port}
	if t.Kind == wire.KindPod {
		p.Resource, p.Subresource = "pods", "portforward"
	}
	return p
}

// unasked makes a reason of an error of the API server.
func unasked(err error) error {
	var known *reason.Error
	if errors.As(err, &known) {
		return err
	}
	return reason.Newf(reason.ConnectUnreachable, "the Kubernetes API does not say where that is: %v", err)
}

func refuse(w http.ResponseWriter, log *slog.Logger, err error) {
	status := http.StatusForbidden
	var known *reason.Error
	if errors.As(err, &known) {
		switch known.Code {
		case reason.ConnectUnknown:
			status = http.StatusNotFound
		case reason.ConnectUnreachable:
			status = http.StatusBadGateway
		case reason.ConnectBusy:
			status = http.StatusServiceUnavailable
		}
	}
	log.Info("connection refused", "err", err)
	refusal.Write(w, status, err)
}

// enter counts a connection of a user; leave must follow where it returns nil.
func (r *Reach) enter(user string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.open >= maxOpen:
		return reason.Newf(reason.ConnectBusy, "%d are open", r.open)
	case r.users[user] >= maxPerUser:
		return reason.Newf(reason.ConnectBusy, "%d of %s are open", r.users[user], user)
	}
	r.open++
	r.users[user]++
	return nil
}

func (r *Reach) leave(user string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.open--
	if r.users[user]--; r.users[user] == 0 {
		delete(r.users, user)
	}
}

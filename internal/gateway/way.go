package gateway

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/backoff"
	"github.com/pipeopshq/pipeops-agent/internal/gateway/store"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
	"github.com/pipeopshq/pipeops-agent/internal/session"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

const (
	// maxHeld bounds what is kept of a body so that it can be given once more, in bytes.
	maxHeld = 64 << 10
	// lookAgain is how often it is looked who takes a request, and lookPause times the number of the look the pause before it: a session
	// that moves is at no gateway for some milliseconds, and for longer where the store or the machine is busy; a second in all.
	lookAgain = 7
	lookPause = 50 * time.Millisecond
)

// errNotTaken says that a session, or another gateway, did not take a request: nothing of it has come to an agent.
var errNotTaken = errors.New("the request was not taken")

// granter returns the id of the grant by which a request is made; another gateway asks the store for it.
type granter func(context.Context) (string, error)

// byGrant is the right of a user who has shown a token.
func byGrant(grant store.Grant) granter {
	return func(context.Context) (string, error) { return grant.ID, nil }
}

// way carries requests to a machine, or to the servers of a cluster, by the first session that takes them: those of this gateway first,
// then those of others.
type way struct {
	name string         // of the cluster
	here func() []*peer // sessions of this gateway at the moment; nil: none
	far  func(context.Context) []http.RoundTripper

	mu      sync.Mutex
	carried []func()
}

// done is called when what came of the requests has ended.
func (w *way) done() {
	w.mu.Lock()
	carried := w.carried
	w.carried = nil
	w.mu.Unlock()
	for _, done := range carried {
		done()
	}
}

// RoundTrip asks one after the other until one takes the request, and looks again if sessions were moving meanwhile. A request of which
// somebody has taken more than can be given once more is not made again.
func (w *way) RoundTrip(r *http.Request) (*http.Response, error) {
	held := &whole{body: r.Body}
	ask := func(by http.RoundTripper) (*http.Response, error) {
		if r.Body == nil || r.Body == http.NoBody {
			return by.RoundTrip(r)
		}
		again := r.WithContext(r.Context())
		again.Body = &attempt{of: held}
		return by.RoundTrip(again)
	}
	var response *http.Response
	err := error(reason.Newf(reason.ClusterNotConnected, "%s", w.name))
	for round := range lookAgain {
		if round > 0 && backoff.Sleep(r.Context(), time.Duration(round)*lookPause) != nil {
			return nil, err
		}
		for asked := map[*peer]bool{}; w.here != nil; {
			p := firstOther(w.here(), asked) // a session may have been replaced by another one since the last look
			if p == nil {
				break
			}
			asked[p] = true
			done, ok := p.take(false)
			if !ok {
				continue
			}
			w.mu.Lock()
			w.carried = append(w.carried, done)
			w.mu.Unlock()
			if response, err = ask(p.session.Transport()); err == nil || held.gone() || !errors.Is(err, session.ErrNoStream) {
				return response, err
			}
		}
		if w.far == nil {
			break
		}
		for _, other := range w.far(r.Context()) {
			if response, err = ask(other); err == nil || held.gone() || !errors.Is(err, errNotTaken) {
				return response, err
			}
		}
	}
	return nil, err
}

// firstOther returns the first of a list that was not asked yet, nil if there is none.
func firstOther(list []*peer, asked map[*peer]bool) *peer {
	for _, p := range list {
		if !asked[p] {
			return p
		}
	}
	return nil
}

// whole is the body of a request, which can be given once more as long as no more than maxHeld bytes of it were read.
type whole struct {
	body io.ReadCloser

	mu   sync.Mutex
	held []byte
	over bool
}

// gone reports whether the body cannot be given once more.
func (b *whole) gone() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.over
}

// attempt is a body as one transport reads it. Closing it does not close what is beneath: whoever made the request does.
type attempt struct {
	of     *whole
	at     int
	closed atomic.Bool
}

func (a *attempt) Read(p []byte) (int, error) {
	b := a.of
	b.mu.Lock()
	defer b.mu.Unlock()
	if a.closed.Load() {
		return 0, http.ErrBodyReadAfterClose
	}
	if a.at < len(b.held) {
		n := copy(p, b.held[a.at:])
		a.at += n
		return n, nil
	}
	n, err := b.body.Read(p)
	if len(b.held)+n > maxHeld {
		b.over, b.held = true, nil
		a.at = 0
	} else if !b.over {
		b.held = append(b.held, p[:n]...)
		a.at += n
	}
	return n, err
}

func (a *attempt) Close() error {
	a.closed.Store(true)
	return nil
}

// reach returns the way to the servers of a cluster, those first whom the Kubernetes API answers; nil if none is connected.
func (g *Gateway) reach(ctx context.Context, id, name string, right granter) *peer {
	w := &way{name: name, here: func() []*peer { return g.sessions.servers(id) }}
	here := w.here()
	if g.store.Shared() {
		w.far = func(ctx context.Context) []http.RoundTripper { return g.fleet.ways(g.elsewhere(ctx, id, ""), right) }
	}
	if len(here) == 0 || !here[0].hears() {
		far := g.elsewhere(ctx, id, "")
		switch {
		case len(far) > 0 && !far[0].Deaf:
			w.here = nil
		case len(far) == 0 && len(here) == 0:
			return nil
		}
	}
	return &peer{id: id, name: name, role: wire.RoleServer, way: w}
}

// servers returns the ways to the servers of a cluster one by one, in the order in which requests prefer them.
func (g *Gateway) servers(ctx context.Context, id, name string, right granter) []*peer {
	here := g.sessions.servers(id)
	list := make([]*peer, 0, len(here))
	at := map[string]int{}
	deaf := []bool{}
	for _, p := range here {
		at[p.machine] = len(list)
		list, deaf = append(list, p), append(deaf, !p.hears())
	}
	for _, l := range g.elsewhere(ctx, id, "") {
		if _, known := at[l.Machine]; known {
			continue
		}
		at[l.Machine] = len(list)
		machine := l.Machine
		far := func(ctx context.Context) []http.RoundTripper {
			return g.fleet.ways(g.elsewhere(ctx, id, machine), right)
		}
		list = append(list, &peer{id: id, name: name, machine: machine, role: l.Role, remote: l.Remote, since: l.Since, way: &way{name: name, far: far}})
		deaf = append(deaf, l.Deaf)
	}
	var sorted, last []*peer
	for i, p := range list {
		if deaf[i] {
			last = append(last, p)
		} else {
			sorted = append(sorted, p)
		}
	}
	return append(sorted, last...)
}

// elsewhere returns where the servers of a cluster, or one machine of it, are connected to other gateways: those first whom the
// Kubernetes API answers, and of each machine the session on which it works.
func (g *Gateway) elsewhere(ctx context.Context, id, machine string) []store.Location {
	if !g.store.Shared() {
		return nil
	}
	list, err := g.store.Locations(ctx, id)
	if err != nil {
		g.Log.Error("cannot see where a cluster is connected", "cluster_id", id, "err", err)
		return nil
	}
	var classes [4][]store.Location
	for _, l := range list {
		if l.Gateway == g.fleet.id || l.Role != wire.RoleServer || machine != "" && l.Machine != machine {
			continue
		}
		class := 0
		if l.Standby {
			class = 1
		}
		if l.Deaf {
			class += 2
		}
		classes[class] = append(classes[class], l)
	}
	return append(append(append(classes[0], classes[1]...), classes[2]...), classes[3]...)
}

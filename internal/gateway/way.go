package gateway

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync"

	"github.com/pipeopshq/pipeops-agent/internal/gateway/store"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
	"github.com/pipeopshq/pipeops-agent/internal/session"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
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

// RoundTrip asks one after the other until one takes the request. One that was begun is not made again.
func (w *way) RoundTrip(r *http.Request) (*http.Response, error) {
	held := &whole{body: r.Body}
	ask := func(by http.RoundTripper) (*http.Response, error) {
		if r.Body == nil || r.Body == http.NoBody {
			return by.RoundTrip(r)
		}
		again := r.WithContext(r.Context())
		again.Body = held
		return by.RoundTrip(again)
	}
	defer held.release()
	err := error(reason.Newf(reason.ClusterNotConnected, "%s", w.name))
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
		var response *http.Response
		if response, err = ask(p.session.Transport()); err == nil || held.touched() || !errors.Is(err, session.ErrNoStream) {
			return response, err
		}
	}
	if w.far == nil {
		return nil, err
	}
	for _, other := range w.far(r.Context()) {
		response, tried := ask(other)
		if tried == nil || held.touched() || !errors.Is(tried, errNotTaken) {
			return response, tried
		}
		err = tried
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

// whole is the body of a request, which no transport closes before it is known that the request went that way.
type whole struct {
	body io.ReadCloser

	mu               sync.Mutex
	read, closed, is bool // is: this way it went
}

func (b *whole) Read(p []byte) (int, error) {
	b.mu.Lock()
	b.read = true
	b.mu.Unlock()
	return b.body.Read(p)
}

func (b *whole) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	if !b.is {
		return nil
	}
	return b.body.Close()
}

func (b *whole) touched() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.read
}

// release lets the transport close the body, which may be later than its answer.
func (b *whole) release() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.is = true
	if b.closed {
		_ = b.body.Close()
	}
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

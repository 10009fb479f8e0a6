package gateway

import (
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/session"
)

// peer is the session of one agent.
type peer struct {
	id, name string // of its cluster
	remote   string
	since    time.Time
	session  *session.Session

	mu       sync.Mutex
	requests int           // of users, on their way through it
	idle     chan struct{} // closed when requests falls to 0 while somebody drains; nil otherwise
}

// carry counts a request of a user for as long as it lasts, so that drain can wait for it.
func (p *peer) carry() (done func()) {
	p.mu.Lock()
	p.requests++
	p.mu.Unlock()
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.requests--
		if p.requests == 0 && p.idle != nil {
			close(p.idle)
			p.idle = nil
		}
	}
}

// drained waits until no request is on its way, or ctx ends.
func (p *peer) drained(ctx context.Context) {
	p.mu.Lock()
	if p.requests == 0 {
		p.mu.Unlock()
		return
	}
	if p.idle == nil {
		p.idle = make(chan struct{})
	}
	idle := p.idle
	p.mu.Unlock()
	select {
	case <-idle:
	case <-ctx.Done():
	}
}

func (p *peer) transport() http.RoundTripper { return p.session.Transport() }

// registry knows who is connected. No I/O happens under its lock. The zero value is empty.
type registry struct {
	mu    sync.Mutex
	peers map[string]*peer // by cluster id
}

// put makes p the peer of its cluster and returns the one before it, if any: the newest session wins, since the older one
// is most likely a connection that died without a word.
func (r *registry) put(p *peer) (old *peer) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.peers == nil {
		r.peers = map[string]*peer{}
	}
	old = r.peers[p.id]
	r.peers[p.id] = p
	return old
}

// remove forgets p, unless another one has taken its place.
func (r *registry) remove(p *peer) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.peers[p.id] == p {
		delete(r.peers, p.id)
	}
}

// get returns the peer of a cluster, nil if it is not connected.
func (r *registry) get(id string) *peer {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.peers[id]
}

// all returns the peers in no order.
func (r *registry) all() []*peer {
	r.mu.Lock()
	defer r.mu.Unlock()
	list := make([]*peer, 0, len(r.peers))
	for _, p := range r.peers {
		list = append(list, p)
	}
	return list
}

// bell tells those who wait that the documents of a cluster have changed. The zero value is ready.
type bell struct {
	mu    sync.Mutex
	waits map[string]chan struct{}
}

// wait returns a channel that is closed at the next ring for the cluster.
func (b *bell) wait(id string) <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.waits == nil {
		b.waits = map[string]chan struct{}{}
	}
	if b.waits[id] == nil {
		b.waits[id] = make(chan struct{})
	}
	return b.waits[id]
}

func (b *bell) ring(id string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if c := b.waits[id]; c != nil {
		close(c)
		delete(b.waits, id)
	}
}

// gate counts what must have ended before the gateway has. The zero value is open.
type gate struct {
	mu     sync.Mutex
	closed bool
	inside sync.WaitGroup
}

// enter reports whether the gate is open; leave must follow if it is.
func (g *gate) enter() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.closed {
		g.inside.Add(1)
	}
	return !g.closed
}

func (g *gate) leave() { g.inside.Done() }

// run runs f in a goroutine of its own, if the gate is open.
func (g *gate) run(f func()) {
	if g.enter() {
		go func() {
			defer g.leave()
			f()
		}()
	}
}

// close lets nobody in any more and waits until all have left.
func (g *gate) close() {
	g.mu.Lock()
	g.closed = true
	g.mu.Unlock()
	g.inside.Wait()
}

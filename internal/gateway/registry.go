package gateway

import (
	"context"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/gateway/store"
	"github.com/pipeopshq/pipeops-agent/internal/session"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

// peer is the session of one machine; or, without a session, the way to a machine or a cluster by whichever session there is.
type peer struct {
	id, name string // of its cluster
	machine  string // its id
	role     wire.Role
	remote   string
	by       string // its transport, as metrics name it
	since    time.Time
	session  *session.Session
	way      *way      // in place of a session
	serial   int64     // of the session in the life of this gateway
	key      []byte    // SHA-256 of the public key of the machine
	second   string    // token of a second connection
	agent    string    // by which admission knows it
	turn     time.Time // when it may enter

	entering  sync.Once // see enter
	replacing sync.Once // see replace
	refused   error     // by enter
	instance  string    // of the process at the other end; set by enter, as epoch is
	epoch     int64

	mu       sync.Mutex
	requests int           // of users, on their way through it
	idle     chan struct{} // closed when requests falls to 0 while somebody drains; nil otherwise
	deaf     bool          // its last heartbeat said that the Kubernetes API does not answer it
	standby  bool          // the process works on another session
	retired  chan struct{} // closed when it takes no more requests; nil until somebody wants to know
	over     bool          // it takes no more requests
}

// hears reports whether the Kubernetes API answers the machine, as far as is known.
func (p *peer) hears() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return !p.deaf
}

// heard notes what a heartbeat says of the Kubernetes API, and reports whether that is news.
func (p *peer) heard(conditions []wire.Condition) bool {
	deaf := store.Deaf(conditions)
	p.mu.Lock()
	defer p.mu.Unlock()
	news := deaf != p.deaf
	p.deaf = deaf
	return news
}

// carry counts a request of a user for as long as it lasts, so that drain can wait for it.
func (p *peer) carry() (done func()) {
	if p.way != nil {
		return p.way.done
	}
	done, _ = p.take(true)
	return done
}

// take is carry for a request that can go elsewhere: ok is false if the session takes no more.
func (p *peer) take(anyway bool) (done func(), ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.over && !anyway {
		return nil, false
	}
	p.requests++
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.requests--
		if p.requests == 0 && p.idle != nil {
			close(p.idle)
			p.idle = nil
		}
	}, true
}

// retire ends the taking of requests. It reports whether that is news.
func (p *peer) retire() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.over {
		return false
	}
	p.over = true
	if p.retired != nil {
		close(p.retired)
	}
	return true
}

// whenRetired returns a channel that is closed when the session takes no more requests.
func (p *peer) whenRetired() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.retired == nil {
		p.retired = make(chan struct{})
		if p.over {
			close(p.retired)
		}
	}
	return p.retired
}

// stands says whether the process at the other end works on another session.
func (p *peer) stands(by bool) {
	p.mu.Lock()
	p.standby = by
	p.mu.Unlock()
}

func (p *peer) isStandby() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.standby
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

func (p *peer) transport() http.RoundTripper {
	if p.way != nil {
		return p.way
	}
	return p.session.Transport()
}

// registry knows who is connected. No I/O happens under its lock. The zero value is empty.
type registry struct {
	mu       sync.Mutex
	peers    map[string][]*peer // by cluster id; the machines in the order in which they connected
	machines int                // in all lists
}

// put adds p and returns the one before it of the same machine, if any: the newest session wins. The older one is being handed over, or a
// connection that died without a word, or that of a process that is no more.
func (r *registry) put(p *peer) (old *peer) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.peers == nil {
		r.peers = map[string][]*peer{}
	}
	list := r.peers[p.id]
	for i, q := range list {
		if q.machine == p.machine { // it keeps its turn
			list = slices.Clone(list)
			list[i], r.peers[p.id] = p, list
			return q
		}
	}
	r.peers[p.id] = append(slices.Clone(list), p)
	r.machines++
	return nil
}

// remove forgets p, unless another one has taken its place.
func (r *registry) remove(p *peer) {
	r.mu.Lock()
	defer r.mu.Unlock()
	list := slices.DeleteFunc(slices.Clone(r.peers[p.id]), func(q *peer) bool { return q == p })
	if len(list) == len(r.peers[p.id]) {
		return // it never came to be there
	}
	r.machines--
	if r.peers[p.id] = list; len(list) == 0 {
		delete(r.peers, p.id)
	}
}

// of returns the peers of a cluster, the one that is connected longest first. The caller must not change the list.
func (r *registry) of(id string) []*peer {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.peers[id]
}

// count returns how many machines are connected.
func (r *registry) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.machines
}

// machine returns the peer of one machine, nil if it is not connected.
func (r *registry) machine(id, machine string) *peer {
	for _, p := range r.of(id) {
		if p.machine == machine {
			return p
		}
	}
	return nil
}

// servers returns the peers of a cluster that can serve its Kubernetes API, those whom it answers first, and among them
// the one that is connected longest.
func (r *registry) servers(id string) []*peer {
	var hear, deaf []*peer
	for _, p := range r.of(id) {
		switch {
		case p.role != wire.RoleServer:
		case p.hears():
			hear = append(hear, p)
		default:
			deaf = append(deaf, p)
		}
	}
	return append(hear, deaf...)
}

// get returns the peer that requests to a cluster go to, nil if none is connected that can serve them.
func (r *registry) get(id string) *peer {
	if list := r.servers(id); len(list) > 0 {
		return list[0]
	}
	return nil
}

// clusters returns the ids of the clusters that are connected.
func (r *registry) clusters() map[string]bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	ids := make(map[string]bool, len(r.peers))
	for id := range r.peers {
		ids[id] = true
	}
	return ids
}

// all returns the peers in no order.
func (r *registry) all() []*peer {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []*peer
	for _, list := range r.peers {
		all = append(all, list...)
	}
	return all
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

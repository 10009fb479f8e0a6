package gateway

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/gateway/store"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

// lookTimeout bounds one look at who leads a cluster: two short transactions.
const lookTimeout = 20 * time.Second

// leads knows which machine of each cluster leads: it is sent the documents, and its reports count. That is the one that
// the store names, until it is away, or the Kubernetes API does not answer it, for longer than Handover while another
// server could do it; then it is the one of those that is connected longest. A machine that comes back does not take the
// lead back.
type leads struct {
	gateway *Gateway

	mu      sync.Mutex // held while the store is asked, so that looks follow each other
	stopped bool
	known   map[string]lead        // by cluster id; as of the last look
	waits   map[string]*time.Timer // by cluster id, while a machine that leads is missed
}

type lead struct {
	machine string
	term    int64
}

// of returns whether a machine leads.
func (l *leads) of(p *peer) wire.Lead {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.known[p.id]
	return wire.Lead{Term: now.term, Primary: now.machine == p.machine}
}

// look decides who leads a cluster, or that it is to be seen later.
func (l *leads) look(cluster string) { l.decide(cluster, false) }

func (l *leads) decide(id string, late bool) {
	ctx, cancel := context.WithTimeout(context.Background(), lookTimeout)
	defer cancel()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.stopped {
		return
	}
	cluster, err := l.gateway.store.ClusterByID(ctx, id)
	if err != nil {
		l.wait(id, 0)
		delete(l.known, id)
		if !reason.Is(err, reason.ClusterUnknown) {
			l.gateway.Log.Error("cannot see who leads", "cluster_id", id, "err", err)
			l.wait(id, l.gateway.Handover)
		}
		return
	}
	now := lead{cluster.Lead, cluster.Term}
	servers := l.gateway.present(ctx, id)
	present, hears := false, false
	for _, s := range servers {
		present = present || s.machine == now.machine
		hears = hears || s.machine == now.machine && s.hears
	}
	switch better := len(servers) > 0 && (!present || !hears && servers[0].hears); {
	case !better:
		l.wait(id, 0)
	case !late && l.waits[id] == nil:
		l.wait(id, l.gateway.Handover)
	case late:
		l.wait(id, 0)
		now.machine = servers[0].machine
		now.term, err = l.gateway.store.SetLead(ctx, id, now.machine, cluster.Term)
		if errors.Is(err, store.ErrTermMoved) {
			l.wait(id, time.Millisecond) // and see what it has become
			return
		}
		if err != nil {
			l.gateway.Log.Error("cannot hand over", "cluster", cluster.Name, "machine", now.machine, "err", err)
			l.wait(id, l.gateway.Handover)
			return
		}
		l.gateway.Log.Warn("another machine leads", "cluster", cluster.Name, "machine", now.machine, "before", cluster.Lead, "term", now.term)
	}
	if l.known == nil {
		l.known = map[string]lead{}
	}
	if l.known[id] != now {
		l.known[id] = now
		l.gateway.changes.ring(id)
	}
}

// presence is a server that is connected to some gateway.
type presence struct {
	machine string
	hears   bool // the Kubernetes API answers it
}

// present returns the servers of a cluster that are connected to any gateway: those first whom the Kubernetes API answers.
func (g *Gateway) present(ctx context.Context, id string) []presence {
	var list, deaf []presence
	seen := map[string]bool{}
	add := func(machine string, hears bool) {
		if seen[machine] {
			return
		}
		seen[machine] = true
		if hears {
			list = append(list, presence{machine, true})
		} else {
			deaf = append(deaf, presence{machine, false})
		}
	}
	for _, p := range g.sessions.servers(id) {
		add(p.machine, p.hears())
	}
	for _, l := range g.elsewhere(ctx, id, "") {
		add(l.Machine, !l.Deaf)
	}
	return append(list, deaf...)
}

// wait sees to it that a cluster is looked at again after d, or not at all if d is 0. The lock must be held.
func (l *leads) wait(id string, d time.Duration) {
	if timer := l.waits[id]; timer != nil {
		timer.Stop()
		delete(l.waits, id)
	}
	if d == 0 {
		return
	}
	if l.waits == nil {
		l.waits = map[string]*time.Timer{}
	}
	l.waits[id] = time.AfterFunc(d, func() {
		if l.gateway.work.enter() {
			defer l.gateway.work.leave()
			l.decide(id, true)
		}
	})
}

// stop ends all waiting; nobody leads anything from then on.
func (l *leads) stop() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stopped = true
	for _, timer := range l.waits {
		timer.Stop()
	}
	l.waits = nil
}

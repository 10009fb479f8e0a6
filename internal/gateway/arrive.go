package gateway

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"net/http"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/metric"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
	"github.com/pipeopshq/pipeops-agent/internal/session"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

const (
	// helloTime is how long an agent may take to say which process it is; one that asks for something else first, or stays silent for
	// longer, knows of no other gateways, and counts as a new process. When thousands come back at once, or a machine is busy, what an
	// agent has said at once is heard seconds later; a shorter time would take its session at another gateway for that of a clone.
	helloTime = 10 * time.Second
	// retiredLife bounds how long the requests on a session may go on that takes no more of them. The session after it is replaced
	// after 12 hours at the earliest, so that there are never three.
	retiredLife = 12 * time.Hour
	// elsewhere is where the newer connection of a machine goes whose end is not here.
	elsewhere = "to another gateway"
)

// hello takes the first request of an agent, and those by which it says that the part of its session has changed.
func (g *Gateway) hello(w http.ResponseWriter, r *http.Request, p *peer) {
	var h wire.Hello
	err := read(r, &h)
	if err == nil && h.Version > wire.Version {
		err = reason.Newf(reason.GatewayRefused, "the agent's documents are of version %d, this gateway knows %d: update the gateway", h.Version, wire.Version)
	}
	if err == nil {
		if invalid := h.Validate(); invalid != nil {
			err = reason.Newf(reason.Usage, "%v", invalid)
		}
	}
	if err != nil {
		g.fail(w, r, err)
		return
	}
	every := session.KeepAliveOf(g.sessions.count())
	p.session.SetKeepAlive(every)
	welcome := wire.Welcome{Gateway: g.fleet.id, Second: p.second, KeepAlive: int(every / time.Second), Gateways: g.fleet.announce()}
	if held := g.sessions.machine(p.id, p.machine); held != nil && held != p && held.instance == h.Instance && !h.Replaces {
		welcome.Held, welcome.Epoch = true, held.epoch
		answer(w, welcome)
		return
	}
	if err := g.enter(r.Context(), p, h); err != nil {
		g.fail(w, r, err)
		return
	}
	if p.isStandby() != h.Standby {
		p.stands(h.Standby)
		g.fleet.put(r.Context(), p)
	}
	welcome.Epoch = p.epoch
	answer(w, welcome)
}

// enter makes a session one that requests go to, once, when it is its turn. An agent that says nothing of itself is a new process each
// time it connects.
func (g *Gateway) enter(ctx context.Context, p *peer, h wire.Hello) error {
	p.entering.Do(func() {
		if p.refused = g.turn(ctx, p); p.refused == nil {
			p.refused = g.enterNow(context.WithoutCancel(ctx), p, h)
		}
		var known *reason.Error
		switch {
		case p.refused == nil:
			return
		case errors.Is(p.refused, errGone):
			p.session.Close(p.refused)
			return
		case !errors.As(p.refused, &known):
			g.Log.Error("cannot admit the agent", "cluster", p.name, "machine", p.machine, "err", p.refused)
			p.session.Close(p.refused) // it will come again
			return
		}
		g.Log.Warn("agent refused", "cluster", p.name, "machine", p.machine, "code", known.Code, "evidence", known.Evidence)
		g.dismiss(ctx, p, known)
	})
	return p.refused
}

func (g *Gateway) enterNow(ctx context.Context, p *peer, h wire.Hello) error {
	if h.Instance == "" {
		var b [8]byte
		_, _ = rand.Read(b[:]) // never fails: it ends the process instead
		h.Instance = hex.EncodeToString(b[:])
	}
	held := g.sessions.machine(p.id, p.machine)
	epoch, err := g.store.Arrive(ctx, p.id, p.machine, h.Instance, h.Epoch, held != nil && held.epoch > h.Epoch)
	if reason.Is(err, reason.SessionReplaced) {
		g.cloned(ctx, p, "a process at "+p.remote+" came back that a newer one has replaced, which is connected")
	}
	if err != nil {
		return err
	}
	p.instance, p.epoch, p.serial = h.Instance, epoch, g.fleet.serials.Add(1)
	p.stands(h.Standby)
	switch old := g.sessions.put(p); {
	case old == nil:
	case old.instance == p.instance:
		old.retire() // it is handed over, or dead
	default:
		g.Log.Warn("session replaced", "cluster", p.name, "old_remote", old.remote)
		g.replace(ctx, old, "from "+p.remote)
	}
	g.fleet.put(ctx, p)
	// who removed, revoked or replaced the machine since it was looked at has not found this session
	if err := g.stillGood(ctx, p); err != nil {
		return err
	}
	g.metrics.Add(metric.GatewayPrefix+metric.SessionsBegan, 1)
	g.Log.Info("agent connected", "cluster", p.name, "machine", p.machine, "role", p.role, "remote", p.remote, "standby", h.Standby, "epoch", p.epoch)
	g.leads.look(p.id)
	return nil
}

// stillGood returns IDENTITY_REVOKED or SESSION_REPLACED for a session whose machine, or whose process of it, counts no more.
func (g *Gateway) stillGood(ctx context.Context, p *peer) error {
	_, machine, err := g.known(ctx, p.id, p.key)
	switch {
	case err != nil:
		return err
	case machine.ID != p.machine:
		return reason.Newf(reason.IdentityRevoked, "the key is that of another machine of %s", p.name)
	case machine.Epoch > p.epoch:
		return reason.Newf(reason.SessionReplaced, "by a connection %s", elsewhere)
	}
	return nil
}

// review acts on a change of a cluster that another gateway has made.
func (g *Gateway) review(ctx context.Context, id string) {
	g.changes.ring(id)
	list := g.sessions.of(id)
	if len(list) == 0 {
		return
	}
	for _, p := range list {
		var known *reason.Error
		switch err := g.stillGood(ctx, p); {
		case err == nil:
		case reason.Is(err, reason.SessionReplaced):
			g.Log.Warn("session replaced", "cluster", p.name, "old_remote", p.remote)
			g.replace(ctx, p, elsewhere)
		case errors.As(err, &known):
			g.Log.Warn("session ended", "cluster", p.name, "machine", p.machine, "code", known.Code, "evidence", known.Evidence)
			p.retire()
			g.dismiss(ctx, p, known)
		default:
			g.Log.Error("cannot see whether a session is still good", "cluster", p.name, "machine", p.machine, "err", err)
		}
	}
	g.leads.look(id)
}

// handover lets an agent say that it has another session for what this one did.
func (g *Gateway) handover(w http.ResponseWriter, r *http.Request, p *peer) {
	g.sessions.remove(p)
	g.fleet.drop(r.Context(), p)
	p.retire()
	g.outlive(p)
	g.leads.look(p.id)
	w.WriteHeader(http.StatusNoContent)
}

// outlive ends a session that takes no more requests when the last one has ended; it does not wait. The agent has asked for it, and its own
// requests on the session are done.
func (g *Gateway) outlive(p *peer) {
	g.work.run(func() {
		ctx, cancel := context.WithTimeout(context.Background(), retiredLife)
		defer cancel()
		stop := make(chan struct{})
		go func() { // a session that ends by itself is not waited for
			select {
			case <-p.session.Done():
				cancel()
			case <-stop:
			}
		}()
		p.drained(ctx)
		close(stop)
		p.session.Flush(ctx)
		p.session.Close(nil)
	})
}

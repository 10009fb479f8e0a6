package gateway

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/reason"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

const (
	// admitRate is how many sessions a gateway lets in each second if nothing else is said: two cores make some 700 handshakes a second
	// with both ends on them, and a gateway has other things to do, too.
	admitRate = 500
	// admitBurst is how many seconds' worth of them it lets in at once.
	admitBurst = 2
	// spreadMost bounds the time over which agents are spread.
	spreadMost = time.Minute
	// heldMost is how long an agent waits for its place on its session, in place of coming again: that would take another handshake, and in
	// a storm handshakes are what there is too much of. It is half of what an agent gives the answer to its hello (internal/tunnel).
	heldMost = 15 * time.Second
)

// stop ends the service: first for those who can choose, balancers and agents, then for all. leave takes the gateway out of the fleet.
func (g *Gateway) stop(ctx context.Context, leave func(), servers ...*http.Server) {
	g.fleet.drain(ctx)
	drain, cancel := context.WithTimeout(ctx, g.LameDuck+g.Drain)
	defer cancel()
	var agents, requests sync.WaitGroup
	agents.Go(func() { g.drain(drain) })
	if g.LameDuck > 0 {
		timer := time.NewTimer(g.LameDuck)
		<-timer.C
	}
	for _, s := range servers { // each closes its listener, tells connections to go elsewhere, and waits for what is under way
		requests.Go(func() { _ = s.Shutdown(drain) })
	}
	agents.Wait()
	leave() // nobody finds anything here any more
	requests.Wait()
}

// parting lets each answer say that its connection is not to be used again, once the gateway is about to stop: who comes again goes
// elsewhere. An idle connection is not closed yet: a request could be on its way on it, which nobody may make again.
func (g *Gateway) parting(h http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if g.fleet.isDraining() && r.Header.Get("Upgrade") == "" {
			w.Header().Set("Connection", "close") // with HTTP/2, too
		}
		h(w, r)
	})
}

// drain tells all agents that the gateway stops, and where and when to connect instead; it waits until they have, and for the requests
// of users, until ctx ends, and closes the sessions.
func (g *Gateway) drain(ctx context.Context) {
	why := stopped()
	elsewhere := g.fleet.announce()
	list := g.sessions.all()
	// those who have no other session yet are the first to make one
	slices.SortStableFunc(list, func(a, b *peer) int { return boolean(a.isStandby()) - boolean(b.isStandby()) })
	spread := g.spread(ctx, len(list), len(elsewhere) > 0)
	var all sync.WaitGroup
	for i, p := range list {
		after := spread * time.Duration(i) / time.Duration(len(list))
		all.Go(func() {
			p.goodbye(ctx, wire.Goodbye{Error: said(why), AfterMS: after.Milliseconds(), Gateways: elsewhere})
			if len(elsewhere) > 0 {
				select {
				case <-p.whenRetired(): // it has another session
				case <-p.session.Done():
				case <-ctx.Done():
				}
			}
			p.drained(ctx)
			p.session.Flush(ctx)
			p.session.Close(why)
		})
	}
	all.Wait()
}

func boolean(b bool) int {
	if b {
		return 1
	}
	return 0
}

// spread is over how long n agents are to come back. Where they have to be gone before this gateway ends, it is half of what is left.
func (g *Gateway) spread(ctx context.Context, n int, elsewhere bool) time.Duration {
	spread := min(time.Duration(n)*time.Second/time.Duration(g.AdmitRate), spreadMost)
	if deadline, ok := ctx.Deadline(); ok && elsewhere {
		spread = min(spread, time.Until(deadline)/2)
	}
	return max(spread, 0)
}

// admission gives each agent that connects a place in time, at most so many a second. The zero value is free.
type admission struct {
	mu   sync.Mutex
	next time.Time            // the first place that nobody has
	kept map[string]time.Time // by agent: when its place is
	hold time.Duration        // in place of heldMost, if it is not 0; for tests
}

// soon reports whether an agent waits so long on its session, and need not come again.
func (a *admission) soon(wait time.Duration) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return wait <= cmp.Or(a.hold, heldMost)
}

// take uses the place of an agent that has waited for it.
func (a *admission) take(agent string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.kept, agent)
}

// errGone ends an agent's way in where there is no session any more that could be let in.
var errGone = reason.Newf(reason.SessionLost, "the session has ended")

// turn waits until it is the turn of an agent. The error is errGone or GATEWAY_STOPPING.
func (g *Gateway) turn(ctx context.Context, p *peer) error {
	if wait := time.Until(p.turn); wait > 0 {
		timer := time.NewTimer(wait)
		defer timer.Stop()
		select {
		case <-timer.C:
			g.admission.take(p.agent)
		case <-g.fleet.stopping.Done():
		case <-p.session.Done():
			return errGone
		case <-ctx.Done():
			return errGone
		}
	}
	if g.fleet.isDraining() {
		return stopped()
	}
	return nil
}

// stopped is why a gateway that was told to stop lets nobody in.
func stopped() *reason.Error {
	return reason.Newf(reason.GatewayStopping, "the gateway was told to stop")
}

// place returns 0 for an agent that may come in now, else for how long it has to wait. Its place is kept for it until then, and for
// a while after; who comes earlier gets no other one.
func (a *admission) place(agent string, rate int, now time.Time) time.Duration {
	each := time.Second / time.Duration(rate)
	a.mu.Lock()
	defer a.mu.Unlock()
	if at, told := a.kept[agent]; told {
		if wait := at.Sub(now); wait > 0 {
			return wait
		}
		delete(a.kept, agent)
		return 0
	}
	if earliest := now.Add(-admitBurst * time.Second); a.next.Before(earliest) {
		a.next = earliest
		a.kept = nil // it has been quiet for longer than anybody had to wait
	}
	at := a.next
	wait := at.Sub(now)
	switch {
	case wait <= 0:
		a.next = at.Add(each)
		return 0
	case wait > spreadMost: // more than a minute's worth: who comes then tries again
		return spreadMost
	}
	a.next = at.Add(each)
	if a.kept == nil {
		a.kept = map[string]time.Time{}
	}
	a.kept[agent] = at
	return wait
}

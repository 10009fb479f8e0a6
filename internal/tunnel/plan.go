package tunnel

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/backoff"
	"github.com/pipeopshq/pipeops-agent/internal/health"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

const (
	// ageLeast and ageMost bound the age of a session before it is replaced: stream ids are finite, certificates are renewed, and
	// gateways that came later get their share.
	ageLeast = 12 * time.Hour
	ageMost  = 24 * time.Hour
	// avoidFor is for how long a gateway that was about to stop is not dialled if there is another one.
	avoidFor = time.Minute
)

// plan makes of the lines what they should be, and returns when it is to look again at the latest.
func (t *tunnel) plan(ctx context.Context, now time.Time) time.Duration {
	t.promote(ctx)
	wake := now.Add(time.Hour)
	var good []*line // that are of use for new requests, or may become so
	for _, l := range t.lines {
		if !l.retired && l.told == nil && l.replaces == nil {
			good = append(good, l)
		}
	}
	switch {
	case len(good) == 0:
		if now.Before(t.retry) {
			wake = t.retry
			break
		}
		list := t.addresses(now)
		address := list[t.turn%len(list)]
		t.turn++
		if t.primary == nil {
			t.Health.Set(health.Tunnel, health.False, "Dialing", address)
		}
		t.start(ctx, address, nil)
	case len(good) == 1 && good[0].up:
		other := t.otherThan(good[0], now)
		switch {
		case other == "":
		case now.Before(t.second):
			wake = t.second
		default:
			t.start(ctx, other, nil)
		}
	}
	for _, l := range t.lines {
		if !l.up || l.retired || l.told != nil || l.replaced {
			continue
		}
		if now.Before(l.rotate) {
			wake = earlier(wake, l.rotate)
			continue
		}
		t.start(ctx, l.address, l)
	}
	return time.Until(wake)
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// promote sees to it that the agent works on a session that is up and stays up, and hands those over that do not.
func (t *tunnel) promote(ctx context.Context) {
	best := t.primary
	if best == nil || !best.up || best.retired || best.told != nil {
		for _, l := range t.lines {
			if l.up && !l.retired && l.told == nil {
				best = l
				break
			}
		}
	}
	if best != nil && best != t.primary {
		old := t.primary
		t.primary = best
		t.assign(ctx, best, t.onPrimary, true)
		if best.standby {
			best.standby = false
			best.give(bePrimary)
		}
		t.Log.Info("tunnel up", "gateway", best.address, "cluster", t.Identity.Cluster(), "by", best.by, "failover", old != nil)
		t.Health.Set(health.Tunnel, health.True, "Connected", best.address+" by "+best.by)
	}
	for _, l := range t.lines { // a gateway that stops waits for this
		if l.told != nil && l != t.primary && l.up && !l.retired && t.primary != nil && t.primary.told == nil {
			t.retire(ctx, l)
		}
	}
}

// retire hands a line over: it lives on for the requests that it has.
func (t *tunnel) retire(ctx context.Context, l *line) {
	l.retired = true
	t.assign(ctx, l, nil, false)
	l.give(handOver)
}

// give gives a line an order, which it takes when it is up. It is never so slow that as many would wait.
func (l *line) give(o order) {
	select {
	case l.orders <- o:
	default:
	}
}

// take acts on what a line tells.
func (t *tunnel) take(ctx context.Context, e event) {
	l := e.line
	switch {
	case e.ended != nil:
		t.ended(ctx, l, e.ended)
	case e.bye != nil:
		t.said(l, *e.bye)
	case e.client != nil:
		l.client, l.by = e.client, e.by
		t.welcomed(ctx, l, *e.welcome)
	default:
		t.welcomed(ctx, l, *e.welcome)
	}
}

// welcomed takes the answer of a gateway.
func (t *tunnel) welcomed(ctx context.Context, l *line, w wire.Welcome) {
	t.epoch = max(t.epoch, w.Epoch)
	t.learn(w.Gateways)
	if l.up || l.retired {
		return
	}
	l.gateway = w.Gateway
	if w.Held {
		for _, other := range t.lines {
			if other != l && other != l.replaces && other.up && !other.retired && other.gateway == w.Gateway {
				t.Log.Debug("the same gateway by another address", "gateway", l.address)
				t.second = time.Now().Add(t.again.Next())
				l.retired = true
				l.cancel()
				return
			}
		}
		l.give(takePlace) // that session is dead, or is replaced by this one
		return
	}
	l.up = true
	age := t.Age
	if age == 0 {
		age = ageLeast + backoff.Draw(ageMost-ageLeast)
	}
	l.rotate = time.Now().Add(age)
	old := l.replaces
	l.replaces = nil
	if old != nil && old == t.primary {
		t.primary = l
		t.assign(ctx, l, t.onPrimary, true)
		t.Health.Set(health.Tunnel, health.True, "Connected", l.address+" by "+l.by)
	} else if t.primary != nil {
		if !l.standby {
			l.standby = true
			l.give(beStandby)
		}
		t.assign(ctx, l, t.onStandby, false)
		t.Log.Info("second session up", "gateway", l.address)
	}
	if old != nil && !old.retired && slices.Contains(t.lines, old) {
		t.retire(ctx, old)
	}
}

// said notes that a gateway is about to end a session, and when to connect elsewhere.
func (t *tunnel) said(l *line, bye wire.Goodbye) {
	t.learn(bye.Gateways)
	if l.retired || bye.Code != string(reason.GatewayStopping) {
		return // any other session would end for the same reason
	}
	l.told = &bye
	now := time.Now()
	t.Log.Info("the gateway is about to stop", "gateway", l.address, "connect_in", after(bye))
	if t.avoid == nil {
		t.avoid = map[string]time.Time{}
	}
	t.avoid[l.address] = now.Add(avoidFor)
	for _, g := range t.known {
		if g.ID == l.gateway {
			for _, a := range g.Addresses {
				t.avoid[a] = now.Add(avoidFor)
			}
		}
	}
	t.retry, t.second = now.Add(after(bye)), now.Add(after(bye))
	if now.Before(t.avoid[t.addresses(now)[0]]) { // there is no other one: the end of the session says more
		t.retry = now.Add(avoidFor)
	}
}

// after is how long a gateway wants an agent to wait.
func after(bye wire.Goodbye) time.Duration {
	return time.Duration(min(max(bye.AfterMS, 0), wire.MaxAfterMS)) * time.Millisecond
}

// ended forgets a line, and decides when to dial again.
func (t *tunnel) ended(ctx context.Context, l *line, err error) {
	t.lines = slices.DeleteFunc(t.lines, func(o *line) bool { return o == l })
	t.assign(ctx, l, nil, false)
	now := time.Now()
	if l.replaces != nil {
		l.replaces.replaced = false
		l.replaces.rotate = now.Add(t.again.Next())
	}
	if l == t.primary {
		t.primary = nil
	}
	if l.retired {
		t.Log.Debug("session ended that was handed over", "gateway", l.address, "err", err)
		return
	}
	if errors.Is(err, errRenewed) {
		t.certificate(t.Identity.Expires())
		t.retry, t.second = now, now
		return
	}
	wait := &t.again
	alone := !slices.ContainsFunc(t.lines, func(o *line) bool { return o.up && !o.retired })
	if alone {
		wait = &t.Backoff
	}
	if l.up && now.Sub(l.began) >= healthyLife {
		wait.Reset()
	}
	if reason.Is(err, reason.SessionReplaced) || reason.Is(err, reason.IdentityRevoked) {
		wait.Max() // a clone, or an operator's will: haste makes it worse
	}
	pause := wait.Next()
	if list := t.addresses(now); alone && !l.up && len(list) > 1 && t.turn%len(list) != 0 {
		pause = 0 // there are others to try before it begins anew
	}
	var told *farewell
	if errors.As(err, &told) && told.bye.AfterMS > 0 {
		pause = after(told.bye)
	}
	if alone {
		t.retry = now.Add(pause)
		t.down(err)
	} else {
		t.second = now.Add(pause)
	}
	t.Log.Warn("tunnel down", "gateway", l.address, "code", codeOf(err), "evidence", err, "others", !alone, "retry_in", pause.Round(time.Millisecond))
}

// learn takes a list of gateways in, and keeps it.
func (t *tunnel) learn(list []wire.GatewayAddress) {
	list = wire.Known(list)
	if len(list) == 0 || slices.EqualFunc(list, t.known, func(a, b wire.GatewayAddress) bool {
		return a.ID == b.ID && slices.Equal(a.Addresses, b.Addresses)
	}) {
		return
	}
	for _, g := range list { // one that is new at its address is none that stops
		if !slices.ContainsFunc(t.known, func(old wire.GatewayAddress) bool { return old.ID == g.ID }) {
			for _, a := range g.Addresses {
				delete(t.avoid, a)
			}
		}
	}
	t.known = list
	if err := t.Identity.KeepGateways(list); err != nil {
		t.Log.Error("the addresses of the gateways are not kept", "err", err)
	}
}

// addresses returns where to dial when no session is up: where the identity says, and where gateways have said that others are. Those
// that are about to stop come into it only if there are no others.
func (t *tunnel) addresses(now time.Time) []string {
	all := wire.Addresses(t.Identity.Gateway(), t.known)
	list := slices.DeleteFunc(slices.Clone(all), func(a string) bool { return now.Before(t.avoid[a]) })
	if len(list) == 0 {
		return all
	}
	return list
}

// otherThan returns an address of another gateway than the one of a line, "" if there is none.
func (t *tunnel) otherThan(l *line, now time.Time) string {
	if l.gateway == "" {
		return ""
	}
	var list []string
	for _, g := range t.known {
		for _, a := range g.Addresses {
			if g.ID != l.gateway && a != l.address && !now.Before(t.avoid[a]) {
				list = append(list, a)
			}
		}
	}
	if len(list) == 0 {
		return ""
	}
	t.turn++
	return list[t.turn%len(list)]
}

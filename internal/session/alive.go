package session

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/mux"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

// Who is gone without a word shows in one of three ways, each for what the one before cannot see:
//
//  1. The kernel of the other end of the TCP connection answers nothing: not our bytes, and not the probes that our kernel sends on an
//     idle connection. It costs the processes no packet. Both ends look at that, see pathSilence; the gateway only while something is on
//     its way: of what idles our kernel itself tells, see userTimeout.
//  2. The peer's kernel answers, or somebody's on the way, but the peer does not answer a ping. Only the agent pings.
//  3. The gateway hears less often than the agent has promised.
const (
	// KeepAlive is the time in which nothing was heard, or nothing said, after which the agent pings, give or take jitter: ten thousand
	// agents do not answer in step. A cut is found without it. A gateway with thousands of agents has them wait for longer, see
	// KeepAliveOf.
	KeepAlive = wire.MinKeepAlive * time.Second
	// pingRate is how many pings a second a gateway has its agents send it in all: each costs it some 86 us, mostly in the kernel, so that
	// they take less than 1.5 % of a core.
	pingRate = 150
	// relayedKeepAlive is KeepAlive where somebody on the way ends the TCP connection, so that a cut beyond shows in pings only.
	// With relayedPatience, or with late at the gateway, it makes less than 10 s.
	relayedKeepAlive = 5 * time.Second
	jitter           = 5 // KeepAlive is drawn from a fifth less to a fifth more, a tenth where relayed

	// An answer to a ping may take four round trips, but not less than minPatience and not more than maxPatience, before the peer counts as
	// dead. It may take maxPatience where the peer's kernel is seen to be there: then the peer is busy, and ten thousand agents that
	// come anew would make it busier. The first answer may, too: then the gateway looks up who comes.
	minPatience     = 3 * time.Second
	maxPatience     = 10 * time.Second
	relayedPatience = 4 * time.Second

	// late is how much longer than promised the gateway waits for a byte.
	late = 3500 * time.Millisecond
	// assumed is the promise of an agent that has made none.
	assumed = KeepAlive + KeepAlive/jitter

	// The kernel probes a connection that was idle for probeIdle, every probeEvery. When nothing came for userTimeout it gives the
	// connection up, unless something was sent since: then only userTimeout after that. Silence ends the session in that case, too.
	probeIdle   = 4 * time.Second
	probeEvery  = 2 * time.Second
	pathSilence = 8500 * time.Millisecond

	// restAfter is how long nothing was said before the gateway leaves a session to the kernel: what was said is then with the kernel.
	restAfter = time.Second
	// together is what the gateway's looks are put off by at most, for many sessions to be looked at when the process wakes once. With it
	// a cut is still found within 10 s: relayedKeepAlive in whole seconds, late and together are 9.75 s.
	together = 250 * time.Millisecond
)

// Silence is how long the gateway waits for a byte of an agent that has promised nothing.
const Silence = assumed + late

var errPath = fmt.Errorf("the peer's machine, or the network on the way to it, was silent for %s", pathSilence)

// alive ends a session whose peer is gone. It has a timer and no goroutine: a gateway has thousands.
type alive struct {
	session *mux.Session
	path    path
	agent   bool
	relayed bool
	rests   atomic.Bool // the kernel looks after it until something is said

	mu     sync.Mutex
	timer  *time.Timer
	every  time.Duration // between pings of an agent, before jitter; at the gateway the longest that the agent was told
	spread time.Duration // the jitter, either way
	idle   time.Duration // every with its jitter
	asked  time.Time     // when the ping was sent that waits for an answer; zero if none does
	ended  bool
}

// watch begins a session on conn, and to look after it. An agent whose connection is relayed pings more often.
func watch(conn net.Conn, c mux.Config, relayed bool) *alive {
	a := &alive{path: pathOf(conn), agent: c.Client, relayed: relayed, every: KeepAlive, spread: KeepAlive / jitter}
	if relayed {
		a.every, a.spread = relayedKeepAlive, relayedKeepAlive/(2*jitter)
	}
	c.Spoke, c.Room = a.spoke, a.path.room
	a.mu.Lock()
	defer a.mu.Unlock()
	a.session = mux.New(conn, c)
	now := time.Now()
	if a.agent {
		a.ping(now) // which tells the gateway the promise, and both the round trip
	}
	a.timer = time.AfterFunc(a.next(now, 0), a.look)
	return a
}

// stop ends it; the timer's function may still run, and does nothing.
func (a *alive) stop() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.ended = true
	a.timer.Stop()
}

// KeepAliveOf is how long each of so many agents should be silent before it pings.
func KeepAliveOf(agents int) time.Duration {
	return wire.Welcome{KeepAlive: agents / pingRate}.KeepAliveTime()
}

// Pace is how often to do what is done every d in small fleets, by or for agents that ping so often: as much less often as they do.
func Pace(d, every time.Duration) time.Duration {
	return time.Duration(float64(d) * float64(max(every, KeepAlive)) / float64(KeepAlive))
}

// SetKeepAlive has the agent's end ping after so long, from its next ping on, unless it is relayed, and the gateway's end believe an agent
// that promises as much. The gateway's end must be told before the agent is; it goes on to believe what it was told once.
func (s *Session) SetKeepAlive(every time.Duration) { s.alive.set(every) }

func (a *alive) set(every time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case a.relayed:
		return
	case !a.agent:
		every = max(every, a.every)
	}
	a.every, a.spread = every, every/jitter
}

// ping asks for an answer. a.mu is held.
func (a *alive) ping(now time.Time) {
	a.asked = now
	a.idle = a.every - a.spread + rand.N(2*a.spread)
	a.session.Probe((a.every + a.spread + time.Second - 1).Truncate(time.Second))
}

// look finds out whether the peer is there, and when to look again.
func (a *alive) look() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.ended || a.session.Err() != nil {
		return
	}
	now, said := time.Now(), a.session.Said()
	var silence time.Duration
	var waits bool
	if !a.rests.Load() { // else it is for the kernel to know
		silence, waits = a.path.silence()
	}
	if err := a.judge(now, silence); err != nil {
		a.ended = true
		a.session.Close(err)
		return
	}
	if heard := a.session.Heard(); !a.asked.IsZero() && heard.After(a.asked) {
		a.asked = time.Time{}
	}
	if a.agent && a.asked.IsZero() && !now.Before(a.due()) {
		a.ping(now)
	}
	if !a.agent && a.path.known() && !waits && now.Sub(said) >= restAfter {
		a.rests.Store(true)
		if !a.session.Said().Equal(said) { // who said it may have seen that this did not rest
			a.rests.Store(false)
		}
	}
	a.timer.Reset(a.next(now, silence))
}

// spoke has the gateway look again at what it says.
func (a *alive) spoke() {
	if !a.rests.Load() {
		return
	}
	silence, _ := a.path.silence()
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.rests.CompareAndSwap(true, false) && !a.ended {
		a.timer.Reset(a.next(time.Now(), silence))
	}
}

// judge is why the peer counts as gone; nil while it does not. The silence is that of the path.
func (a *alive) judge(now time.Time, silence time.Duration) error {
	heard := a.session.Heard()
	switch {
	case silence >= pathSilence:
		return errPath
	case !a.agent && now.Sub(heard) >= a.limit():
		return silent{now.Sub(heard)}
	case a.agent && !a.asked.IsZero() && !heard.After(a.asked) && now.Sub(a.asked) >= a.patience():
		return fmt.Errorf("the peer did not answer a ping within %s: %w", now.Sub(a.asked).Round(100*time.Millisecond), errSilent)
	}
	return nil
}

// next is how long nothing need be looked at. The silence is that of the path.
func (a *alive) next(now time.Time, silence time.Duration) time.Duration {
	if !a.agent {
		wait := a.session.Heard().Add(a.limit()).Sub(now)
		switch {
		case a.rests.Load():
		case a.path.known():
			wait = min(wait, pathSilence-silence)
		default:
			wait = min(wait, maxPatience) // the agent may promise more than it has
		}
		if beyond := time.Duration(now.Add(wait).UnixNano()) % together; beyond > 0 {
			wait += together - beyond
		}
		return max(wait, 10*time.Millisecond)
	}
	wait := maxPatience
	if a.path.known() {
		wait = min(wait, pathSilence-silence)
	}
	if a.asked.IsZero() {
		wait = min(wait, a.due().Sub(now))
	} else {
		wait = min(wait, a.asked.Add(a.patience()).Sub(now), a.every/2) // by when it is most often answered
	}
	return max(wait, 10*time.Millisecond)
}

// due is when the agent is to ping: so long after it last heard something, and after it last said something, for the gateway to hear.
func (a *alive) due() time.Time {
	last := a.session.Heard()
	if said := a.session.Said(); said.Before(last) {
		last = said
	}
	return last.Add(a.idle)
}

func (a *alive) patience() time.Duration {
	rtt := a.session.RTT()
	switch {
	case rtt == 0, a.path.known() && !a.relayed:
		return maxPatience
	case a.relayed:
		return min(max(minPatience, 4*rtt), relayedPatience)
	}
	return min(max(minPatience, 4*rtt), maxPatience)
}

// limit is the longest silence of an agent. No promise makes it longer than what the agent was told: else that would be for the agent to
// decide.
func (a *alive) limit() time.Duration {
	promised := a.session.Promised()
	if promised == 0 {
		promised = assumed
	}
	return min(promised, a.every+a.spread) + late
}

// errSilent is in every cause that is a peer's silence.
var errSilent = errors.New("it is silent")

// silent says for how long.
type silent struct{ lasted time.Duration }

func (s silent) Error() string {
	return fmt.Sprintf("the peer was silent for %s", s.lasted.Round(100*time.Millisecond))
}
func (s silent) Unwrap() error { return errSilent }

package mux

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync/atomic"
	"time"
)

// A session may have further connections, for streams that say much: what says little then waits neither behind them in the kernel nor for a
// packet of theirs that was lost, and where packets are lost, several of them carry more than one. Every stream begins on the first connection.
// An end that says much on one asks the other whether it may go on on another, the one with the fewest streams, and is silent on the stream
// until the answer, which is one round trip. So nothing on a stream comes out of order, and nothing need be kept aside. Each direction moves by
// itself. One that was quiet goes back in the same way: a stream of HTTP carries small requests after a large one; and one that shares a
// connection goes on to one on which it does not, or with fewer.
//
// The question goes out behind all that was said on the stream, the answer on the first connection. Both are frames that grant nothing, with
// [flagMove]; stock yamux has neither and is never asked, as there is no further connection to it.
const (
	// moveAfter is how much a stream says on the first connection before it is one that says much, in bytes. moveRate bytes are forgotten for
	// each second in which it had nothing to say: a watch or a log, however long, is none.
	moveAfter = 1 << 20
	moveRate  = 64 << 10
	// muchMost is the most that is remembered: more than moveAfter, as each pause between two writes forgets some of it.
	muchMost = moveAfter + moveRate
	// quiet is how long a stream has nothing to say before it is one that says little; or so long, all in all, that all is forgotten.
	quiet = time.Second
	// callEvery is how often a further connection is called for at most, until one comes.
	callEvery = 5 * time.Second
	// Lanes is how many further connections a session has at most: so many large copies at a time have one each.
	Lanes = 8
	// flagMove is in a frame of type window: the sender wants to say the rest of the stream on the connection of the number in length. With
	// flagACK it is the answer: that number, or moveNo.
	flagMove = 16
	moveNo   = 1<<32 - 1
)

// ErrLane is the cause of streams that were on a further connection which is gone.
var ErrLane = errors.New("the connection for large streams is gone")

// lane is a connection of a session, with what waits to be written to it.
type lane struct {
	session *Session
	conn    net.Conn
	number  uint32 // 0: the first; both ends count the others
	outgoing

	heard atomic.Bool   // something came: the other end has it, too
	gone  chan struct{} // closed when the session has it no more; of a further one
	homes int           // streams that say here what they have to say, or have asked whether they may
}

// inhabit makes a lane the one to which a stream belongs: that on which it says what it has to say, or has asked to. nil is none, and the first
// one does not count its streams. s.mu is held.
func (st *Stream) inhabit(l *lane) {
	if st.home != nil {
		st.home.homes--
	}
	if st.home = l; l != nil {
		l.homes++
	}
}

// listen makes a lane the one on which the peer says what it has to say; nil is the first. s.mu is held.
func (st *Stream) listen(to *lane) {
	s := st.session
	if st.hears != nil {
		s.sharers--
	}
	if st.hears = to; to != nil {
		s.sharers++
	}
	if s.sharers == 0 {
		s.widest = 0
	}
}

// furtherOf is the connection of that number, other than the first; nil if there is none. s.mu is held.
func (s *Session) furtherOf(number uint32) *lane {
	i := slices.IndexFunc(s.further, func(l *lane) bool { return l.number == number })
	if i < 0 {
		return nil
	}
	return s.further[i]
}

func (l *lane) first() bool { return l == &l.session.first }

// fail ends the lane by whose connection nothing comes or goes any more, and with the first one the session.
func (l *lane) fail(cause error) {
	if l.first() {
		l.session.Close(cause)
	} else {
		l.session.lose(l, cause)
	}
}

// Attach gives the session a further connection, which it owns from now on, and closes when it fails. Both ends must give it the same number,
// larger than that of any before it; where there are [Lanes], the oldest one is lost. answered is whether the other end is known to have
// attached it; if it is not, no stream goes on on it before something has come, which [Session.PingLane] of the other end sees to. gone is
// closed when the session has the connection no more.
func (s *Session) Attach(conn net.Conn, number uint32, answered bool) (gone <-chan struct{}, err error) {
	defer func() {
		if err != nil {
			_ = conn.Close()
		}
	}()
	l := &lane{session: s, conn: conn, number: number, gone: make(chan struct{})}
	l.heard.Store(answered)
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.cause != nil:
		return nil, s.cause
	case number <= s.highest:
		return nil, fmt.Errorf("%w: it attaches connection %d after %d", ErrProtocol, number, s.highest)
	}
	if len(s.further) == Lanes {
		old := s.further[0]
		s.work.Go(func() { s.lose(old, errors.New("there are newer ones")) })
		s.drop(old)
	}
	s.further, s.highest, s.called = append(s.further, l), number, time.Time{}
	s.work.Go(func() { l.fail(l.receive()) })
	return l.gone, nil
}

// drop takes a further connection from the session, if it is still there. s.mu is held.
func (s *Session) drop(l *lane) {
	if i := slices.Index(s.further, l); i >= 0 {
		s.further = slices.Delete(s.further, i, i+1)
		close(l.gone)
	}
}

// Lane is how many streams are on a further connection; ok is false where there is none of that number.
func (s *Session) Lane(number uint32) (streams int, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.furtherOf(number)
	if l == nil {
		return 0, false
	}
	return len(s.on(l)), true
}

// Further is how many further connections there are.
func (s *Session) Further() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.further)
}

// on is the streams that are on a lane, either way. s.mu is held.
func (s *Session) on(l *lane) []*Stream {
	var all []*Stream
	for _, st := range s.streams {
		if st.lane == l || st.hears == l {
			all = append(all, st)
		}
	}
	return all
}

// heardOn is the lane on which the peer says what it has to say. s.mu is held.
func (st *Stream) heardOn() *lane {
	if st.hears != nil {
		return st.hears
	}
	return &st.session.first
}

// DetachIdle ends a further connection if there is no stream on it, and reports whether it is gone.
func (s *Session) DetachIdle(number uint32) bool {
	s.mu.Lock()
	l := s.furtherOf(number)
	if l != nil && (l.homes > 0 || len(s.on(l)) > 0) {
		s.mu.Unlock()
		return false
	}
	if l != nil {
		s.drop(l)
	}
	s.mu.Unlock()
	if l != nil {
		_ = l.conn.Close() // nobody waits for anything on it
	}
	return true
}

// Detach ends a further connection, and the streams on it.
func (s *Session) Detach(number uint32, cause error) {
	s.mu.Lock()
	l := s.furtherOf(number)
	s.mu.Unlock()
	if l != nil {
		s.lose(l, cause)
	}
}

// lose ends a further connection, and the streams on it.
func (s *Session) lose(l *lane, cause error) {
	s.mu.Lock()
	s.drop(l)
	broken := s.on(l)
	for _, st := range broken {
		s.strand(st)
	}
	s.first.flush(nil)
	s.mu.Unlock()
	_ = l.conn.Close()
	for _, st := range broken {
		st.end(fmt.Errorf("%w: %w", ErrLane, cause))
	}
}

// strand gives up a stream whose further connection is gone, and says so on the first. s.mu is held.
func (s *Session) strand(st *Stream) {
	st.lane, st.asking = &s.first, false
	st.inhabit(nil)
	st.listen(nil)
	s.reset(st, CodeLane)
}

// rested takes into account that a stream had nothing to say until now. s.mu is held.
func (st *Stream) rested(now time.Time) {
	if st.emptied.IsZero() {
		return // it has more to say than it was let
	}
	rest := min(now.Sub(st.emptied), time.Minute)
	st.emptied = time.Time{}
	st.much = max(0, st.much-int(rest*moveRate/time.Second))
	st.returns = st.lane != &st.session.first && (st.returns || rest >= quiet || st.much == 0)
}

// leaves reports whether a stream whose turn it is wants to go on on another connection, in place of being sent where it is, and on which.
// Where it shares the best one that there is, it calls for one more. s.mu is held.
func (s *Session) leaves(st *Stream) (to uint32, ok bool) {
	first := st.lane == &s.first
	switch {
	case !first && st.returns:
		st.inhabit(nil)
		return 0, true
	case st.much < moveAfter:
		return 0, false
	}
	var best *lane
	for _, l := range s.further {
		if l != st.lane && l.heard.Load() && l.number != st.stays && (best == nil || l.homes < best.homes) {
			best = l
		}
	}
	if best != nil && (first || best.homes+1 < st.lane.homes) {
		st.inhabit(best)
		return best.number, true
	}
	if alone := !first && st.lane.homes == 1; !alone && len(s.further) < Lanes && s.config.Bulky != nil && time.Since(s.called) >= callEvery {
		s.called = time.Now()
		s.work.Go(s.config.Bulky)
	}
	return 0, false
}

// move acts on a question or an answer.
func (l *lane) move(st *Stream, h header) error {
	if st == nil {
		return nil // it was told that the stream is no more
	}
	s := l.session
	s.mu.Lock()
	defer s.mu.Unlock()
	if st.done { // since it was looked up
		return nil
	}
	if h.flags&flagACK != 0 {
		return s.answered(st, h.length)
	}
	if st.heardOn() != l {
		return fmt.Errorf("%w: it asks on connection %d for stream %d, which is on another", ErrProtocol, l.number, st.id)
	}
	answer := header{kind: typeWindow, flags: flagMove | flagACK, stream: st.id, length: moveNo}
	switch target := s.furtherOf(h.length); {
	case !l.first() && h.length == 0:
		st.listen(nil)
		answer.length = 0
	case target != nil && target != l:
		st.listen(target)
		answer.length = target.number
	}
	s.first.say(answer)
	s.first.flush(nil)
	return nil
}

// answered acts on the answer to the question where a stream may go on. s.mu is held.
func (s *Session) answered(st *Stream, to uint32) error {
	if !st.asking {
		return fmt.Errorf("%w: it answers what it was not asked, on stream %d", ErrProtocol, st.id)
	}
	st.asking = false
	switch target := s.furtherOf(to); {
	case to != st.asked:
		st.stays, st.returns = st.asked, false
		st.inhabit(nil)
		if st.lane != &s.first {
			st.inhabit(st.lane)
		}
	case to == 0:
		st.lane, st.returns, st.much = &s.first, false, 0
	case target == nil: // the other end will see that, too, and has given the stream up then
		s.strand(st)
		s.work.Go(func() { st.end(ErrLane) }) // which takes the lock
		s.flush()
		return nil
	default:
		st.lane = target
	}
	s.enqueue(st)
	s.flush()
	return nil
}

// PingLane makes a round trip on a further connection. Where it is not there the error is ErrLane.
func (s *Session) PingLane(ctx context.Context, number uint32) error {
	s.mu.Lock()
	l := s.furtherOf(number)
	s.mu.Unlock()
	if l == nil {
		return ErrLane
	}
	_, err := l.ping(ctx)
	return err
}

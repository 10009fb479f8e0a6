package mux

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"time"
)

// A session may have a second connection, for streams that say much: what says little then waits neither behind them in the kernel nor for a
// packet of theirs that was lost. Every stream begins on the first connection. An end that says much on one asks the other whether it may go on
// on the second, and is silent on the stream until the answer, which is one round trip. So nothing on a stream comes out of order, and nothing
// need be kept aside. Each direction moves by itself. One that was quiet goes back in the same way: a stream of HTTP carries small requests after
// a large one.
//
// The question goes out behind all that was said on the stream, the answer on the first connection. Both are frames that grant nothing, with
// [flagMove]; stock yamux has neither and is never asked, as there is no second connection to it.
const (
	// moveAfter is how much a stream says on the first connection before it is one that says much, in bytes. moveRate bytes are forgotten for
	// each second in which it had nothing to say: a watch or a log, however long, is none.
	moveAfter = 1 << 20
	moveRate  = 64 << 10
	// muchMost is the most that is remembered: more than moveAfter, as each pause between two writes forgets some of it.
	muchMost = moveAfter + moveRate
	// quiet is how long a stream has nothing to say before it is one that says little; or so long, all in all, that all is forgotten.
	quiet = time.Second
	// callEvery is how often a second connection is called for at most.
	callEvery = 5 * time.Second
	// flagMove is in a frame of type window: the sender wants to say the rest of the stream on the connection of the number in length. With
	// flagACK it is the answer: that number, or moveNo.
	flagMove = 16
	moveNo   = 1<<32 - 1
)

// ErrLane is the cause of streams that were on a second connection which is gone.
var ErrLane = errors.New("the connection for large streams is gone")

// lane is a connection of a session, with what waits to be written to it.
type lane struct {
	session *Session
	conn    net.Conn
	number  uint32 // 0: the first; both ends count the others
	outgoing

	heard atomic.Bool   // something came: the other end has it, too
	gone  chan struct{} // closed when the session has it no more; of a second one
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

// Attach gives the session a second connection, which it owns from now on, and closes when it fails. Both ends must give it the same number,
// larger than that of any before it; one that is there already is lost. answered is whether the other end is known to have attached it; if
// it is not, no stream goes on on it before something has come, which [Session.PingSecond] of the other end sees to. gone is closed when the
// session has the connection no more.
func (s *Session) Attach(conn net.Conn, number uint32, answered bool) (gone <-chan struct{}, err error) {
	defer func() {
		if err != nil {
			_ = conn.Close()
		}
	}()
	l := &lane{session: s, conn: conn, number: number, gone: make(chan struct{})}
	l.heard.Store(answered)
	s.mu.Lock()
	old, highest := s.second, s.highest
	s.mu.Unlock()
	if number <= highest {
		return nil, fmt.Errorf("%w: it attaches connection %d after %d", ErrProtocol, number, highest)
	}
	if old != nil {
		s.lose(old, errors.New("there is a newer one"))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.cause != nil:
		return nil, s.cause
	case s.second != nil || number <= s.highest: // by somebody else, meanwhile
		return nil, fmt.Errorf("%w: two connections are attached at a time", ErrProtocol)
	}
	s.second, s.highest = l, number
	s.work.Go(func() { l.fail(l.receive()) })
	return l.gone, nil
}

// dropSecond takes the second connection, if there is one, from the session. s.mu is held.
func (s *Session) dropSecond() *lane {
	l := s.second
	if l != nil {
		s.second = nil
		close(l.gone)
	}
	return l
}

// Second is how many streams are on the second connection; ok is false where there is none.
func (s *Session) Second() (streams int, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.second == nil {
		return 0, false
	}
	return len(s.on(s.second)), true
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

// DetachIdle ends the second connection if there is no stream on it, and reports whether there is none any more.
func (s *Session) DetachIdle() bool {
	s.mu.Lock()
	if s.second != nil && len(s.on(s.second)) > 0 {
		s.mu.Unlock()
		return false
	}
	l := s.dropSecond()
	s.mu.Unlock()
	if l != nil {
		_ = l.conn.Close() // nobody waits for anything on it
	}
	return true
}

// Detach ends the second connection, and the streams on it.
func (s *Session) Detach(cause error) {
	s.mu.Lock()
	l := s.second
	s.mu.Unlock()
	if l != nil {
		s.lose(l, cause)
	}
}

// lose ends a second connection, and the streams on it.
func (s *Session) lose(l *lane, cause error) {
	s.mu.Lock()
	if s.second != l {
		s.mu.Unlock()
		return
	}
	s.dropSecond()
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

// strand gives up a stream whose second connection is gone, and says so on the first. s.mu is held.
func (s *Session) strand(st *Stream) {
	st.lane, st.hears, st.asking = &s.first, nil, false
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
// Where there is no second one it calls for it. s.mu is held.
func (s *Session) leaves(st *Stream) (to uint32, ok bool) {
	switch l := s.second; {
	case st.lane != &s.first:
		return 0, st.returns
	case st.much < moveAfter:
	case l != nil:
		return l.number, l.heard.Load() && st.stays != l.number
	case s.config.Bulky != nil && time.Since(s.called) >= callEvery:
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
	switch second := s.second; {
	case !l.first() && h.length == 0:
		st.hears = nil
		answer.length = 0
	case l.first() && second != nil && second.number == h.length:
		st.hears = second
		answer.length = second.number
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
	switch {
	case to != st.asked:
		st.stays, st.returns = st.asked, false
	case to == 0:
		st.lane, st.returns, st.much = &s.first, false, 0
	case s.second == nil || s.second.number != to: // the other end will see that, too, and has given the stream up then
		s.strand(st)
		s.work.Go(func() { st.end(ErrLane) }) // which takes the lock
		s.flush()
		return nil
	default:
		st.lane = s.second
	}
	s.enqueue(st)
	s.flush()
	return nil
}

// PingSecond makes a round trip on the second connection. Without one the error is ErrLane.
func (s *Session) PingSecond(ctx context.Context) error {
	s.mu.Lock()
	l := s.second
	s.mu.Unlock()
	if l == nil {
		return ErrLane
	}
	_, err := l.ping(ctx)
	return err
}

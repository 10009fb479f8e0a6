// Package mux carries many streams over one connection. It is an implementation of yamux, version 0, that a stock yamux
// (github.com/hashicorp/yamux) understands, and that does what the tunnel needs and stock yamux cannot be made to do from outside:
//
//   - A stream that says little overtakes streams that say much, see [Stream] and schedule.go.
//   - Header and body, and the frames of several streams, go out in one write.
//   - The receive window of a stream grows to what its path takes, and all streams together stay within a budget.
//   - The end of the connection is an error on every stream, which tells how far it got; only a peer's own close is [io.EOF].
//   - An end that reads no more says so, and its peer's writer is woken; a reset has a [Code].
//   - Receiving never waits for sending, for a reader, or for anybody who accepts.
package mux

import (
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

var (
	// ErrProtocol means that the peer sent what no end may send.
	ErrProtocol = errors.New("the peer broke the protocol")
	// ErrClosed is the cause of a session that this end closed without giving another.
	ErrClosed = errors.New("the session was closed by this end")
	// ErrPeerClosed means that the peer has closed the connection, or that its machine did when it ended.
	ErrPeerClosed = errors.New("the peer closed the connection")
	// ErrExhausted means that a session has used up its stream numbers, after two thousand million streams.
	ErrExhausted = errors.New("the session has no stream numbers left")
	// ErrGoingAway means that the peer takes no more streams.
	ErrGoingAway = errors.New("the peer takes no more streams")
	// ErrStalled means that nothing could be written to the connection in time.
	ErrStalled = errors.New("the connection takes nothing more")
)

// Config says how one end of a session is. The zero value of a number means its default.
type Config struct {
	Client bool // its streams have odd numbers; the other end's must be false

	// Window is the most that a stream may hold unread, in bytes: 16 MiB carry 1 Gbit/s at 130 ms. A window starts with 256 KiB.
	Window int
	// Budget bounds what may lie unread on all streams together, in bytes; where it is more, the stream with the most is given up with
	// [CodeBudget]. All windows together grow by half of it. The default is 32 MiB.
	Budget int
	// Streams is how many streams the peer may have open; above it they are reset with [CodeRefused]. The default is 1000.
	Streams int
	// WriteTimeout is how long one write to the connection may take at most, of at most 64 KiB, before the session ends; nine tenths of it
	// are left to each. The default is 10 s.
	WriteTimeout time.Duration

	// Spoke is called before each write to the connection, after [Session.Said] has moved, but for answers for which there is Room where
	// nothing else was said lately. nil is nothing to call.
	Spoke func()
	// Bulky is called where a stream says much and there is no connection for it to go on on by itself; see [Session.Attach]. It is called
	// again every 5 s as long as that is so. nil is nothing to call.
	Bulky func()
	// Room reports whether the connection takes some hundred bytes at once, so that who receives may write them. It must neither wait nor
	// call the session. nil means that it may not.
	Room func() bool
}

const (
	defaultWindow       = 16 << 20
	defaultBudget       = 32 << 20
	defaultStreams      = 1000
	defaultWriteTimeout = 10 * time.Second
	// maxControl bounds what a peer can make this end queue that does not read it, in bytes: some 20,000 frames.
	maxControl = 256 << 10
)

// Session is one connection with its streams. All methods may be called concurrently.
type Session struct {
	owed     int // bytes that came since this end said something, for receipt
	config   Config
	arrival  signal
	done     chan struct{}
	unread   atomic.Int64 // bytes that lie on all streams
	rtt      atomic.Int64 // nanoseconds, of the newest ping
	epoch    time.Time    // from which the next three count, in nanoseconds: no step of the wall clock moves them
	heard    atomic.Int64 // when a byte last came
	said     atomic.Int64 // when this end last began to write
	probed   atomic.Int64 // when it last sent a probe
	promised atomic.Int64 // how long the peer is silent at most, by its newest probe, in nanoseconds

	mu        sync.Mutex // after Stream.in.mu where both are held
	streams   map[uint32]*Stream
	arrived   []*Stream // that were not accepted yet; no more than may be open
	next      uint32    // number of the next stream that this end opens
	theirs    int       // streams of the peer's that are open
	grown     int       // bytes that windows have grown by
	sharers   int       // streams on which the peer says what it has to on further connections
	widest    int       // window of each of them, in bytes
	goingAway bool
	pings     map[uint32]chan struct{}
	pingID    uint32
	probes    uint32    // the number of the newest
	asked     time.Time // when it was first sent; zero once it was answered
	cause     error
	first     lane
	further   []*lane   // the others, by their numbers
	highest   uint32    // number of the newest of them that there was
	called    time.Time // when one more was last called for; zero when it has come
	work      sync.WaitGroup
}

// New starts a session on conn, which it owns from now on.
func New(conn net.Conn, c Config) *Session {
	if c.Window == 0 {
		c.Window = defaultWindow
	}
	if c.Budget == 0 {
		c.Budget = defaultBudget
	}
	if c.Streams == 0 {
		c.Streams = defaultStreams
	}
	if c.WriteTimeout == 0 {
		c.WriteTimeout = defaultWriteTimeout
	}
	s := &Session{
		config: c, next: 2,
		arrival: make(signal, 1),
		done:    make(chan struct{}),
		streams: map[uint32]*Stream{},
		pings:   map[uint32]chan struct{}{},
	}
	if c.Client {
		s.next = 1
	}
	now := time.Now()
	s.epoch = now.Add(-time.Hour) // so that no probe was sent for long
	s.heard.Store(s.clock(now))
	s.said.Store(s.clock(now))
	s.first.session, s.first.conn = s, conn
	s.work.Go(func() { s.first.fail(s.first.receive()) })
	return s
}

// Open opens a stream, of which the peer hears by what is first said on it. It does not wait for the peer: that one refuses by a reset.
func (s *Session) Open() (*Stream, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.cause != nil:
		return nil, s.cause
	case s.goingAway:
		return nil, ErrGoingAway
	case s.next >= 1<<31: // a stock peer counts no further
		return nil, ErrExhausted
	}
	st := newStream(s, s.next)
	s.next += 2
	st.silent = true
	s.streams[st.id] = st
	return st, nil
}

// Accept returns the next stream that the peer opened. The error is the cause of the session's end.
func (s *Session) Accept() (*Stream, error) {
	for {
		s.mu.Lock()
		if len(s.arrived) > 0 {
			st := s.arrived[0]
			if s.arrived = s.arrived[1:]; len(s.arrived) == 0 {
				s.arrived = nil
			} else {
				s.arrival.notify() // for who else accepts
			}
			s.mu.Unlock()
			return st, nil
		}
		s.mu.Unlock()
		select {
		case <-s.arrival:
		case <-s.done:
			return nil, s.Err()
		}
	}
}

// Streams is how many streams are open.
func (s *Session) Streams() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.streams)
}

// Done is closed when the session has ended.
func (s *Session) Done() <-chan struct{} { return s.done }

// Err is the cause of the session's end; nil before it.
func (s *Session) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cause
}

// Close ends the session, its streams and its connection. The first cause that is given is the one that stays; nil means ErrClosed.
func (s *Session) Close(cause error) {
	if cause == nil {
		cause = ErrClosed
	}
	s.mu.Lock()
	if s.cause != nil {
		s.mu.Unlock()
		return
	}
	s.cause = cause
	streams := s.streams
	s.streams = nil
	further := s.further
	s.further = nil
	for _, l := range further {
		close(l.gone)
	}
	s.mu.Unlock()
	close(s.done)
	for _, st := range streams {
		st.end(fmt.Errorf("the connection is gone: %w", cause))
	}
	for _, l := range further {
		_ = l.conn.Close()
	}
	_ = s.first.conn.Close() // TLS may want to say goodbye, and wait; its error tells nothing that the cause does not
}

// Wait returns when the session has ended and nothing of it runs any more.
func (s *Session) Wait() {
	<-s.done
	s.work.Wait()
}

// Addr is this end's address.
func (s *Session) Addr() net.Addr { return s.first.conn.LocalAddr() }

// RemoteAddr is the other end's address.
func (s *Session) RemoteAddr() net.Addr { return s.first.conn.RemoteAddr() }

// over notes that nothing more comes or goes for a stream. It counts as open until this end has closed it, too. s.mu is held.
func (s *Session) over(st *Stream) {
	st.done = true
	st.inhabit(nil)
	st.listen(nil)
	if st.forgotten != nil {
		st.forgotten.Stop()
	}
	if !st.closed || s.streams[st.id] != st {
		return
	}
	delete(s.streams, st.id)
	s.grown -= st.grown
	st.grown = 0
	if s.theirsIs(st.id) {
		s.theirs--
	}
}

// theirsIs reports whether the number is of the peer's streams.
func (s *Session) theirsIs(id uint32) bool { return (id%2 == 1) != s.config.Client }

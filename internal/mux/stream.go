package mux

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// ErrReset means that the peer gave up a stream.
var ErrReset = errors.New("the peer gave up the stream")

// linger is how long a stream that this end has closed is kept in mind for what the peer may still say.
const linger = time.Minute

// Stream is a [net.Conn] within a session. One that says little overtakes those that say much, without being told to be of any class.
// All methods may be called concurrently; several writes at a time follow one another.
type Stream struct {
	session *Session
	id      uint32

	in       inbox
	readable signal
	readBy   deadline
	writeBy  deadline
	writable signal
	writing  sync.Mutex

	// session.mu guards the rest
	lane      *lane     // by which it says what it has to say
	home      *lane     // see inhabit
	hears     *lane     // the further one on which the peer says what it has to; nil: the first
	asking    bool      // the peer has not answered yet whether this end may go on on the lane asked
	asked     uint32    // its number
	stays     uint32    // number of the one that the peer did not want
	much      int       // bytes that it has said, up to muchMost; see there
	emptied   time.Time // since when it has had nothing to say; zero while it has
	returns   bool      // it was quiet, and wants to go on on the first lane
	pending   []byte    // of the write under way
	window    uint32    // what the peer has room for
	queued    bool
	silent    bool    // this end has opened it, and its next frame is the first, which says so
	after     *Stream // in the queue
	allowance int
	refilled  time.Time
	grown     int // bytes by which our window has grown
	finSent   bool
	finCame   bool
	closed    bool  // by this end, whole
	done      bool  // nothing more comes or goes
	failed    error // why nothing can be written any more, other than finSent and closed
	forgotten *time.Timer
}

func newStream(s *Session, id uint32) *Stream {
	now := time.Now()
	st := &Stream{
		session: s, id: id, window: initialWindow,
		readable: make(signal, 1), writable: make(signal, 1),
		refilled: now, allowance: sparseBurst,
		lane: &s.first,
	}
	st.in.limit = initialWindow
	st.in.credited = now
	return st
}

// Read is that of net.Conn. [io.EOF] means that the peer has closed its end of the stream; if anything else has ended it, the error is
// an [io.ErrUnexpectedEOF] that tells why and how much came.
func (st *Stream) Read(p []byte) (int, error) {
	lent := false
	for {
		n, grant, err := st.in.read(st, p, &lent)
		if grant.length > 0 {
			st.grant(grant)
		}
		if n > 0 || err != nil || len(p) == 0 {
			return n, err
		}
		if st.readBy.passed.Load() && st.in.takeBack(&lent) {
			st.readable.notify() // for who else reads
			return 0, os.ErrDeadlineExceeded
		}
		st.flushFirst()
		<-st.readable
	}
}

// opens is the flag that the next frame has if it is the first of a stream which this end has opened: it is asked once for each frame. s.mu is
// held.
func (st *Stream) opens() uint16 {
	if !st.silent {
		return 0
	}
	st.silent = false
	return flagSYN
}

// flushFirst sends what opens the stream, where nothing was written before the first read.
func (st *Stream) flushFirst() {
	s := st.session
	s.mu.Lock()
	defer s.mu.Unlock()
	if st.silent {
		s.first.say(header{kind: typeWindow, flags: st.opens(), stream: st.id})
		s.first.flush(nil)
	}
}

// grant lets the peer send more, on the connection by which it sends: on the first one, where what comes after it waits if it is lost, it would
// delay what says little.
func (st *Stream) grant(h header) {
	s := st.session
	s.mu.Lock()
	defer s.mu.Unlock()
	if st.closed || st.finCame || st.done {
		return
	}
	l := st.heardOn()
	l.say(h)
	l.flushSoon()
}

// Write is that of net.Conn. It returns when the session has taken all of p.
func (st *Stream) Write(p []byte) (int, error) {
	st.writing.Lock()
	defer st.writing.Unlock()
	s := st.session
	s.mu.Lock()
	defer s.mu.Unlock()
	st.pending = p
	err := st.hand()
	n := len(p) - len(st.pending)
	st.pending = nil
	return n, err
}

// hand waits until the session has taken what is pending. s.mu is held, and let go meanwhile.
func (st *Stream) hand() error {
	s := st.session
	for {
		err := st.mute()
		switch {
		case err != nil:
			return err
		case st.writeBy.passed.Load():
			return os.ErrDeadlineExceeded
		case len(st.pending) == 0, st.aside():
			return nil
		}
		s.enqueue(st)
		if st.queued && !st.lane.flushing {
			st.lane.flush(st)
			if len(st.pending) == 0 || !st.queued && st.window > 0 && !st.asking {
				continue
			}
		}
		s.mu.Unlock()
		<-st.writable
		s.mu.Lock()
	}
}

// mute is why nothing can be said on the stream any more; nil if something can. s.mu is held.
func (st *Stream) mute() error {
	switch {
	case st.closed:
		return net.ErrClosed
	case st.finSent:
		return fmt.Errorf("cannot write after the end: %w", net.ErrClosed)
	}
	return st.failed
}

// CloseWrite tells the peer that nothing more comes; reading goes on.
func (st *Stream) CloseWrite() error {
	s := st.session
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := st.mute(); err != nil {
		return err
	}
	st.fin()
	if st.finCame {
		s.over(st)
	}
	st.lane.flush(nil)
	return nil
}

// fin queues the end of what this end says. s.mu is held.
func (st *Stream) fin() {
	if !st.finSent {
		st.finSent = true
		st.lane.say(header{kind: typeWindow, flags: flagFIN | st.opens(), stream: st.id})
	}
}

// Close closes both directions and wakes whoever reads or writes here. A peer that goes on to write is told.
func (st *Stream) Close() error {
	unread := st.in.shut(st, net.ErrClosed)
	s := st.session
	s.mu.Lock()
	defer s.mu.Unlock()
	if st.closed {
		return nil
	}
	st.closed = true
	st.tidy()
	if !st.done {
		st.fin()
	}
	switch {
	case st.done, st.finCame:
		s.over(st)
	case unread > 0: // its writer may wait for room that never comes
		s.reset(st, CodeClosed)
	case s.cause == nil:
		st.forgotten = time.AfterFunc(linger, func() { s.unwanted(st) })
	}
	st.lane.flush(nil)
	return nil
}

// Reset gives the stream up, in both directions, and tells the peer why.
func (st *Stream) Reset(code Code) {
	st.in.shut(st, net.ErrClosed)
	s := st.session
	s.mu.Lock()
	defer s.mu.Unlock()
	if st.closed {
		return
	}
	st.closed = true
	st.tidy()
	s.reset(st, code)
	st.lane.flush(nil)
}

// reset queues the frame that resets a stream. s.mu is held.
func (s *Session) reset(st *Stream, code Code) {
	if !st.done && !st.silent { // else the peer knows nothing of it
		st.lane.say(header{kind: typeWindow, flags: flagRST, stream: st.id, length: uint32(code)})
	}
	s.over(st)
}

// tidy wakes who writes, and lets go of timers. s.mu is held.
func (st *Stream) tidy() {
	st.writable.notify()
	st.readBy.stop()
	st.writeBy.stop()
}

// end fails the stream: nothing more comes or goes.
func (st *Stream) end(cause error) {
	st.in.fail(st, cause)
	s := st.session
	s.mu.Lock()
	defer s.mu.Unlock()
	if st.failed == nil {
		st.failed = cause
	}
	if st.forgotten != nil {
		st.forgotten.Stop()
	}
	st.tidy()
}

// SetDeadline is that of net.Conn.
func (st *Stream) SetDeadline(t time.Time) error {
	_ = st.SetReadDeadline(t)
	return st.SetWriteDeadline(t)
}

// SetReadDeadline is that of net.Conn.
func (st *Stream) SetReadDeadline(t time.Time) error {
	st.readBy.set(t, st.readable)
	return nil
}

// SetWriteDeadline is that of net.Conn.
func (st *Stream) SetWriteDeadline(t time.Time) error {
	st.writeBy.set(t, st.writable)
	return nil
}

// LocalAddr is that of the session's connection.
func (st *Stream) LocalAddr() net.Addr { return st.session.Addr() }

// RemoteAddr is that of the session's connection.
func (st *Stream) RemoteAddr() net.Addr { return st.session.RemoteAddr() }

// Received is how many bytes of the peer's were read.
func (st *Stream) Received() int64 {
	st.in.mu.Lock()
	defer st.in.mu.Unlock()
	return st.in.given
}

// cut is the error of a stream that did not come to its end.
type cut struct {
	at    int64
	cause error
}

func (c *cut) Error() string   { return fmt.Sprintf("incomplete at byte %d: %v", c.at, c.cause) }
func (c *cut) Unwrap() []error { return []error{io.ErrUnexpectedEOF, c.cause} }

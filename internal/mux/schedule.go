package mux

import (
	"fmt"
	"sync"
	"time"
)

const (
	// batch is the most that goes out in one write, in bytes: four records of TLS.
	batch = 64 << 10
	// Chunk is the largest body of a frame: with its header it fills two records of TLS. A frame holds up all others for as long as
	// it takes.
	Chunk = 32<<10 - headerLen
	// A stream may say this much at once, and then this much a second, and still overtakes those that say more: a shell, a small
	// request, a watch.
	sparseBurst = 64 << 10
	sparseRate  = 512 << 10
	// turns is how many frames of such streams go before one of the others, where there are too many of them.
	turns = 8
	// slowWrite is how long a write takes that had to wait for the network. The next one is not made by whoever has something to say.
	slowWrite = time.Millisecond
	// crumb is the smallest part of a larger word that is worth a header, in bytes.
	crumb = 4 << 10
)

var batches = sync.Pool{New: func() any { return new([batch]byte) }} //nolint:gochecknoglobals // a pool; all sessions lend from it

// outgoing is what waits to be written. Session.mu guards it.
type outgoing struct {
	control  []byte // whole frames without a body, which go first
	sparse   fifo   // streams that say little
	rest     fifo
	turns    int // frames of sparse streams since the last of the rest
	flushing bool
	slow     bool
}

func (o *outgoing) empty() bool {
	return len(o.control) == 0 && o.sparse.head == nil && o.rest.head == nil
}

// fifo is a queue of streams that have something to say and may.
type fifo struct{ head, tail *Stream }

func (f *fifo) push(st *Stream) {
	if f.tail == nil {
		f.head = st
	} else {
		f.tail.after = st
	}
	f.tail = st
}

func (f *fifo) pop() *Stream {
	st := f.head
	f.head, st.after = st.after, nil
	if f.head == nil {
		f.tail = nil
	}
	return st
}

// control queues a frame without a body. It goes out with the next flush. s.mu is held.
func (s *Session) control(h header) {
	if s.cause != nil {
		return
	}
	if len(s.out.control) >= maxControl {
		s.work.Go(func() { s.Close(fmt.Errorf("%w: it asks and does not read", ErrProtocol)) })
		return
	}
	s.out.control = h.append(s.out.control)
}

// enqueue lets a stream that has something to say take its place. s.mu is held.
func (s *Session) enqueue(st *Stream) {
	if st.queued || len(st.pending) == 0 || st.window == 0 {
		return
	}
	st.queued, st.silent = true, false
	now := time.Now()
	st.allowance = min(sparseBurst, st.allowance+int(now.Sub(st.refilled)*sparseRate/time.Second))
	st.refilled = now
	if st.allowance > 0 {
		s.out.sparse.push(st)
	} else {
		s.out.rest.push(st)
	}
}

// pick takes the stream whose turn it is; nil if there is none. s.mu is held.
func (s *Session) pick() *Stream {
	o := &s.out
	switch {
	case o.sparse.head == nil && o.rest.head == nil:
		return nil
	case o.sparse.head == nil, o.rest.head != nil && o.turns >= turns:
		o.turns = 0
		return o.rest.pop()
	}
	o.turns++
	return o.sparse.pop()
}

// fill appends what goes out next to b, within its capacity. s.mu is held.
func (s *Session) fill(b []byte) []byte {
	n := min(len(s.out.control), cap(b)-len(b)) / headerLen * headerLen
	b = append(b, s.out.control[:n]...)
	s.out.control = append(s.out.control[:0], s.out.control[n:]...)
	if cap(s.out.control) > batch {
		s.out.control = append([]byte(nil), s.out.control...)
	}
	for {
		room := cap(b) - len(b) - headerLen
		if room < crumb {
			return b
		}
		st := s.pick()
		if st == nil {
			return b
		}
		st.queued = false
		n := min(len(st.pending), int(st.window), Chunk, room)
		if n == 0 || st.mute() != nil { // it was closed meanwhile
			continue
		}
		b = header{kind: typeData, stream: st.id, length: uint32(n)}.append(b)
		b = append(b, st.pending[:n]...)
		st.pending = st.pending[n:]
		st.window -= uint32(n)
		st.allowance -= n
		s.enqueue(st)
		if len(st.pending) == 0 {
			st.writable.notify()
		}
	}
}

// flush sees to it that what is queued is written. The stream is that of the caller, who does it himself, until it has nothing more to
// say, unless the connection is slow; nil means somebody who does not want to wait. s.mu is held, and let go meanwhile.
func (s *Session) flush(own *Stream) {
	if s.out.flushing || s.out.empty() || s.cause != nil {
		return
	}
	s.out.flushing = true
	if own == nil || s.out.slow {
		s.work.Go(s.flushAll)
		return
	}
	s.write(own, false)
}

// answer is flush for who receives and has a word to say to it. Where the connection has room for that word he says it himself: an idle
// session says nothing else, and to wake somebody for it costs more than the word. s.mu is held, and let go meanwhile.
func (s *Session) answer() {
	o := &s.out
	short := len(o.control) <= maxAcks*headerLen && o.sparse.head == nil && o.rest.head == nil
	if o.flushing || s.cause != nil || !short || s.config.Room == nil || !s.config.Room() {
		s.flush(nil)
		return
	}
	o.flushing = true
	s.write(nil, true)
}

func (s *Session) flushAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.write(nil, false)
}

// write writes until there is nothing more, or what is left is not of the caller's stream, or what came after his one word: then somebody
// else goes on. s.mu is held, and let go meanwhile.
func (s *Session) write(own *Stream, once bool) {
	buf := batches.Get().(*[batch]byte)
	defer batches.Put(buf)
	for s.cause == nil && !s.out.empty() {
		b := s.fill(buf[:0])
		s.mu.Unlock()
		err := s.send(b)
		s.mu.Lock()
		if err != nil {
			s.mu.Unlock()
			s.Close(err)
			s.mu.Lock()
		}
		if (once || own != nil && !own.queued) && s.cause == nil && !s.out.empty() {
			s.work.Go(s.flushAll)
			return
		}
	}
	s.out.flushing = false
}

// send writes to the connection.
func (s *Session) send(b []byte) error {
	began := time.Now()
	s.said.Store(s.clock(began))
	if s.config.Spoke != nil {
		s.config.Spoke()
	}
	if err := s.conn.SetWriteDeadline(began.Add(s.config.WriteTimeout)); err != nil {
		return fmt.Errorf("cannot write to the connection: %w", err)
	}
	_, err := s.conn.Write(b)
	took := time.Since(began)
	_ = s.conn.SetWriteDeadline(time.Time{}) // else it wakes the process when it passes; whoever cannot set it cannot write either
	s.out.slow = took > slowWrite            // only who flushes writes it, and reads it later under s.mu
	switch {
	case err != nil && took >= s.config.WriteTimeout:
		return fmt.Errorf("%w for %s: %w", ErrStalled, s.config.WriteTimeout, err)
	case err != nil:
		return fmt.Errorf("cannot write to the connection: %w", err)
	}
	return nil
}

package mux

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"
	"time"
)

const (
	// batch is the most that goes out in one write, in bytes: two frames, in four records of TLS.
	batch = 2 * (Chunk + headerLen)
	// Chunk is the largest body of a frame: with its header it fills two records of TLS but for 128 bytes, so that a batch, with 22 bytes
	// that TLS adds to each record, is no longer than one packet to the kernel is (64 KiB with the headers of IPv6 and TCP). What was
	// longer went as a full packet and a crumb. A frame holds up all others for as long as it takes.
	Chunk = 32<<10 - 128 - headerLen
	// A stream may say this much at once, and then this much a second, and still overtakes those that say more: a shell, a small
	// request, a watch.
	sparseBurst = 64 << 10
	sparseRate  = 512 << 10
	// turns is how many frames of such streams go before one of the others, where there are too many of them.
	turns = 8
	// aloneAfter is how long nothing was written before a write that stands alone: its deadline is taken back when it is over, and need not
	// wake the process when it passes. Where writes follow one another it stays: to set it costs a tenth of what a small write does.
	aloneAfter = time.Second
	// slowWrite is how long a write takes that had to wait for the network. The next one is not made by whoever has something to say.
	slowWrite = time.Millisecond
	// crumb is the smallest part of a larger word that is worth a header, in bytes.
	crumb = 4 << 10
	// asideEach is the longest word that is put aside, in bytes: to copy it costs less than to have its stream wait. asideMost is how much may
	// wait there, with frames that have no body; the other half of a write is for the streams that are queued.
	asideEach = 4 << 10
	asideMost = batch / 2
)

var batches = sync.Pool{New: func() any { return new([batch]byte) }} //nolint:gochecknoglobals // a pool; all sessions lend from it

// outgoing is what waits to be written to a connection. Session.mu guards it.
type outgoing struct {
	control  []byte       // whole frames, which go first: those without a body, and words that were put aside
	lent     *[batch]byte // what control is in while it has such words
	plain    []byte       // what it is in else; empty meanwhile
	sparse   fifo         // streams that say little
	rest     fifo
	turns    int // frames of sparse streams since the last of the rest
	flushing bool
	soon     bool // somebody is about to flush
	slow     bool
	due      time.Time // when a write has to be over, as the connection was told; zero is never
	alone    bool      // it was told so for what stands alone
	wrote    time.Time // when the last write was over
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

// say queues a frame without a body. It goes out with the next flush. s.mu is held.
func (l *lane) say(h header) {
	s := l.session
	if s.cause != nil {
		return
	}
	if len(l.control) >= maxControl {
		s.work.Go(func() { s.Close(fmt.Errorf("%w: it asks and does not read", ErrProtocol)) })
		return
	}
	l.control = h.append(l.control)
}

// enqueue lets a stream that has something to say take its place. s.mu is held.
func (s *Session) enqueue(st *Stream) {
	if st.queued || len(st.pending) == 0 || st.window == 0 || st.asking {
		return
	}
	st.queued = true
	if st.saysLittle(time.Now()) {
		st.lane.sparse.push(st)
	} else {
		st.lane.rest.push(st)
	}
}

// saysLittle reports whether a stream that has something to say says little. s.mu is held.
func (st *Stream) saysLittle(now time.Time) bool {
	passed := min(now.Sub(st.refilled), time.Minute)
	st.allowance = min(sparseBurst, st.allowance+int(passed*sparseRate/time.Second))
	st.refilled = now
	st.rested(now)
	return st.allowance > 0
}

// aside takes a short word whose turn is next while somebody writes, so that its stream need not wait until he is done. s.mu is held.
func (st *Stream) aside() bool {
	l, n := st.lane, len(st.pending)
	switch {
	case !l.flushing, !l.first(), l.sparse.head != nil, st.queued, st.asking, st.much >= moveAfter:
		return false
	case n > asideEach, n > int(st.window), len(l.control)+headerLen+n > asideMost:
		return false
	}
	now := time.Now()
	if !st.saysLittle(now) {
		return false
	}
	if l.lent == nil {
		l.lent, l.plain = batches.Get().(*[batch]byte), l.control[:0]
		l.control = append(l.lent[:0], l.control...)
	}
	l.control = st.frame(l.control, n)
	st.emptied = now
	return true
}

// frame appends a frame of so many bytes of what is pending. s.mu is held.
func (st *Stream) frame(b []byte, n int) []byte {
	b = header{kind: typeData, flags: st.opens(), stream: st.id, length: uint32(n)}.append(b)
	b = append(b, st.pending[:n]...)
	st.pending = st.pending[n:]
	st.window -= uint32(n)
	st.allowance -= n
	st.much = min(muchMost, st.much+n)
	return b
}

// pick takes the stream whose turn it is; nil if there is none. s.mu is held.
func (l *lane) pick() *Stream {
	o := &l.outgoing
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
func (l *lane) fill(b []byte) []byte {
	s := l.session
	n := min(len(l.control), cap(b)-len(b)) // the rest of a frame goes first in the next one
	b = append(b, l.control[:n]...)
	l.control = append(l.control[:0], l.control[n:]...)
	switch {
	case len(l.control) == 0 && l.lent != nil:
		batches.Put(l.lent)
		l.lent, l.control = nil, l.plain
	case cap(l.control) > batch:
		l.control = append([]byte(nil), l.control...)
	}
	for {
		room := cap(b) - len(b) - headerLen
		if room < crumb {
			return b
		}
		st := l.pick()
		if st == nil {
			return b
		}
		st.queued = false
		n := min(len(st.pending), int(st.window), Chunk, room)
		if n == 0 || st.mute() != nil { // it was closed meanwhile
			continue
		}
		if to, ok := s.leaves(st); ok {
			st.asking, st.asked = true, to
			b = header{kind: typeWindow, flags: flagMove, stream: st.id, length: to}.append(b)
			continue
		}
		b = st.frame(b, n)
		s.enqueue(st)
		if len(st.pending) == 0 {
			st.emptied = time.Now()
			st.writable.notify()
		}
	}
}

// flush sees to it that what is queued is written, on every connection. s.mu is held.
func (s *Session) flush() {
	for _, l := range s.further {
		l.flush(nil)
	}
	s.first.flush(nil)
}

// flush sees to it that what is queued is written. The stream is that of the caller, who does it himself, until it has nothing more to
// say, unless the connection is slow; nil means somebody who does not want to wait. s.mu is held, and let go meanwhile.
func (l *lane) flush(own *Stream) {
	if l.flushing || l.empty() || l.session.cause != nil {
		return
	}
	l.flushing = true
	if own == nil || l.slow {
		l.session.work.Go(l.flushAll)
		return
	}
	l.write(own, false)
}

// answer is flush for who receives and has a word to say to it. Where the connection has room for that word he says it himself: an idle
// session says nothing else, and to wake somebody for it costs more than the word. s.mu is held, and let go meanwhile.
func (l *lane) answer() {
	s, o := l.session, &l.outgoing
	short := len(o.control) <= maxAcks*headerLen && o.sparse.head == nil && o.rest.head == nil
	if o.flushing || s.cause != nil || !short || !l.first() || s.config.Room == nil || !s.config.Room() {
		l.flush(nil)
		return
	}
	o.flushing = true
	l.write(nil, true)
}

// flushSoon is flush for what can wait until all have had their turn who are ready to run: one call to the kernel then takes what they say,
// too. Nobody waits for that: half of a window is left when it is granted more. s.mu is held.
func (l *lane) flushSoon() {
	s := l.session
	if l.soon || l.flushing || s.cause != nil {
		return
	}
	l.soon = true
	s.work.Go(func() {
		runtime.Gosched()
		s.mu.Lock()
		defer s.mu.Unlock()
		l.soon = false
		if !l.flushing && !l.empty() {
			l.flushing = true
			l.write(nil, false)
		}
	})
}

func (l *lane) flushAll() {
	l.session.mu.Lock()
	defer l.session.mu.Unlock()
	l.write(nil, false)
}

// write writes until there is nothing more, or what is left is not of the caller's stream, or what came after his one word: then somebody
// else goes on. s.mu is held, and let go meanwhile.
func (l *lane) write(own *Stream, once bool) {
	s := l.session
	buf := batches.Get().(*[batch]byte)
	defer batches.Put(buf)
	for first := true; s.cause == nil && !l.empty(); first = false {
		if !once && l.gathers(first) {
			s.mu.Unlock()
			runtime.Gosched()
			s.mu.Lock()
			if s.cause != nil || l.empty() {
				break
			}
		}
		b := l.fill(buf[:0])
		s.mu.Unlock()
		err := l.send(b, once)
		if err != nil {
			l.fail(err)
		}
		s.mu.Lock()
		if err != nil && !l.first() {
			return // for ever flushing: nothing is said on it any more
		}
		if (once || own != nil && (!own.queued || own.lane != l)) && s.cause == nil && !l.empty() {
			s.work.Go(l.flushAll)
			return
		}
	}
	if l.alone {
		l.alone, l.due = false, time.Time{}
		_ = l.conn.SetWriteDeadline(l.due) // whoever cannot set it cannot write either
	}
	l.flushing = false
}

// gathers reports whether whoever else is about to say something may come first, so that one call to the kernel takes both: where all that waits
// is little and was not waited for yet, or is of one stream that says much. s.mu is held.
func (l *lane) gathers(first bool) bool {
	if l.rest.head == nil {
		return first
	}
	return len(l.control) == 0 && l.sparse.head == nil && l.rest.head == l.rest.tail
}

// send writes to the connection. room is whether it is known to have room for b, so that nothing is waited for, and nobody need be told:
// the kernel gives a connection up by itself on which so little is not acknowledged.
func (l *lane) send(b []byte, room bool) error {
	s := l.session
	began := time.Now()
	if l.first() {
		s.said.Store(s.clock(began))
	}
	if room && l.due.IsZero() { // else it may have passed
		if _, err := l.conn.Write(b); err != nil {
			return fmt.Errorf("cannot write to the connection: %w", err)
		}
		return nil
	}
	if l.first() && s.config.Spoke != nil {
		s.config.Spoke()
	}
	if l.due.Sub(began) < s.config.WriteTimeout*9/10 {
		l.due, l.alone = began.Add(s.config.WriteTimeout), l.alone || began.Sub(l.wrote) >= aloneAfter
		if err := l.conn.SetWriteDeadline(l.due); err != nil {
			return fmt.Errorf("cannot write to the connection: %w", err)
		}
	}
	_, err := l.conn.Write(b)
	took := time.Since(began)
	l.wrote = began.Add(took)
	l.slow = took > slowWrite // only who flushes writes it, and reads it later under s.mu
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Errorf("%w for %s: %w", ErrStalled, took.Round(time.Second/10), err)
	case err != nil:
		return fmt.Errorf("cannot write to the connection: %w", err)
	}
	return nil
}

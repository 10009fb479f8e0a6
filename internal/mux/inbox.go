package mux

import (
	"errors"
	"io"
	"sync"
	"time"
)

// segment is a piece of what came and was not read. It is lent, so that a stream on which nothing lies has none.
type segment struct {
	bytes       [32 << 10]byte
	read, wrote int
	next        *segment
}

var segments = sync.Pool{New: func() any { return new(segment) }} //nolint:gochecknoglobals // a pool; all sessions lend from it

func putSegment(s *segment) {
	s.read, s.wrote, s.next = 0, 0, nil
	segments.Put(s)
}

// inbox is what a stream has received.
type inbox struct {
	mu         sync.Mutex
	head, tail *segment
	lent       []byte // of a reader who waits: one frame, or what there is room for, goes there and is not copied
	landed     int    // bytes in lent
	filling    place  // that is being written to, without the lock
	unread     int    // bytes in the segments and in lent
	given      int64
	limit      uint32 // the size of the window
	used       uint32 // bytes that were read since the last grant
	credited   time.Time
	ended      error // io.EOF, or why nothing more comes; what lies here can be read first, unless shut
	shut_      bool
}

// place is where what comes is put.
type place int

const (
	nowhere place = iota
	inTail
	inLent
)

// read takes what lies there. It returns the frame that grants the peer more, if it is time for one: its length is then not 0. Where
// nothing lies it borrows p, and says so in lent; the caller must come again with the same p, or take it back.
func (in *inbox) read(st *Stream, p []byte, lent *bool) (n int, grant header, err error) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if *lent {
		if in.filling == inLent {
			return 0, header{}, nil
		}
		n = in.landed
		in.lent, in.landed, *lent = nil, 0, false
	}
	if in.shut_ {
		st.readable.notify() // for who else reads
		return 0, header{}, in.ended
	}
	for in.head != nil && n < len(p) {
		seg := in.head
		c := copy(p[n:], seg.bytes[seg.read:seg.wrote])
		seg.read += c
		n += c
		if seg.read < seg.wrote {
			break
		}
		if seg == in.tail && in.filling == inTail {
			break
		}
		in.head = seg.next
		if in.head == nil {
			in.tail = nil
		}
		putSegment(seg)
	}
	if n == 0 {
		if len(p) > 0 && in.unread == 0 && in.ended != nil && in.filling == nowhere { // else what is just being put there counts
			st.readable.notify() // for who else reads
			return 0, header{}, in.ended
		}
		if in.lent == nil && len(p) > 0 {
			in.lent, *lent = p, true
		}
		return 0, header{}, nil
	}
	in.unread -= n
	in.given += int64(n)
	in.used += uint32(n)
	st.session.unread.Add(-int64(n))
	if in.unread > 0 || in.ended != nil {
		st.readable.notify()
	}
	return n, in.credit(st), nil
}

// takeBack ends the loan of a reader who waits no longer. False means that it is just being written to, or was.
func (in *inbox) takeBack(lent *bool) bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	if *lent && (in.filling == inLent || in.landed > 0) {
		return false
	}
	if *lent {
		in.lent, *lent = nil, false
	}
	return true
}

// credit makes the frame that grants the peer what was read, once it is half the window. A reader who takes half of the window in less
// than two round trips has a peer that waits for it: then the window is doubled. in.mu is held.
func (in *inbox) credit(st *Stream) header {
	if in.used < in.limit/2 || in.ended != nil {
		return header{}
	}
	now := time.Now()
	rtt := st.session.measured(now)
	late := rtt > 0 && now.Sub(in.credited) < 2*max(rtt, minRTT)
	by := st.session.resize(st, int(in.limit), int(in.used), late)
	in.limit = uint32(int(in.limit) + by)
	delta := uint32(int(in.used) + by)
	in.credited = now
	in.used = 0
	return header{kind: typeWindow, stream: st.id, length: delta}
}

// minRTT is what a round trip is taken for at least. On one machine it is less than the time in which a goroutine wakes.
const minRTT = 500 * time.Microsecond

// resize takes from the budget what a window of this size grows by, or gives back what it shrinks by, which is half of what was used at most:
// its peer goes on meanwhile. late is whether it is to be doubled. Streams on further connections share the budget evenly, and all have the
// window of the widest: who has more than others on the same connection is sent more.
func (s *Session) resize(st *Stream, limit, used int, late bool) (by int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.streams[st.id] != st {
		return 0
	}
	want := limit
	if late {
		want = min(2*limit, s.config.Window)
	}
	if st.hears != nil {
		s.widest = min(max(s.widest, want), max(initialWindow, s.config.Budget/2/s.sharers))
		want = s.widest
	}
	by = max(-used/2, min(want-limit, s.config.Budget/2-s.grown))
	s.grown += by
	st.grown += by
	return by
}

// admit counts a frame against the window. False means that it is more than the peer may send.
func (in *inbox) admit(n uint32) bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	return uint64(n)+uint64(in.unread)+uint64(in.used) <= uint64(in.limit)
}

// space returns where the next n bytes of a frame can be written, or some of them; begun is whether it is not the first of that frame, and
// its reader waits for the whole. nil means that nobody reads here any more.
func (in *inbox) space(n int, begun bool) []byte {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.ended != nil {
		return nil
	}
	if free := in.lent[in.landed:]; len(free) > 0 && in.unread == in.landed && (begun || in.landed == 0) {
		in.filling = inLent
		return free[:min(n, len(free))]
	}
	if in.tail == nil || in.tail.wrote == len(in.tail.bytes) {
		seg := segments.Get().(*segment)
		if in.tail == nil {
			in.head = seg
		} else {
			in.tail.next = seg
		}
		in.tail = seg
	}
	in.filling = inTail
	free := in.tail.bytes[in.tail.wrote:]
	return free[:min(n, len(free))]
}

// came takes over what was written into the space. The reader is woken when the frame is whole, or its place is full: one of TLS's records
// is half a frame, and to wake somebody costs as much as to read it.
func (in *inbox) came(st *Stream, n int, whole bool) {
	in.mu.Lock()
	defer in.mu.Unlock()
	where := in.filling
	in.filling = nowhere
	if in.shut_ {
		in.drop(st)
		st.readable.notify() // for who has lent
		return
	}
	if ended := (*cut)(nil); errors.As(in.ended, &ended) { // meanwhile, and nobody was told yet
		in.ended = &cut{ended.at + int64(n), ended.cause}
	}
	full := false
	if where == inLent {
		in.landed += n
		full = in.landed == len(in.lent)
	} else {
		in.tail.wrote += n
		full = in.tail.wrote == len(in.tail.bytes)
	}
	in.unread += n
	st.session.unread.Add(int64(n))
	if whole || full || in.ended != nil || st.readBy.passed.Load() { // who was woken by one of the last two has waited on for this
		st.readable.notify()
	}
}

// finish ends the inbox after what lies in it: the peer has said all.
func (in *inbox) finish(st *Stream) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.ended == nil {
		in.ended = io.EOF
	}
	st.readable.notify()
}

// fail ends the inbox after what lies in it, which is not all that the peer had to say.
func (in *inbox) fail(st *Stream, cause error) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.ended == nil {
		in.ended = &cut{in.given + int64(in.unread), cause}
	}
	st.readable.notify()
}

// shut ends the inbox and drops what lies in it. It returns how much that was.
func (in *inbox) shut(st *Stream, cause error) int {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.shut_ {
		return 0
	}
	dropped := in.unread
	in.shut_, in.ended = true, cause
	if in.filling != inTail {
		in.drop(st)
	}
	st.readable.notify()
	return dropped
}

// drop gives back the segments. in.mu is held, and nobody fills one.
func (in *inbox) drop(st *Stream) {
	st.session.unread.Add(-int64(in.unread))
	in.unread = 0
	for in.head != nil {
		seg := in.head
		in.head = seg.next
		putSegment(seg)
	}
	in.tail = nil
}

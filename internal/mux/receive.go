package mux

import (
	"errors"
	"fmt"
	"io"
)

// receive reads frames until the connection ends, and returns why. It waits for nothing but the connection.
func (l *lane) receive() error {
	s := l.session
	var raw [headerLen]byte
	for {
		if _, err := io.ReadFull(l.conn, raw[:]); err != nil {
			return lost(err)
		}
		l.hear()
		h, err := parseHeader(&raw)
		if err != nil {
			return err
		}
		switch h.kind {
		case typeData, typeWindow:
			err = l.stream(h)
		case typePing:
			l.pinged(h)
		case typeGoAway:
			s.mu.Lock()
			s.goingAway = true
			s.mu.Unlock()
		}
		if err != nil {
			return err
		}
	}
}

// lost keeps the end of the connection from being taken for that of a stream, which is io.EOF.
func lost(err error) error {
	if errors.Is(err, io.EOF) {
		return ErrPeerClosed
	}
	return err
}

// stream acts on a frame of a stream.
func (l *lane) stream(h header) error {
	s := l.session
	st, err := l.lookup(h)
	if err != nil {
		return err
	}
	if h.flags&flagRST != 0 {
		if st != nil {
			s.mu.Lock()
			s.over(st)
			s.mu.Unlock()
			st.end(fmt.Errorf("%w: %s", ErrReset, Code(h.length)))
		}
		return nil
	}
	switch {
	case h.kind == typeWindow && h.flags&flagMove != 0:
		return l.move(st, h)
	case h.kind == typeData && h.length > 0:
		if err := l.data(st, h.length); err != nil {
			return err
		}
	case h.kind == typeWindow && st != nil:
		if err := s.granted(st, h.length); err != nil {
			return err
		}
	}
	if h.flags&flagFIN != 0 && st != nil {
		s.finished(st)
	}
	return nil
}

// maxAcks is how many acknowledgements may wait for something to go out with.
const maxAcks = 64

// lookup finds the stream of a frame; one that opens a stream makes it. nil is a stream that is no more.
func (l *lane) lookup(h header) (*Stream, error) {
	s := l.session
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.streams[h.stream]
	if h.flags&flagSYN == 0 {
		if st != nil && st.done {
			st = nil
		}
		if h.kind == typeData && st != nil && st.heardOn() != l { // it would come out of order
			return nil, fmt.Errorf("%w: it says on connection %d what it said on another before, on stream %d", ErrProtocol, l.number, h.stream)
		}
		return st, nil
	}
	switch {
	case !l.first():
		return nil, fmt.Errorf("%w: it opens stream %d on a further connection", ErrProtocol, h.stream)
	case !s.theirsIs(h.stream):
		return nil, fmt.Errorf("%w: it opens stream %d, which is not for it to open", ErrProtocol, h.stream)
	case st != nil:
		return nil, fmt.Errorf("%w: it opens stream %d twice", ErrProtocol, h.stream)
	case s.cause != nil:
		return nil, s.cause
	}
	st = newStream(s, h.stream)
	if s.theirs >= s.config.Streams {
		s.first.say(header{kind: typeWindow, flags: flagRST, stream: st.id, length: uint32(CodeRefused)})
		s.first.flush(nil)
		return nil, nil
	}
	s.streams[st.id] = st
	s.theirs++
	s.arrived = append(s.arrived, st)
	s.arrival.notify()
	s.first.say(header{kind: typeWindow, flags: flagACK, stream: st.id}) // goes out with the next word: only stock yamux looks at it,
	if len(s.first.control) >= maxAcks*headerLen {                       // and only when it has opened 256 without one
		s.first.flush(nil)
	}
	return st, nil
}

// data reads the body of a frame. What comes for a stream that was closed is lost, and the peer is told.
func (l *lane) data(st *Stream, length uint32) error {
	s := l.session
	if st != nil && !st.in.admit(length) {
		return fmt.Errorf("%w: %d bytes are more than the window of stream %d has room for", ErrProtocol, length, st.id)
	}
	left := int(length)
	for st != nil && left > 0 {
		space := st.in.space(left, left < int(length) && !st.readBy.passed.Load())
		if space == nil {
			break
		}
		n, err := l.conn.Read(space)
		l.receipt(l.hear(), n) // of a large frame on a slow path, too
		left -= n
		st.in.came(st, n, left == 0 || err != nil)
		if err != nil {
			return lost(err)
		}
	}
	if left > 0 {
		if _, err := io.CopyN(io.Discard, l.conn, int64(left)); err != nil {
			return lost(err)
		}
		if st != nil {
			s.unwanted(st)
		}
		return nil
	}
	if s.unread.Load() > int64(s.config.Budget) {
		s.lighten()
	}
	return nil
}

// unwanted tells the peer that a stream is closed here.
func (s *Session) unwanted(st *Stream) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reset(st, CodeClosed)
	st.tidy()
	s.flush()
}

// lighten gives up the stream on which the most lies unread.
func (s *Session) lighten() {
	var worst *Stream
	most := 0
	s.mu.Lock()
	all := make([]*Stream, 0, len(s.streams))
	for _, st := range s.streams {
		all = append(all, st)
	}
	s.mu.Unlock()
	for _, st := range all {
		st.in.mu.Lock()
		if st.in.unread > most {
			worst, most = st, st.in.unread
		}
		st.in.mu.Unlock()
	}
	if worst == nil {
		return
	}
	cause := fmt.Errorf("%d bytes lie unread on the session, the most of them on this stream", s.unread.Load())
	worst.in.shut(worst, &cut{worst.Received(), cause}) // before the peer is told: nothing is read of it any more when that is seen
	s.mu.Lock()
	s.reset(worst, CodeBudget)
	s.flush()
	s.mu.Unlock()
	worst.end(cause)
}

// granted lets a stream send more.
func (s *Session) granted(st *Stream, by uint32) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if st.window+by < st.window {
		return fmt.Errorf("%w: the window of stream %d is larger than can be", ErrProtocol, st.id)
	}
	st.window += by
	if by > 0 {
		s.enqueue(st)
		st.lane.flush(nil)
	}
	return nil
}

// finished notes that the peer says nothing more on a stream.
func (s *Session) finished(st *Stream) {
	st.in.finish(st)
	s.mu.Lock()
	defer s.mu.Unlock()
	st.finCame = true
	st.listen(nil)
	if st.finSent {
		s.over(st)
	}
}

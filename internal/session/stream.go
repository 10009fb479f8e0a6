package session

import (
	"errors"
	"io"
	"net"
	"sync/atomic"
	"time"

	"github.com/hashicorp/yamux"
)

// stream is a yamux stream that fails the way a connection of net fails.
type stream struct {
	*yamux.Stream
	session  *Session
	accepted bool
	closed   atomic.Bool
}

// Read is that of net.Conn. The end of the session is io.ErrUnexpectedEOF.
func (s *stream) Read(p []byte) (int, error) {
	n, err := s.Stream.Read(p)
	switch {
	case err == nil:
		return n, nil
	case s.closed.Load():
		return n, net.ErrClosed
	case errors.Is(err, yamux.ErrConnectionWriteTimeout): // of the window update that a read sends
		s.session.Close(err)
		return n, io.ErrUnexpectedEOF
	case errors.Is(err, io.EOF) && s.session.mux.IsClosed():
		return n, io.ErrUnexpectedEOF
	case errors.Is(err, io.EOF) && s.accepted:
		// The asker has closed its end: in HTTP nobody reads the answer any more. A writer that waits for the window
		// would wait for minutes.
		_ = s.SetWriteDeadline(time.Unix(1, 0))
	}
	return n, err
}

// Write is that of net.Conn.
func (s *stream) Write(p []byte) (int, error) {
	total := 0
	for {
		n, err := s.Stream.Write(p[:min(len(p), chunk)])
		total += n
		p = p[n:]
		switch {
		case err == nil && len(p) > 0:
			continue
		case err == nil:
			return total, nil
		case s.closed.Load():
			return total, net.ErrClosed
		case errors.Is(err, yamux.ErrConnectionWriteTimeout):
			s.session.Close(err)
		}
		return total, s.session.explain(err)
	}
}

// Close closes both directions for this end, and wakes whoever reads or writes here.
func (s *stream) Close() error {
	if s.closed.Swap(true) {
		return nil
	}
	if s.accepted {
		s.session.streams.Add(-1)
	}
	_ = s.SetDeadline(time.Unix(1, 0))
	return s.Stream.Close()
}

// watched is a connection on which silence is an error.
type watched struct{ net.Conn }

func (w *watched) Read(p []byte) (int, error) {
	if err := w.SetReadDeadline(time.Now().Add(Silence)); err != nil {
		return 0, err
	}
	return w.Conn.Read(p)
}

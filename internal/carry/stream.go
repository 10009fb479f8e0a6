package carry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"

	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

// Stream carries local over the tunnel until both are at their end, ctx ends, or either breaks; then both are closed. A half that
// is closed is passed on as such. Where anything was cut, local is reset, not closed, so that whoever is there can tell, too.
// A context that ends with an [*EndedError] as its cause tells the other end that.
func Stream(ctx context.Context, local net.Conn, tunnel io.ReadWriteCloser) Result {
	s := &stream{end: &end{tunnel: tunnel, out: writer{to: tunnel}}, local: local}
	s.expire = func() {
		s.shut()
		if s.verdict(wire.OutcomeLost, s.broken(nil)) {
			Abort(local)
		}
	}
	stop := context.AfterFunc(ctx, func() {
		e := ended(ctx)
		s.fail(e.Outcome, e.Why)
	})
	defer stop()
	var up sync.WaitGroup
	up.Go(s.up)
	s.down()
	if s.result().Err == nil {
		s.hurry()
		up.Wait() // its last record may be on its way
	}
	s.release()
	up.Wait()
	return s.result()
}

// ended is why a context has ended.
func ended(ctx context.Context) *EndedError {
	var e *EndedError
	if !errors.As(context.Cause(ctx), &e) {
		return &EndedError{Outcome: wire.OutcomeStopped}
	}
	return e
}

type stream struct {
	*end
	local net.Conn

	handing sync.Mutex // held while something is handed on, until it is counted

	// end.mu guards them
	atEnd    bool // nothing more comes from this side
	endSent  bool
	endCame  bool
	lastSaid bool
}

// up reads from this side until its end.
func (s *stream) up() {
	buf := make([]byte, wire.RecordHeader+wire.ChunkRecord)
	for {
		n, err := s.local.Read(buf[wire.RecordHeader:])
		if n > 0 {
			wire.PutHeader(buf, wire.RecordData, n)
			s.count(&s.sent, n) // before it is: the other end may answer before this one goes on
			if wrong := s.out.write(buf[:wire.RecordHeader+n]); wrong != nil {
				s.count(&s.sent, -n)
				s.hurry() // what the other end said last may still come
				return
			}
		}
		switch {
		case err == nil:
		case errors.Is(err, io.EOF):
			s.sayEnd()
			return
		default:
			s.fail(wire.OutcomeReset, err.Error())
			return
		}
	}
}

// sayEnd tells the other end that no more comes.
func (s *stream) sayEnd() {
	s.mu.Lock()
	sent := uint64(s.sent)
	s.atEnd = true
	s.mu.Unlock()
	if s.out.write(wire.EndRecord(sent)) != nil {
		s.hurry()
		return
	}
	s.half(&s.endSent)
}

// half notes that one direction is over, and says the last word when both are.
func (s *stream) half(which *bool) {
	s.mu.Lock()
	*which = true
	last := s.endSent && s.endCame && !s.lastSaid
	s.lastSaid = s.lastSaid || last
	said := wire.Close{Sent: uint64(s.sent), Taken: uint64(s.received)}
	s.mu.Unlock()
	if last && s.out.write(said.Record()) != nil {
		s.hurry()
	}
}

// down reads from the tunnel until its end.
func (s *stream) down() {
	in := newReader(s.tunnel, wire.ChunkRecord)
	for {
		kind, whole, err := in.next()
		if err != nil {
			if errors.Is(err, wire.ErrRecord) {
				s.fail(wire.OutcomeProtocol, err.Error())
			}
			if cut := s.broken(err); s.verdict(cut.Outcome, cut) {
				Abort(s.local)
			}
			return
		}
		body := whole[wire.RecordHeader:]
		switch {
		case kind == wire.RecordClose:
			s.closed(body)
			return
		case s.finished(): // until the other end has heard why
		case kind == wire.RecordEnd:
			s.halfEnd(body)
		default:
			s.take(body)
		}
	}
}

// take hands on what came.
func (s *stream) take(body []byte) {
	if s.endCame {
		s.fail(wire.OutcomeProtocol, "it went on after its end")
		return
	}
	s.handing.Lock()
	n, err := s.local.Write(body)
	s.count(&s.received, n)
	s.handing.Unlock()
	if err != nil {
		s.fail(wire.OutcomeReset, err.Error())
	}
}

// halfEnd passes on that no more comes.
func (s *stream) halfEnd(body []byte) {
	all, err := wire.ParseEnd(body)
	if received := s.result().Received; err != nil || s.endCame || all != uint64(received) {
		s.fail(wire.OutcomeProtocol, fmt.Sprintf("%d bytes were sent, and %d came", all, received))
		return
	}
	if writes, ok := s.local.(interface{ CloseWrite() error }); ok {
		if err := writes.CloseWrite(); err != nil {
			s.fail(wire.OutcomeReset, err.Error())
			return
		}
	}
	s.half(&s.endCame)
}

// closed takes the last record of the other end.
func (s *stream) closed(body []byte) {
	last, err := wire.ParseClose(body)
	s.mu.Lock()
	early, sent := !s.atEnd || !s.endCame, uint64(s.sent)
	s.mu.Unlock()
	var cut *CutError
	switch {
	case err != nil:
		cut = s.broken(err)
	case last.Outcome != wire.OutcomeComplete:
		cut = s.told(last)
	case early:
		cut = s.cut(wire.OutcomeProtocol, "the other end says that all is done, and it is not")
	case last.Taken != sent:
		cut = s.cut(wire.OutcomeProtocol, fmt.Sprintf("the other end took %d bytes of %d", last.Taken, sent))
	}
	switch {
	case cut == nil && s.verdict(wire.OutcomeComplete, nil):
		_ = s.local.Close() // both halves of it are
	case cut != nil && s.verdict(cut.Outcome, cut):
		Abort(s.local)
	}
}

// fail gives the tunnel up, and tells the other end why.
func (s *stream) fail(outcome wire.Outcome, why string) {
	if !s.verdict(outcome, s.cut(outcome, own(outcome, why))) {
		return
	}
	Abort(s.local) // whoever reads or writes there is woken
	s.handing.Lock()
	s.handing.Unlock() //nolint:staticcheck // what was handed on until now has been counted
	cut := s.cut(outcome, own(outcome, why))
	s.mu.Lock()
	s.err = cut
	s.mu.Unlock()
	_ = s.say(outcome, why)
}

// Package carry carries a connection of TCP, or a flow of datagrams, between two ends in the records of package wire, so that both
// ends know whether all of it arrived: what was cut is an error at both, and is never taken for an end.
package carry

import (
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

// closeTime bounds how long the last record may take to be sent, and how long its sender waits for the other end to close: some
// round trips of a slow path.
const closeTime = 5 * time.Second

// Result is how a tunnel ended at one end.
type Result struct {
	Sent     int64 // bytes that came from this side and were sent
	Received int64 // bytes that came from the other end and were handed on to this side
	Dropped  int64 // datagrams that waited too long, or for which there was no room
	Outcome  wire.Outcome
	Err      error // nil only if both ends say that all arrived; of datagrams also if the flow was idle. Else a [*CutError]
}

// EndedError is the cause of a context with which a tunnel is to end: the other end is told.
type EndedError struct {
	Outcome wire.Outcome
	Why     string
}

func (e *EndedError) Error() string {
	if e.Why != "" {
		return e.Why
	}
	return e.Outcome.String()
}

// CutError is the error of a tunnel that did not come to its end.
type CutError struct {
	Received int64 // bytes that were handed on at the end that says so
	Sent     int64 // bytes that the other end has taken, or, where it did not tell, that were sent to it
	Outcome  wire.Outcome
	Why      string
}

func (c *CutError) Error() string {
	return fmt.Sprintf("incomplete at byte %d received, %d sent: %s", c.Received, c.Sent, c.Why)
}

// end is what one end of a tunnel has, whatever it carries.
type end struct {
	tunnel io.ReadWriteCloser
	out    writer
	expire func() // what happens when a tunnel that is to close does not

	shutting sync.Once

	mu       sync.Mutex
	sent     int64
	received int64
	dropped  int64
	over     bool // outcome and err are final
	outcome  wire.Outcome
	err      error
	linger   *time.Timer
}

// verdict settles how the tunnel ended; the first word counts.
func (e *end) verdict(outcome wire.Outcome, err error) (first bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.over {
		return false
	}
	e.over, e.outcome, e.err = true, outcome, err
	return true
}

// finished reports whether the verdict is there, so that what still comes counts no more.
func (e *end) finished() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.over
}

// count adds to one of the counts.
func (e *end) count(which *int64, n int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	*which += int64(n)
}

// say sends the last record. The tunnel is closed in a while, whether it takes it or not.
func (e *end) say(outcome wire.Outcome, why string) error {
	e.hurry()
	e.mu.Lock()
	last := wire.Close{Outcome: outcome, Sent: uint64(e.sent), Taken: uint64(e.received), Why: why}
	e.mu.Unlock()
	return e.out.write(last.Record())
}

// hurry sees to it that the tunnel does not stay.
func (e *end) hurry() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.linger == nil {
		e.linger = time.AfterFunc(closeTime, e.expire)
	}
}

func (e *end) shut() { e.shutting.Do(func() { _ = e.tunnel.Close() }) }

// release closes the tunnel.
func (e *end) release() {
	e.shut()
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.linger != nil {
		e.linger.Stop()
	}
}

func (e *end) result() Result {
	e.mu.Lock()
	defer e.mu.Unlock()
	return Result{Sent: e.sent, Received: e.received, Dropped: e.dropped, Outcome: e.outcome, Err: e.err}
}

// cut is the error of a tunnel that does not come to its end.
func (e *end) cut(outcome wire.Outcome, why string) *CutError {
	e.mu.Lock()
	defer e.mu.Unlock()
	return &CutError{Received: e.received, Sent: e.sent, Outcome: outcome, Why: why}
}

// told is the error of a tunnel that the other end has given up.
func (e *end) told(last wire.Close) *CutError {
	why := last.Outcome.String()
	if last.Why != "" {
		why += ": " + last.Why
	}
	c := e.cut(last.Outcome, why)
	c.Sent = int64(min(last.Taken, uint64(c.Sent)))
	return c
}

// broken is the error of a tunnel that ended without a last record.
func (e *end) broken(err error) *CutError {
	if errors.Is(err, wire.ErrRecord) {
		return e.cut(wire.OutcomeProtocol, err.Error())
	}
	why := wire.OutcomeLost.String()
	if err != nil && !errors.Is(err, io.EOF) {
		why += ": " + cause(err)
	}
	return e.cut(wire.OutcomeLost, why)
}

// cause is what ended a stream of a session, without how far that had come: it carries more than what is counted here.
func cause(err error) string {
	var cut interface{ Unwrap() []error }
	if errors.Is(err, io.ErrUnexpectedEOF) && errors.As(err, &cut) {
		if all := cut.Unwrap(); len(all) > 0 {
			return all[len(all)-1].Error()
		}
	}
	return err.Error()
}

// own says in words of this end why it gives up.
func own(outcome wire.Outcome, why string) string {
	text := outcome.String()
	switch outcome {
	case wire.OutcomeReset:
		text = "the connection broke"
	case wire.OutcomeStopped:
		text = "told to stop"
	}
	if why != "" {
		text += ": " + why
	}
	return text
}

// Abort closes a connection so that its other end sees that something is missing: with a reset, not as after the last byte.
func Abort(conn net.Conn) {
	if hard, ok := conn.(interface{ SetLinger(sec int) error }); ok {
		_ = hard.SetLinger(0)
	}
	_ = conn.Close()
}

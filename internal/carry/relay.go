package carry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

// Relay passes the records of a tunnel on between its two legs, the near one of who asked and the far one, until both ends have said
// their last, ctx ends, or a leg breaks; then it closes both. It says the last word for a leg that broke without one, so that the other
// one hears why. Sent and Received of the result are bytes that came from the near leg and from the far one. Datagrams are dropped rather
// than kept waiting, see [Datagrams].
func Relay(ctx context.Context, near, far io.ReadWriteCloser, datagrams bool, budget *Budget) Result {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r := &relay{}
	r.near = newLeg("the user", near, datagrams, budget)
	r.far = newLeg("the cluster", far, datagrams, budget)
	stop := context.AfterFunc(ctx, func() {
		e := ended(ctx)
		r.give(r.near, e.Outcome, e.Why)
		r.give(r.far, e.Outcome, e.Why)
	})
	defer stop()
	var work sync.WaitGroup
	for _, l := range []*leg{r.near, r.far} {
		if l.queue != nil {
			work.Go(func() { l.send(ctx.Done()) })
		}
	}
	var passing sync.WaitGroup
	passing.Go(func() { r.pass(r.near, r.far) })
	r.pass(r.far, r.near)
	passing.Wait()
	stop()
	cancel()
	r.near.release()
	r.far.release()
	work.Wait()
	return r.result()
}

// leg is one of the two ways of a tunnel that is passed on.
type leg struct {
	end
	name  string
	queue *queue // of datagrams that go out here; nil for TCP

	last *wire.Close // that came from it; end.mu guards it
}

func newLeg(name string, conn io.ReadWriteCloser, datagrams bool, budget *Budget) *leg {
	l := &leg{name: name}
	l.tunnel, l.out.to, l.expire = conn, conn, l.shut
	if datagrams {
		l.queue = newQueue(budget)
	}
	return l
}

// send sends the datagrams that wait.
func (l *leg) send(done <-chan struct{}) {
	for {
		record := l.queue.next(done)
		if record == nil {
			return
		}
		if l.out.write(record) != nil {
			l.hurry()
			return
		}
	}
}

type relay struct{ near, far *leg }

// pass passes on what comes from one leg to the other, until it ends.
func (r *relay) pass(from, to *leg) {
	most := wire.ChunkRecord
	if to.queue != nil {
		most = maxDatagram
	}
	in := newReader(from.tunnel, most)
	for {
		kind, whole, err := in.next()
		switch {
		case err != nil:
			r.broke(from, to, err)
			return
		case kind == wire.RecordClose:
			r.closed(from, to, whole)
			return
		case kind == wire.RecordData && to.queue != nil:
			from.count(&from.sent, len(whole)-wire.RecordHeader)
			to.queue.put(append([]byte(nil), whole...))
		default:
			if kind == wire.RecordData {
				from.count(&from.sent, len(whole)-wire.RecordHeader)
			}
			if to.out.write(whole) != nil {
				to.hurry() // its own reader finds out why
				r.drain(in, from)
				return
			}
		}
	}
}

// drain reads what still comes from a leg whose other one takes no more, so that its last word is heard.
func (r *relay) drain(in *reader, from *leg) {
	from.hurry()
	for {
		kind, whole, err := in.next()
		if err != nil {
			return
		}
		if kind == wire.RecordClose {
			from.note(whole)
			return
		}
	}
}

// note keeps the last word of a leg.
func (l *leg) note(whole []byte) {
	if last, err := wire.ParseClose(whole[wire.RecordHeader:]); err == nil {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.last = &last
	}
}

// closed passes the last word of a leg on.
func (r *relay) closed(from, to *leg, whole []byte) {
	from.note(whole)
	to.verdict(wire.OutcomeComplete, nil)
	_ = to.out.write(whole)
	from.mu.Lock()
	complete := from.last != nil && from.last.Outcome == wire.OutcomeComplete
	from.mu.Unlock()
	if !complete { // the other end has nothing to say to that; else it may take its time to hand on what is there
		to.hurry()
	}
}

// broke tells the other leg that one has ended without a last word.
func (r *relay) broke(from, to *leg, err error) {
	why := "the connection to " + from.name + " ended"
	outcome := wire.OutcomeLost
	switch {
	case errors.Is(err, wire.ErrRecord):
		why, outcome = from.name+" sent what it may not", wire.OutcomeProtocol
		_ = from.out.write(wire.Close{Outcome: outcome, Why: err.Error()}.Record())
	case !errors.Is(err, io.EOF):
		why = fmt.Sprintf("the connection to %s broke: %s", from.name, cause(err))
	}
	from.hurry() // whoever writes to it, too
	if from.verdict(outcome, &CutError{Outcome: outcome, Why: why}) {
		r.give(to, outcome, why)
	}
}

// give says the last word to a leg, if nobody has.
func (r *relay) give(to *leg, outcome wire.Outcome, why string) {
	other := r.near
	if to == r.near {
		other = r.far
	}
	to.hurry()
	// what the other end took of it nobody knows: at most what was passed on
	_ = to.out.write(wire.Close{Outcome: outcome, Sent: uint64(other.result().Sent), Taken: uint64(to.result().Sent), Why: why}.Record())
	to.verdict(outcome, &CutError{Outcome: outcome, Why: why})
}

// result sums up both legs: what one of them said last, else what was seen.
func (r *relay) result() Result {
	near, far := r.near.result(), r.far.result()
	out := Result{Sent: near.Sent, Received: far.Sent}
	for _, l := range []*leg{r.near, r.far} {
		if l.queue != nil {
			out.Dropped += l.queue.close()
		}
	}
	fault := func(outcome wire.Outcome, why string) Result {
		out.Outcome = outcome
		if outcome != wire.OutcomeIdle {
			out.Err = &CutError{Sent: out.Sent, Received: out.Received, Outcome: outcome, Why: why}
		}
		return out
	}
	for _, l := range []*leg{r.far, r.near} {
		if last := l.last; last != nil && last.Outcome != wire.OutcomeComplete {
			why := last.Outcome.String()
			if last.Why != "" {
				why += ": " + last.Why
			}
			return fault(last.Outcome, l.name+" says: "+why)
		}
	}
	if r.near.last != nil && r.far.last != nil {
		return out
	}
	for _, l := range []Result{near, far} {
		var cut *CutError
		if errors.As(l.Err, &cut) {
			return fault(cut.Outcome, cut.Why)
		}
	}
	return fault(wire.OutcomeLost, "it ended without a last word")
}

package carry

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

// DefaultIdle is for how long a flow of datagrams may be silent in both directions before it ends: RFC 4787, REQ-5, asks of a NAT for two
// minutes at least.
const DefaultIdle = 2 * time.Minute

// maxDatagram is the largest body of a datagram of UDP over IPv4, in bytes.
const maxDatagram = 65507

// Datagrams carries one flow of datagrams: each Read of local is a datagram, and so is each Write. It ends when ctx does, when the flow
// was idle for so long, or when either side breaks; then both are closed. What could not be sent in a quarter of a second is dropped.
func Datagrams(ctx context.Context, local net.Conn, tunnel io.ReadWriteCloser, idle time.Duration, budget *Budget) Result {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	f := &flow{end: &end{tunnel: tunnel, out: writer{to: tunnel}}, local: local, queue: newQueue(budget)}
	f.expire = f.shut
	f.heard.Store(time.Now().UnixNano())
	stop := context.AfterFunc(ctx, func() {
		e := ended(ctx)
		f.fail(e.Outcome, e.Why)
	})
	var work sync.WaitGroup
	work.Go(f.read)
	work.Go(func() { f.send(ctx.Done()) })
	work.Go(func() { f.watch(ctx, idle) })
	f.down()
	stop()
	cancel()
	_ = local.Close()
	f.release()
	work.Wait()
	f.mu.Lock()
	f.dropped = f.queue.close()
	f.mu.Unlock()
	r := f.result()
	if r.Outcome == wire.OutcomeIdle {
		r.Err = nil // that is how flows end
	}
	return r
}

type flow struct {
	*end
	local net.Conn
	queue *queue
	heard atomic.Int64 // when a datagram last came from either side, Unix nanoseconds
}

// read takes what this side says.
func (f *flow) read() {
	buf := make([]byte, wire.RecordHeader+wire.MaxRecord)
	for {
		n, err := f.local.Read(buf[wire.RecordHeader:])
		switch {
		case err == nil && n <= maxDatagram:
			f.heard.Store(time.Now().UnixNano())
			wire.PutHeader(buf, wire.RecordData, n)
			f.queue.put(append([]byte(nil), buf[:wire.RecordHeader+n]...))
		case err == nil, unreachable(err):
		default:
			f.fail(wire.OutcomeReset, err.Error())
			return
		}
	}
}

// unreachable reports whether an error of UDP only says that nobody listens there now.
func unreachable(err error) bool {
	return errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.EHOSTUNREACH) || errors.Is(err, syscall.ENETUNREACH) ||
		errors.Is(err, syscall.EMSGSIZE)
}

// send sends what waits.
func (f *flow) send(done <-chan struct{}) {
	for {
		record := f.queue.next(done)
		if record == nil {
			return
		}
		if f.out.write(record) != nil {
			f.hurry()
			return
		}
		f.count(&f.sent, len(record)-wire.RecordHeader)
	}
}

// watch ends a flow that is idle.
func (f *flow) watch(ctx context.Context, idle time.Duration) {
	for {
		left := idle - time.Since(time.Unix(0, f.heard.Load()))
		if left <= 0 {
			f.fail(wire.OutcomeIdle, "")
			return
		}
		select {
		case <-time.After(left):
		case <-ctx.Done():
			return
		}
	}
}

// down hands on what comes from the tunnel, until its end.
func (f *flow) down() {
	in := newReader(f.tunnel, maxDatagram)
	for {
		kind, whole, err := in.next()
		if err != nil {
			if errors.Is(err, wire.ErrRecord) {
				f.fail(wire.OutcomeProtocol, err.Error())
			}
			cut := f.broken(err)
			f.verdict(cut.Outcome, cut)
			return
		}
		body := whole[wire.RecordHeader:]
		switch kind {
		case wire.RecordClose:
			last, err := wire.ParseClose(body)
			cut := f.told(last)
			if err != nil {
				cut = f.broken(err)
			}
			f.verdict(cut.Outcome, cut)
			return
		case wire.RecordEnd:
			f.fail(wire.OutcomeProtocol, "a flow of datagrams has no end")
		default:
			f.take(body)
		}
	}
}

// take hands on a datagram. One that is not taken is lost, as datagrams are.
func (f *flow) take(body []byte) {
	if f.finished() {
		return
	}
	f.heard.Store(time.Now().UnixNano())
	n, err := f.local.Write(body)
	f.count(&f.received, n)
	if err != nil && !unreachable(err) {
		f.fail(wire.OutcomeReset, err.Error())
	}
}

// fail gives the flow up, and tells the other end why.
func (f *flow) fail(outcome wire.Outcome, why string) {
	if f.verdict(outcome, f.cut(outcome, own(outcome, why))) {
		_ = f.local.Close()
		_ = f.say(outcome, why)
	}
}

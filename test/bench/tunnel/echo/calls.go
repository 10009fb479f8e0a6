package echo

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Calls counts how many streams a number of callers open at an address, use for one echo, and close, and how long that took in all. What
// began in the measured time has grace to come to its end.
func Calls(ctx context.Context, address string, callers int, measured, grace time.Duration) (done int64, took time.Duration, err error) {
	to, err := parse(address)
	if err != nil {
		return 0, 0, err
	}
	threads := min(callers, runtime.GOMAXPROCS(0))
	// Threads that wait in the kernel hold what Go allows to run. Where that is all there is, Go looks every 20 us whether to take it away.
	runtime.GOMAXPROCS(2*threads + 2)
	defer runtime.SetDefaultGOMAXPROCS()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var running sync.WaitGroup
	var ended atomic.Int64
	began := time.Now()
	for i := range threads {
		running.Go(func() {
			n, err := call(ctx, *to, (callers+i)/threads, began.Add(measured), grace)
			ended.Add(n)
			if err != nil {
				cancel(err)
			}
		})
	}
	running.Wait()
	return ended.Load(), time.Since(began), context.Cause(ctx)
}

// calls are those under way of callers that share a thread.
type calls struct {
	to    unix.SockaddrInet4 // each thread its own: it is written to when it is used
	says  []byte
	buf   []byte
	set   *set
	now   map[int]*oneCall // by its socket
	ended int64
}

type oneCall struct {
	said  bool
	lacks int // bytes of the answer
}

// call has callers begin calls until the time, and returns how many came to their end.
func call(ctx context.Context, to unix.SockaddrInet4, callers int, until time.Time, grace time.Duration) (int64, error) {
	set, err := newSet(callers)
	if err != nil {
		return 0, err
	}
	c := &calls{to: to, says: append(Hello(Kind, 0), make([]byte, Word)...), buf: make([]byte, Word), set: set, now: map[int]*oneCall{}}
	defer c.close()
	for range callers {
		if err := c.begin(); err != nil {
			return 0, err
		}
	}
	for len(c.now) > 0 {
		ready, err := set.wait(100 * time.Millisecond)
		over := time.Since(until)
		switch {
		case err != nil:
			return 0, err
		case ctx.Err() != nil:
			return 0, context.Cause(ctx)
		case over > grace:
			return 0, fmt.Errorf("%d calls did not come to their end within %s", len(c.now), grace)
		}
		for _, socket := range ready {
			ended, err := c.goOn(socket)
			if err == nil && ended && over < 0 {
				err = c.begin()
			}
			if err != nil {
				return 0, err
			}
		}
	}
	return c.ended, nil
}

func (c *calls) close() {
	for socket := range c.now {
		shut(socket)
	}
	c.set.close()
}

// begin begins a call. Within a machine the connection is mostly there when the kernel was asked for it.
func (c *calls) begin() error {
	socket, err := newSocket()
	if err != nil {
		return err
	}
	now := &oneCall{lacks: Word}
	c.now[socket] = now
	if err := SpeaksFirst(socket); err != nil {
		return err
	}
	if err := unix.Connect(socket, &c.to); err != nil && !errors.Is(err, unix.EINPROGRESS) {
		return fmt.Errorf("cannot connect: %w", err)
	}
	if err := now.say(socket, c.says); err != nil {
		return err
	}
	if !now.said {
		return c.set.add(socket, writable)
	}
	return c.set.add(socket, readable)
}

// say says all there is to say, if the connection is there.
func (o *oneCall) say(socket int, what []byte) error {
	n, err := unix.Write(socket, what)
	switch {
	case errors.Is(err, unix.EAGAIN):
		return nil
	case err != nil:
		return fmt.Errorf("cannot ask: %w", err)
	case n < len(what): // the buffer is empty, and larger
		return fmt.Errorf("cannot ask: the kernel took %d bytes of %d", n, len(what))
	}
	o.said = true
	return nil
}

// goOn has a call go on, which may then be over.
func (c *calls) goOn(socket int) (ended bool, err error) {
	now, ok := c.now[socket]
	if !ok {
		return false, nil
	}
	if !now.said {
		if err := now.say(socket, c.says); err != nil || !now.said {
			return false, err
		}
		return false, c.set.change(socket, readable)
	}
	n, err := unix.Read(socket, c.buf[:now.lacks])
	switch {
	case errors.Is(err, unix.EAGAIN):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("cannot read an answer: %w", err)
	case n == 0:
		return false, fmt.Errorf("cannot read an answer: the stream ended %d bytes before it", now.lacks)
	}
	if now.lacks -= n; now.lacks > 0 {
		return false, nil
	}
	c.ended++
	delete(c.now, socket)
	shut(socket)
	return true, nil
}

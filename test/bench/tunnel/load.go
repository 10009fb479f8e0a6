package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pipeopshq/pipeops-agent/test/bench/tunnel/echo"
)

// grace is how long something may take after it has been measured, in order to tell slow from stuck.
const grace = 20 * time.Second

// flow is what bulk did in a measured time.
type flow struct {
	bytes   []float64 // of each stream
	elapsed time.Duration
	cpu     time.Duration // of the processes of the tunnel
	lost    int64
}

func (f flow) total() (n float64) {
	for _, b := range f.bytes {
		n += b
	}
	return n
}

func (f flow) megabytesPerSecond() float64 { return f.total() / 1e6 / f.elapsed.Seconds() }
func (f flow) nanosecondsPerByte() float64 { return float64(f.cpu.Nanoseconds()) / f.total() }

// bulk moves bytes one way on a number of streams. When something has come on each, and after a quarter of the time for windows to grow,
// it counts what comes in the time; then it ends all streams in order and compares what was sent with what came.
func bulk(ctx context.Context, b *backend, public string, kind byte, streams int, measured time.Duration, cpu func() (time.Duration, error)) (f flow, err error) {
	t := newTransfer(streams)
	b.begin(t)
	ctx, cancel := context.WithTimeout(ctx, measured+measured/4+grace)
	defer cancel()
	var workers sync.WaitGroup
	var failed atomic.Pointer[error]
	var conns []net.Conn
	defer func() {
		for _, c := range conns {
			c.Close()
		}
		workers.Wait()
	}()
	for i := range streams {
		conn, err := open(ctx, public, kind, i)
		if err != nil {
			return f, err
		}
		conns = append(conns, conn)
		workers.Go(func() {
			if kind == upload {
				write(conn, &t.sent[i], t.stop)
				conn.Close()
			} else if err := read(conn, &t.received[i]); err != nil {
				failed.CompareAndSwap(nil, &err)
			}
		})
	}
	if err := flowing(ctx, t.received); err != nil {
		return f, err
	}
	if err := pause(ctx, measured/4); err != nil {
		return f, err
	}
	before, began := snapshot(t.received), time.Now()
	used, err := cpu()
	if err != nil {
		return f, err
	}
	if err := pause(ctx, measured); err != nil {
		return f, err
	}
	after := snapshot(t.received)
	f.elapsed = time.Since(began)
	if f.cpu, err = cpu(); err != nil {
		return f, err
	}
	f.cpu -= used
	for i := range after {
		f.bytes = append(f.bytes, after[i]-before[i])
	}
	if f.total() == 0 {
		return f, errors.New("nothing came in the measured time")
	}
	close(t.stop)
	for range streams {
		select {
		case <-t.ended:
		case <-ctx.Done():
			return f, fmt.Errorf("the streams did not end within %s", grace)
		}
	}
	cut := context.AfterFunc(ctx, func() {
		for _, c := range conns {
			c.Close()
		}
	})
	defer cut()
	workers.Wait()
	if err := failed.Load(); err != nil {
		return f, *err
	}
	f.lost = total(t.sent) - total(t.received)
	return f, nil
}

// flowing returns when something has come on every stream. Those with a handshake of their own take a while.
func flowing(ctx context.Context, received []atomic.Int64) error {
	for i := range received {
		for received[i].Load() == 0 {
			if err := pause(ctx, time.Millisecond); err != nil {
				return fmt.Errorf("nothing came on stream %d: %w", i, err)
			}
		}
	}
	return nil
}

func snapshot(counts []atomic.Int64) []float64 {
	values := make([]float64, len(counts))
	for i := range counts {
		values[i] = float64(counts[i].Load())
	}
	return values
}

// pause lets the time pass, of a measurement or between two looks.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// echoes measures so many kilobytes there and back on one stream, one after the other, and returns what each took, in microseconds. Those
// of the warm-up come before.
func echoes(ctx context.Context, public string, warmUp, n int) ([]float64, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(warmUp+n)*20*time.Millisecond+grace)
	defer cancel()
	conn, err := open(ctx, public, echo.Kind, 0)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	buf := make([]byte, echo.Word)
	took := make([]float64, 0, n)
	for i := range warmUp + n {
		began := time.Now()
		if err := ask(conn, buf); err != nil {
			return nil, errors.Join(ctx.Err(), err)
		}
		if i >= warmUp {
			took = append(took, float64(time.Since(began).Nanoseconds())/1e3)
		}
	}
	return took, nil
}

// echoesBeside are echoes beside so many streams that the backend pours into, and the load reads, or does not.
func echoesBeside(ctx context.Context, on *stand, streams int, reads bool) ([]float64, error) {
	t := newTransfer(max(streams, 1)) // the echo has a number, too
	on.backend.begin(t)
	var readers sync.WaitGroup
	defer readers.Wait()
	for i := range streams {
		conn, err := open(ctx, on.public, download, i)
		if err != nil {
			return nil, err
		}
		defer conn.Close()
		if reads {
			readers.Go(func() { _ = read(conn, &t.received[i]) }) // it is cut in the end
		}
	}
	for last := int64(-1); last != total(t.sent) && !reads; { // until the ways to those who do not read are full
		last = total(t.sent)
		if err := pause(ctx, 100*time.Millisecond); err != nil {
			return nil, err
		}
	}
	if reads {
		if err := flowing(ctx, t.received[:streams]); err != nil {
			return nil, err
		}
	}
	return echoes(ctx, on.public, besideCount/10, besideCount)
}

func ask(conn net.Conn, buf []byte) error {
	if _, err := conn.Write(buf); err != nil {
		return fmt.Errorf("cannot ask: %w", err)
	}
	if _, err := io.ReadFull(conn, buf); err != nil {
		return fmt.Errorf("cannot read an answer: %w", err)
	}
	return nil
}

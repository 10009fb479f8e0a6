package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"

	"github.com/pipeopshq/pipeops-agent/test/bench/tunnel/echo"
)

// The kinds of streams, besides those for echoes.
const (
	download = 'd' // the backend writes
	upload   = 'u' // the backend reads
)

const portion = 32 << 10 // bytes of a bulk write

// transfer is bulk on a number of streams, as both ends of it count in the same process.
type transfer struct {
	sent, received []atomic.Int64
	stop           chan struct{} // closed when who writes shall end
	ended          chan struct{} // gets one for each stream that the backend is done with
}

func newTransfer(streams int) *transfer {
	return &transfer{
		sent: make([]atomic.Int64, streams), received: make([]atomic.Int64, streams),
		stop: make(chan struct{}), ended: make(chan struct{}, streams),
	}
}

func total(counts []atomic.Int64) (n int64) {
	for i := range counts {
		n += counts[i].Load()
	}
	return n
}

// backend is what the agents bring streams to. Where nobody begins a transfer, it counts nothing and writes until it is cut.
type backend struct {
	mu  sync.Mutex
	now *transfer
}

func newBackend() *backend { return &backend{now: newTransfer(maxBulk)} }

const maxBulk = 128 // streams at a time

func (b *backend) begin(t *transfer) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.now = t
}

// listen listens where agents bring streams to.
func (b *backend) listen(address string) (*echo.Server, error) {
	return echo.Listen(address, b.handle)
}

// handle writes or reads on a stream.
func (b *backend) handle(conn net.Conn, hello [echo.HelloSize]byte, came int) {
	defer conn.Close()
	b.mu.Lock()
	t := b.now
	b.mu.Unlock()
	i := int(binary.BigEndian.Uint32(hello[1:]))
	if i >= len(t.sent) {
		return
	}
	switch hello[0] {
	case download:
		write(conn, &t.sent[i], t.stop)
	case upload:
		t.received[i].Add(int64(came))
		_ = read(conn, &t.received[i]) // what it lacks shows in the counts
	}
	conn.Close()
	select {
	case t.ended <- struct{}{}:
	default: // a stream of nobody's transfer
	}
}

// write writes and counts until stop is closed or the connection is cut. What was written in part counts, too.
func write(conn net.Conn, n *atomic.Int64, stop <-chan struct{}) {
	buf := make([]byte, portion)
	for {
		select {
		case <-stop:
			return
		default:
		}
		sent, err := conn.Write(buf)
		n.Add(int64(sent))
		if err != nil {
			return
		}
	}
}

// read reads and counts until the end, which it returns unless it is a proper one.
func read(conn net.Conn, n *atomic.Int64) error {
	buf := make([]byte, 2*portion)
	for {
		got, err := conn.Read(buf)
		n.Add(int64(got))
		switch {
		case err == nil:
		case errors.Is(err, io.EOF):
			return nil
		default:
			return fmt.Errorf("cannot read on: %w", err)
		}
	}
}

// open makes a stream through the gateway.
func open(ctx context.Context, public string, kind byte, number int) (net.Conn, error) {
	conn, err := plainDial(ctx, public)
	if err != nil {
		return nil, fmt.Errorf("cannot connect to the gateway: %w", err)
	}
	if _, err := conn.Write(echo.Hello(kind, number)); err != nil {
		conn.Close()
		return nil, fmt.Errorf("cannot write to the gateway: %w", err)
	}
	return conn, nil
}

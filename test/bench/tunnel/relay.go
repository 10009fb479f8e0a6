package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync/atomic"

	"github.com/pipeopshq/pipeops-agent/internal/session"
)

// relay copies between connections. Contenders that bring no relay of their own all have this one.
type relay struct{ buffers session.Buffers }

// join copies both ways. Whichever ends last closes both; join does not wait for it.
func (r *relay) join(a, b net.Conn) {
	var over atomic.Bool
	go r.pass(a, b, &over)
	r.pass(b, a, &over)
}

// pass copies until from ends, and then ends what to is told, unless the other way is over as well: both are closed then.
func (r *relay) pass(to, from net.Conn, over *atomic.Bool) {
	err := r.copy(to, from)
	half, ok := to.(interface{ CloseWrite() error })
	if over.Swap(true) || !ok || !errors.Is(err, io.EOF) {
		to.Close()
		from.Close()
		return
	}
	_ = half.CloseWrite() // if it fails, the other way ends as well
}

// copy copies until an error, which is never nil. It is not io.Copy, which would splice plain TCP within the kernel: no tunnel can, so it
// would be no limit of theirs.
func (r *relay) copy(to, from net.Conn) error {
	buf := r.buffers.Get()
	defer r.buffers.Put(buf)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			if _, werr := to.Write(buf[:n]); werr != nil {
				return werr
			}
		}
		if err != nil {
			return err
		}
	}
}

// enter is the gateway's part: what comes to the public address goes into the tunnel.
func (r *relay) enter(ctx context.Context, public string, open func() (net.Conn, error)) error {
	return serve(ctx, public, func(conn net.Conn) {
		stream, err := open()
		if err != nil {
			conn.Close()
			return
		}
		r.join(conn, stream)
	})
}

// leave is the agent's part: what comes out of the tunnel goes to the backend.
func (r *relay) leave(ctx context.Context, backend string, accept func() (net.Conn, error)) error {
	for {
		stream, err := accept()
		if err != nil {
			return fmt.Errorf("cannot accept a stream: %w", err)
		}
		go r.deliver(ctx, backend, stream)
	}
}

func (r *relay) deliver(ctx context.Context, backend string, stream net.Conn) {
	conn, err := plainDial(ctx, backend)
	if err != nil {
		stream.Close()
		return
	}
	r.join(stream, conn)
}

// serve listens and handles each connection on its own, until the process ends.
func serve(ctx context.Context, address string, handle func(net.Conn)) error {
	l, ended, err := plainListen(ctx, address, handle)
	if err != nil {
		return err
	}
	defer l.Close()
	return <-ended
}

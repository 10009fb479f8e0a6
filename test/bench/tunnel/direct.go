package main

import (
	"context"
	"crypto/tls"
	"net"
)

// The limits: a connection of its own for each stream, which the gateway makes, since the agent cannot know that one is wanted.

func gatewayOfTCP(ctx context.Context, r role) error {
	return new(relay).enter(ctx, r.Public, func() (net.Conn, error) { return r.dialOnce(ctx) })
}

func agentOfTCP(ctx context.Context, r role) error {
	var rel relay
	return serve(ctx, r.Tunnel, func(conn net.Conn) {
		if r.tune(conn) != nil {
			conn.Close()
			return
		}
		rel.deliver(ctx, r.Backend, conn)
	})
}

func gatewayOfTLS(ctx context.Context, r role) error { return enterTLS(ctx, r, plain) }
func agentOfTLS(ctx context.Context, r role) error   { return leaveTLS(ctx, r, plain) }

// With a goroutine that reads, as every session has one, it is the floor under what a session can do for a small request.

func gatewayOfHanded(ctx context.Context, r role) error { return enterTLS(ctx, r, handOver) }
func agentOfHanded(ctx context.Context, r role) error   { return leaveTLS(ctx, r, handOver) }

func plain(conn net.Conn) net.Conn { return conn }

func enterTLS(ctx context.Context, r role, wrap func(net.Conn) net.Conn) error {
	config, err := clientTLS(r)
	if err != nil {
		return err
	}
	return new(relay).enter(ctx, r.Public, func() (net.Conn, error) {
		conn, err := r.dialOnce(ctx)
		if err != nil {
			return nil, err
		}
		c := tls.Client(conn, config)
		if err := c.HandshakeContext(ctx); err != nil {
			conn.Close()
			return nil, err
		}
		return wrap(c), nil
	})
}

func leaveTLS(ctx context.Context, r role, wrap func(net.Conn) net.Conn) error {
	config, err := serverTLS(r)
	if err != nil {
		return err
	}
	var rel relay
	return serve(ctx, r.Tunnel, func(conn net.Conn) {
		if r.tune(conn) != nil {
			conn.Close()
			return
		}
		c := tls.Server(conn, config)
		if c.HandshakeContext(ctx) != nil {
			conn.Close()
			return
		}
		rel.deliver(ctx, r.Backend, wrap(c))
	})
}

func (r role) dialOnce(ctx context.Context) (net.Conn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", r.Tunnel)
	if err != nil {
		return nil, err
	}
	if err := r.tune(conn); err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}

// handed is a connection that one goroutine reads for another.
type handed struct {
	net.Conn
	pieces chan []byte
	taken  chan struct{}
	rest   []byte
	err    error // once pieces is closed
}

func handOver(conn net.Conn) net.Conn {
	h := &handed{Conn: conn, pieces: make(chan []byte), taken: make(chan struct{}, 1)}
	go func() {
		defer close(h.pieces)
		buf := make([]byte, portion)
		for {
			n, err := conn.Read(buf)
			if n > 0 {
				h.pieces <- buf[:n]
				<-h.taken
			}
			if err != nil {
				h.err = err
				return
			}
		}
	}()
	return h
}

func (h *handed) Read(p []byte) (int, error) {
	if len(h.rest) == 0 {
		piece, more := <-h.pieces
		if !more {
			return 0, h.err
		}
		h.rest = piece
	}
	n := copy(p, h.rest)
	if h.rest = h.rest[n:]; len(h.rest) == 0 {
		h.taken <- struct{}{}
	}
	return n, nil
}

func (h *handed) CloseWrite() error { return h.Conn.(*tls.Conn).CloseWrite() }

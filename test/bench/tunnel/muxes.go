package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/hashicorp/yamux"

	"github.com/pipeopshq/pipeops-agent/internal/cork"
	"github.com/pipeopshq/pipeops-agent/internal/mux"
	"github.com/pipeopshq/pipeops-agent/internal/session"
)

// Ours and stock: one TLS connection that the agent makes, and the further ones of ours, which are there from the start: an agent makes one
// when a stream says much and has none to itself. The relays round either are the same.

func gatewayOfOurs(ctx context.Context, r role) error {
	conns, err := acceptTunnels(ctx, r, 1+mux.Lanes)
	if err != nil {
		return err
	}
	s := mux.New(cork.Over(conns[0]), mux.Config{})
	for number := uint32(1); number <= mux.Lanes; number++ {
		if _, err := s.Attach(cork.Over(conns[number]), number, false); err != nil {
			return err
		}
	}
	return new(relay).enter(ctx, r.Public, func() (net.Conn, error) { return s.Open() })
}

// agentOfOurs pings as an agent does, once at the start and then every [session.KeepAlive]: windows grow by what a round trip takes.
func agentOfOurs(ctx context.Context, r role) error {
	var conns []net.Conn
	for range 1 + mux.Lanes {
		conn, err := dialTunnel(ctx, r)
		if err != nil {
			return err
		}
		conns = append(conns, conn)
	}
	return leaveOurs(ctx, r, conns...)
}

// leaveOurs is the agent's end on a connection, and further ones if there are any.
func leaveOurs(ctx context.Context, r role, conns ...net.Conn) error {
	s := mux.New(cork.Over(conns[0]), mux.Config{Client: true})
	for i, further := range conns[1:] {
		number := uint32(1 + i)
		if _, err := s.Attach(cork.Over(further), number, true); err != nil {
			return err
		}
		if err := s.PingLane(ctx, number); err != nil {
			return err
		}
	}
	go func() {
		for {
			if _, err := s.Ping(ctx); err != nil {
				return
			}
			time.Sleep(session.KeepAlive)
		}
	}()
	return new(relay).leave(ctx, r.Backend, func() (net.Conn, error) { return s.Accept() })
}

func gatewayOfStock(ctx context.Context, r role) error {
	conn, err := acceptTunnel(ctx, r)
	if err != nil {
		return err
	}
	s, err := yamux.Server(conn, stockConfig())
	if err != nil {
		return err
	}
	return new(relay).enter(ctx, r.Public, func() (net.Conn, error) {
		st, err := s.OpenStream()
		if err != nil {
			return nil, err
		}
		return stockStream{st}, nil
	})
}

func agentOfStock(ctx context.Context, r role) error {
	conn, err := dialTunnel(ctx, r)
	if err != nil {
		return err
	}
	s, err := yamux.Client(conn, stockConfig())
	if err != nil {
		return err
	}
	return new(relay).leave(ctx, r.Backend, func() (net.Conn, error) {
		st, err := s.AcceptStream()
		if err != nil {
			return nil, err
		}
		return stockStream{st}, nil
	})
}

func stockConfig() *yamux.Config {
	c := yamux.DefaultConfig()
	c.LogOutput = io.Discard
	return c
}

// stockStream is a yamux stream, whose Close closes what it says only.
type stockStream struct{ *yamux.Stream }

func (s stockStream) CloseWrite() error { return s.Stream.Close() }

func (s stockStream) Close() error {
	_ = s.SetReadDeadline(time.Unix(1, 0)) // wakes the reader; it never fails
	return s.Stream.Close()
}

// acceptTunnel waits for the agent.
func acceptTunnel(ctx context.Context, r role) (net.Conn, error) {
	conns, err := acceptTunnels(ctx, r, 1)
	if err != nil {
		return nil, err
	}
	return conns[0], nil
}

// acceptTunnels waits for so many connections of the agent.
func acceptTunnels(ctx context.Context, r role, n int) ([]net.Conn, error) {
	config, err := serverTLS(r)
	if err != nil {
		return nil, err
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", r.Tunnel)
	if err != nil {
		return nil, fmt.Errorf("cannot listen: %w", err)
	}
	defer l.Close()
	var conns []net.Conn
	for len(conns) < n {
		raw, err := l.Accept()
		if err != nil {
			return nil, fmt.Errorf("cannot accept the agent: %w", err)
		}
		if err := r.tune(raw); err != nil {
			return nil, err
		}
		conn := tls.Server(cork.Under(raw), config)
		if err := conn.HandshakeContext(ctx); err != nil {
			return nil, fmt.Errorf("cannot shake hands with the agent: %w", err)
		}
		conns = append(conns, conn)
	}
	return conns, nil
}

func dialTunnel(ctx context.Context, r role) (net.Conn, error) {
	config, err := clientTLS(r)
	if err != nil {
		return nil, err
	}
	raw, err := r.dial(ctx)
	if err != nil {
		return nil, err
	}
	conn := tls.Client(cork.Under(raw), config)
	if err := conn.HandshakeContext(ctx); err != nil {
		return nil, fmt.Errorf("cannot shake hands with the gateway: %w", err)
	}
	return conn, nil
}

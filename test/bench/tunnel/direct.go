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

func gatewayOfTLS(ctx context.Context, r role) error {
	config, err := clientTLS(r)
	if err != nil {
		return err
	}
	return new(relay).enter(ctx, r.Public, func() (net.Conn, error) {
		conn, err := r.dialOnce(ctx)
		if err != nil {
			return nil, err
		}
		return tls.Client(conn, config), nil // the first write shakes hands
	})
}

func agentOfTLS(ctx context.Context, r role) error {
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
		rel.deliver(ctx, r.Backend, tls.Server(conn, config))
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

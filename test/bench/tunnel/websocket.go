package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/cork"
	"github.com/pipeopshq/pipeops-agent/internal/mux"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
	"github.com/pipeopshq/pipeops-agent/internal/wsconn"
)

// Ours on a WebSocket: as agents and gateways do where only HTTPS passes.

func gatewayOfOursWSS(ctx context.Context, r role) error {
	conn, err := acceptWebSocket(ctx, r)
	if err != nil {
		return err
	}
	s := mux.New(cork.Over(conn), mux.Config{})
	return new(relay).enter(ctx, r.Public, func() (net.Conn, error) { return s.Open() })
}

func agentOfOursWSS(ctx context.Context, r role) error {
	conn, err := dialTunnel(ctx, r)
	if err != nil {
		return err
	}
	ws, err := wsconn.Dial(ctx, conn, wire.GatewayName, wire.PathTunnel, wire.Subprotocol, &wsconn.Buffers{})
	if err != nil {
		return fmt.Errorf("cannot upgrade: %w", err)
	}
	return leaveOurs(ctx, r, ws, nil)
}

// acceptWebSocket waits for the agent, and serves no one else.
func acceptWebSocket(ctx context.Context, r role) (net.Conn, error) {
	config, err := serverTLS(r)
	if err != nil {
		return nil, err
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", r.Tunnel)
	if err != nil {
		return nil, fmt.Errorf("cannot listen: %w", err)
	}
	defer l.Close()
	accepted := make(chan net.Conn, 1)
	failed := make(chan error, 1)
	server := &http.Server{TLSConfig: config, ReadHeaderTimeout: 10 * time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		ws, err := wsconn.Accept(w, req, wire.Subprotocol, &wsconn.Buffers{})
		if err != nil {
			failed <- err
			return
		}
		if err := r.tune(ws); err != nil {
			failed <- err
			return
		}
		accepted <- ws
	})}
	go func() {
		if err := server.ServeTLS(cork.Listener{Listener: l}, "", ""); !errors.Is(err, net.ErrClosed) {
			failed <- err
		}
	}()
	select {
	case conn := <-accepted:
		return conn, nil
	case err := <-failed:
		return nil, fmt.Errorf("cannot accept the agent: %w", err)
	}
}

package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/cork"
	"github.com/pipeopshq/pipeops-agent/internal/mux"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
	"github.com/pipeopshq/pipeops-agent/internal/wsconn"
)

// Ours on a WebSocket: as agents and gateways do where only HTTPS passes.

func gatewayOfOursWSS(ctx context.Context, r role) error {
	conn, err := acceptTunnel(ctx, r)
	if err != nil {
		return err
	}
	ws, err := newUpgrader(&wsconn.Buffers{}).upgrade(ctx, conn)
	if err != nil {
		return err
	}
	s := mux.New(cork.Over(ws), mux.Config{})
	return new(relay).enter(ctx, r.Public, func() (net.Conn, error) { return s.Open() })
}

func agentOfOursWSS(ctx context.Context, r role) error {
	conn, err := dialTunnel(ctx, r)
	if err != nil {
		return err
	}
	ws, err := dialWebSocket(ctx, conn, &wsconn.Buffers{})
	if err != nil {
		return err
	}
	return leaveOurs(ctx, r, ws)
}

func dialWebSocket(ctx context.Context, conn net.Conn, messages *wsconn.Buffers) (net.Conn, error) {
	ws, err := wsconn.Dial(ctx, conn, wire.GatewayName, wire.PathTunnel, wire.Subprotocol, messages)
	if err != nil {
		return nil, fmt.Errorf("cannot upgrade: %w", err)
	}
	return ws, nil
}

// upgrader is an HTTP server that takes connections one by one, each for the one request that makes a WebSocket of it.
type upgrader struct {
	messages *wsconn.Buffers
	conns    chan net.Conn
	serving  sync.Once
}

func newUpgrader(messages *wsconn.Buffers) *upgrader {
	return &upgrader{messages: messages, conns: make(chan net.Conn)}
}

// upgradable is a connection with where to tell what became of it.
type upgradable struct {
	net.Conn
	became chan upgraded
}

type upgraded struct {
	conn net.Conn
	err  error
}

// NetConn is the connection below.
func (u *upgradable) NetConn() net.Conn { return u.Conn }

type upgradableKey struct{}

// upgrade answers the request of an agent and returns the WebSocket.
func (u *upgrader) upgrade(ctx context.Context, conn net.Conn) (net.Conn, error) {
	u.serving.Do(func() { go u.serve(ctx) })
	c := &upgradable{conn, make(chan upgraded, 1)}
	select {
	case u.conns <- c:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	select {
	case became := <-c.became:
		return became.conn, became.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (u *upgrader) serve(ctx context.Context) {
	server := &http.Server{
		ReadHeaderTimeout: 10 * time.Second,
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, upgradableKey{}, c)
		},
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			became := r.Context().Value(upgradableKey{}).(*upgradable).became
			ws, err := wsconn.Accept(w, r, wire.Subprotocol, u.messages)
			if err != nil {
				became <- upgraded{nil, fmt.Errorf("cannot accept the agent: %w", err)}
				return
			}
			became <- upgraded{ws, nil}
		}),
	}
	_ = server.Serve(fed{ctx, u.conns}) // until the process ends
}

// fed is a listener whose connections somebody hands to it.
type fed struct {
	ctx   context.Context //nolint:containedctx // that of the process
	conns chan net.Conn
}

// Accept is that of net.Listener.
func (f fed) Accept() (net.Conn, error) {
	select {
	case c := <-f.conns:
		return c, nil
	case <-f.ctx.Done():
		return nil, net.ErrClosed
	}
}

// Close is that of net.Listener. The connections are closed by who hands them over.
func (f fed) Close() error { return nil }

// Addr is that of net.Listener.
func (f fed) Addr() net.Addr { return &net.TCPAddr{} }

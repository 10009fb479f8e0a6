package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"syscall"

	"github.com/pipeopshq/pipeops-agent/test/bench/tunnel/echo"
)

// The connections that are the same for every contender: of the load to a gateway, and of an agent to the backend. They cost as little as they
// can, as what is compared is what lies between: the kernel does not probe them, and no goroutine waits to cancel a dial to this machine.

func plainDial(ctx context.Context, address string) (net.Conn, error) {
	dialer := net.Dialer{KeepAlive: -1, Control: speaksFirst}
	return dialer.DialContext(context.WithoutCancel(ctx), "tcp", address)
}

// speaksFirst: all streams begin with a word of whoever opens them.
func speaksFirst(_, _ string, socket syscall.RawConn) (err error) {
	cannot := socket.Control(func(fd uintptr) { err = echo.SpeaksFirst(int(fd)) })
	return errors.Join(cannot, err)
}

// plainListen listens, and has each connection handled in a goroutine of its own until the listener ends. ended tells why that was.
func plainListen(ctx context.Context, address string, handle func(net.Conn)) (l net.Listener, ended <-chan error, err error) {
	config := net.ListenConfig{KeepAlive: -1}
	if l, err = config.Listen(ctx, "tcp", address); err != nil {
		return nil, nil, fmt.Errorf("cannot listen: %w", err)
	}
	end := make(chan error, 1)
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				end <- fmt.Errorf("cannot accept a connection: %w", err)
				return
			}
			go handle(conn)
		}
	}()
	return l, end, nil
}

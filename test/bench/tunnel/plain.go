package main

import (
	"context"
	"fmt"
	"net"
)

// The connections that are the same for every contender: of the load to a gateway, and of an agent to the backend. They cost as little as they
// can, as what is compared is what lies between: the kernel does not probe them, and no goroutine waits to cancel a dial to this machine.

func plainDial(ctx context.Context, address string) (net.Conn, error) {
	dialer := net.Dialer{KeepAlive: -1}
	return dialer.DialContext(context.WithoutCancel(ctx), "tcp", address)
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

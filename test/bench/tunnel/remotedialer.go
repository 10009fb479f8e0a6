package main

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"

	"github.com/gorilla/websocket"
	"github.com/rancher/remotedialer"
	"github.com/sirupsen/logrus"
)

const theAgent = "agent"

func gatewayOfRemotedialer(ctx context.Context, r role) error {
	logrus.SetLevel(logrus.ErrorLevel)
	server := remotedialer.New(func(*http.Request) (string, bool, error) { return theAgent, true, nil }, remotedialer.DefaultErrorWriter)
	config, err := serverTLS(r)
	if err != nil {
		return err
	}
	ended := make(chan error, 2)
	go func() {
		s := &http.Server{Addr: r.Tunnel, Handler: server, TLSConfig: config}
		ended <- s.ListenAndServeTLS("", "")
	}()
	go func() {
		dial := server.Dialer(theAgent)
		ended <- new(relay).enter(ctx, r.Public, func() (net.Conn, error) { return dial(ctx, "tcp", r.Backend) })
	}()
	return <-ended
}

func agentOfRemotedialer(ctx context.Context, r role) error {
	logrus.SetOutput(io.Discard)
	config, err := clientTLS(r)
	if err != nil {
		return err
	}
	if err := await(ctx, r.Tunnel); err != nil {
		return err
	}
	allow := func(proto, address string) bool { return address == r.Backend }
	err = remotedialer.ClientConnect(ctx, "wss://"+r.Tunnel, nil, &websocket.Dialer{TLSClientConfig: config}, allow, nil)
	return errors.Join(errors.New("the session ended"), err)
}

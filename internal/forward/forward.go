// Package forward is a user's end of connections through a gateway: it listens on the user's machine, and makes of each connection, or of
// each flow of datagrams, one to a service or a pod of a cluster.
package forward

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/carry"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
	"github.com/pipeopshq/pipeops-agent/internal/refusal"
	"github.com/pipeopshq/pipeops-agent/internal/session"
	"github.com/pipeopshq/pipeops-agent/internal/transport"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

// openTimeout bounds how long it may take to reach the gateway and, through it, the target.
const openTimeout = time.Minute

// Access is what a user needs to reach a cluster through a gateway.
type Access struct {
	Gateway string // host:port
	CA      []byte // PEM of its CA
	Cluster string
	Token   string
	Dialer  *transport.Dialer // nil reaches it directly
}

// Check asks the gateway whether the token is good and the cluster is connected, without connecting to the target.
func (a Access) Check(ctx context.Context, t wire.Target) error {
	ctx, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	conn, response, err := a.ask(ctx, t, http.Header{}) //nolint:bodyclose // it ends with the connection
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	if response.StatusCode == http.StatusUpgradeRequired && response.Header.Get("Upgrade") == wire.Connect {
		return nil
	}
	return a.refused(response)
}

// Open connects to a target. What is written and read is what package carry carries. The error is a reason.
func (a Access) Open(ctx context.Context, t wire.Target) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	conn, response, err := a.ask(ctx, t, http.Header{"Connection": {"Upgrade"}, "Upgrade": {wire.Connect}}) //nolint:bodyclose // it ends with the connection
	if err != nil {
		return nil, err
	}
	if response.StatusCode == http.StatusSwitchingProtocols && wire.AsksConnect(response.Header) {
		return conn, nil
	}
	defer func() { _ = conn.Close() }()
	return nil, a.refused(response)
}

// refused makes a reason of an answer.
func (a Access) refused(response *http.Response) error {
	if response.StatusCode == http.StatusNotFound && response.Header.Get("Content-Type") != "application/json" {
		return reason.Newf(reason.GatewayRefused, "%s knows nothing of connections; it is older than this program", a.Gateway)
	}
	return refusal.Read(response)
}

// ask sends a request and reads the header of its answer. No time limit is on the connection any more.
func (a Access) ask(ctx context.Context, t wire.Target, header http.Header) (net.Conn, *http.Response, error) {
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(a.CA) {
		return nil, nil, reason.Newf(reason.KubeconfigInvalid, "it has no certificate of the gateway's CA")
	}
	host, _, err := net.SplitHostPort(a.Gateway)
	if err != nil {
		return nil, nil, reason.New(reason.Usage, a.Gateway, err)
	}
	conn, err := a.Dialer.HTTPS(ctx, a.Gateway, func(now func() time.Time, protocols ...string) *tls.Config {
		return &tls.Config{RootCAs: roots, ServerName: host, MinVersion: tls.VersionTLS13, NextProtos: protocols, Time: now}
	})
	if err != nil {
		return nil, nil, err
	}
	_ = session.Tune(conn) // a gateway whose machine is gone is noticed, and little waits in the kernel
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	fail := func(err error) (net.Conn, *http.Response, error) {
		stop()
		_ = conn.Close()
		return nil, nil, transport.Explain(err, a.Gateway)
	}
	header.Set("Authorization", "Bearer "+a.Token)
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+a.Gateway+wire.PathConnect+"/"+a.Cluster+t.Path(), nil)
	if err != nil {
		return fail(err)
	}
	request.Header = header
	if err := request.Write(conn); err != nil {
		return fail(err)
	}
	read := bufio.NewReader(&limited{conn, wire.MaxHeader})
	response, err := http.ReadResponse(read, request)
	if err != nil {
		return fail(fmt.Errorf("the answer was cut: %w", err))
	}
	if !stop() {
		return fail(context.Cause(ctx))
	}
	if response.StatusCode == http.StatusSwitchingProtocols {
		early := make([]byte, read.Buffered())
		_, _ = io.ReadFull(read, early)
		return carry.Prefixed(conn, early), response, nil
	}
	return conn, response, nil
}

// limited is a connection of which so much is read at most.
type limited struct {
	net.Conn
	left int
}

func (l *limited) Read(p []byte) (int, error) {
	if l.left <= 0 {
		return 0, errors.New("it is too long")
	}
	n, err := l.Conn.Read(p[:min(len(p), l.left)])
	l.left -= n
	return n, err
}

// Event is something that happened, as a program reads it.
type Event struct {
	Time     time.Time `json:"time"`
	Kind     string    `json:"kind"` // "listening", "opened", "ended", "refused"
	Network  string    `json:"network"`
	Target   string    `json:"target"`
	Listen   string    `json:"listen,omitempty"`
	From     string    `json:"from,omitempty"` // the address of the program
	Sent     int64     `json:"sent,omitempty"`
	Received int64     `json:"received,omitempty"`
	Dropped  int64     `json:"dropped,omitempty"` // datagrams
	Code     string    `json:"code,omitempty"`
	Message  string    `json:"message,omitempty"`
}

// Forward makes connections to one target.
type Forward struct {
	Access Access
	Target wire.Target
	Tell   func(Event) // is called by one goroutine at a time
	tell   chan Event
}

// Run listens at an address until ctx ends, and returns nil then. A connection that fails is told, and ends nothing else.
func (f Forward) Run(ctx context.Context, listen string) error {
	f.tell = make(chan Event, maxUntold)
	told := make(chan struct{})
	go func() {
		defer close(told)
		for e := range f.tell {
			f.Tell(e)
		}
	}()
	defer func() {
		close(f.tell)
		<-told
	}()
	if f.Target.Network == "udp" {
		return f.udp(ctx, listen)
	}
	return f.tcp(ctx, listen)
}

// event tells what happened.
func (f Forward) event(kind string, from net.Addr, result carry.Result, err error) {
	e := Event{
		Time: time.Now().UTC(), Kind: kind, Network: f.Target.Network, Target: f.Target.String(),
		Sent: result.Sent, Received: result.Received, Dropped: result.Dropped,
	}
	if kind == "listening" {
		e.Listen = from.String()
	} else {
		e.From = from.String()
	}
	if err != nil {
		var known *reason.Error
		e.Code, e.Message = string(reason.ConnectCut), err.Error()
		if errors.As(err, &known) {
			e.Code = string(known.Code)
		}
	}
	select {
	case f.tell <- e:
	default: // nobody reads what is told: no connection waits for that
	}
}

// maxUntold is how many events wait for who is told; above it they are lost.
const maxUntold = 1024

// cannot says why nobody can listen at an address.
func cannot(listen string, err error) error {
	return reason.New(reason.Usage, "cannot listen on "+listen, err)
}

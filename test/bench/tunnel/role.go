package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime/pprof"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pipeopshq/pipeops-agent/internal/session"
)

// role is what a process of the benchmark is to do. It travels as JSON in its arguments.
type role struct {
	Contender  string
	End        string // gateway, agent, backend or load
	Public     string // where the gateway takes connections
	Tunnel     string // where the gateway and the agent meet
	Backend    string // where the agent brings them to
	Folder     string // with the certificate
	Congestion string // congestion control of the tunnel's sockets; "" means the system's
	Seconds    float64
	Bulk       int           // streams of a load on the slow link
	Grow       time.Duration // how long they run before they are measured
	Agents     int           // of a process that has some
	All        int           // agents of all processes
	First      int           // which of the processes that have agents it is
	Profile    string        // file for a processor profile of the process; "" means none
}

// contender is a tunnel that is measured.
type contender struct {
	name           string
	what           string
	gateway, agent func(context.Context, role) error // each serves until its process is ended
	agentListens   bool                              // at the address of the tunnel, else the gateway does
}

// contenders are in the order of the table.
func contenders() []contender {
	return []contender{
		{"tcp", "a TCP connection per stream (limit)", gatewayOfTCP, agentOfTCP, true},
		{limit, "a TLS 1.3 connection per stream (limit of the bars)", gatewayOfTLS, agentOfTLS, true},
		{"handed", "the same, each read by one goroutine for another (floor of a session)", gatewayOfHanded, agentOfHanded, true},
		{ours, "internal/mux over TLS", gatewayOfOurs, agentOfOurs, false},
		{oursWSS, "internal/mux on a WebSocket over TLS", gatewayOfOursWSS, agentOfOursWSS, false},
		{"stock", "hashicorp/yamux v0.1.2 over TLS, its defaults", gatewayOfStock, agentOfStock, false},
		{"remotedialer", "rancher/remotedialer v0.6.1, wss", gatewayOfRemotedialer, agentOfRemotedialer, false},
		{"chisel", "jpillora/chisel v1.10.1, reverse, wss", gatewayOfChisel, agentOfChisel, false},
		{"frp", "fatedier/frp v0.61.0, tcpMux, TLS", gatewayOfFrp, agentOfFrp, false},
	}
}

const (
	ours    = "ours"
	oursWSS = "ours-wss"
	limit   = "tls"
)

// peers are those that somebody could use instead of ours.
func peers() []string { return []string{"stock", "remotedialer", "chisel", "frp"} }

// play does what the arguments of a process say. It ends with its parent, whose end of the standard input then closes.
func play(ctx context.Context, text string) error {
	var r role
	if err := json.Unmarshal([]byte(text), &r); err != nil {
		return fmt.Errorf("cannot read the role: %w", err)
	}
	ended, err := r.profile()
	if err != nil {
		return err
	}
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		ended()
		os.Exit(1)
	}()
	all := contenders()
	i := slices.IndexFunc(all, func(c contender) bool { return c.name == r.Contender })
	switch {
	case r.End == "backend":
		answers, err := newBackend().listen(r.Backend)
		if err != nil {
			return err
		}
		return answers.Serve()
	case r.End == "idle gateway":
		return idleGateway(ctx, r)
	case r.End == "idle agents":
		return idleAgents(ctx, r)
	case r.End == "storm gateway":
		return stormGateway(ctx, r)
	case r.End == "storm agents":
		return stormAgents(ctx, r)
	case r.End == "load":
		return loadOnLink(ctx, r)
	case i < 0:
		return fmt.Errorf("no contender is called %q", r.Contender)
	case r.End == "gateway":
		return all[i].gateway(ctx, r)
	case r.End == "agent":
		return all[i].agent(ctx, r)
	}
	return fmt.Errorf("no role is called %q", r.End)
}

// profile begins a profile, if one is wanted. It is written when ended is called.
func (r role) profile() (ended func(), err error) {
	if r.Profile == "" {
		return func() {}, nil
	}
	f, err := os.Create(r.Profile)
	if err != nil {
		return nil, fmt.Errorf("cannot write the profile: %w", err)
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return func() {
		pprof.StopCPUProfile()
		_ = f.Close() // a profile that lacks its end does not load
	}, nil
}

// tune sets the options of the tunnel's socket.
func (r role) tune(conn net.Conn) error {
	if err := session.Tune(conn); err != nil {
		return err
	}
	tcp, ok := session.SocketOf(conn).(*net.TCPConn)
	if !ok || r.Congestion == "" {
		return nil
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return err
	}
	var set error
	err = raw.Control(func(fd uintptr) {
		set = unix.SetsockoptString(int(fd), unix.IPPROTO_TCP, unix.TCP_CONGESTION, r.Congestion)
	})
	if err = errors.Join(err, set); err != nil {
		return fmt.Errorf("cannot set the congestion control %s: %w", r.Congestion, err)
	}
	return nil
}

// dial makes a connection to where the other end of the tunnel listens, or soon will.
func (r role) dial(ctx context.Context) (net.Conn, error) {
	conn, err := dialUntilThere(ctx, r.Tunnel)
	if err != nil {
		return nil, err
	}
	if err := r.tune(conn); err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}

// await returns when something listens at the address. Peers that wait for seconds before a second try need it.
func await(ctx context.Context, address string) error {
	conn, err := dialUntilThere(ctx, address)
	if err != nil {
		return err
	}
	return conn.Close()
}

// upWithin is how long a contender may take to come up: that of a busy machine. Links of 50 ms add little.
const upWithin = 20 * time.Second

func dialUntilThere(ctx context.Context, address string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, upWithin)
	defer cancel()
	for {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
		if err == nil {
			return conn, nil
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("nothing listened within %s: %w", upWithin, err)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

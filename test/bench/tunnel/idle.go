package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/hashicorp/yamux"

	"github.com/pipeopshq/pipeops-agent/internal/session"
	"github.com/pipeopshq/pipeops-agent/internal/wsconn"
	"github.com/pipeopshq/pipeops-agent/test/bench/tunnel/figures"
	"github.com/pipeopshq/pipeops-agent/test/bench/tunnel/machine"
)

// What an agent that does nothing costs the gateway. The names are those in JSON.
const (
	mIdleMemory = "memory_KiB_per_agent" // of the gateway's process, anonymous, after a collection
	mIdleCPU    = "cpu_percent_of_a_core"
	mHandshakes = "handshakes_per_s" // of all agents, both ends on this machine
)

const (
	agentProcesses   = 2  // so that none needs more open files than it may have
	handshakesAtOnce = 16 // of each
	connectWithin    = 3 * time.Minute
	settle           = 5 * time.Second // until the pings of the beginning are over
)

func idleMeasures() []figures.Measure {
	return []figures.Measure{
		{Name: mIdleMemory, Title: "KiB/agent", Digits: 1}, {Name: mIdleCPU, Title: "CPU %", Digits: 2}, {Name: mHandshakes, Title: "handshakes/s"},
	}
}

func idleBars(agents int) []figures.Bar {
	bars := []figures.Bar{
		{ID: "B7", Measure: mIdleMemory, Against: []string{limit}, Most: 1.25},
		{ID: "B7", Of: oursWSS, Measure: mIdleMemory, Against: []string{limit}, Most: 1.4},
	}
	if agents >= 10_000 {
		bars = append(bars, figures.Bar{ID: "B7", Measure: mIdleCPU, Kind: figures.Value, Most: 2},
			figures.Bar{ID: "B7", Of: oursWSS, Measure: mIdleCPU, Kind: figures.Value, Most: 2})
	}
	return bars
}

// resident is a kind of session that is kept without being used: both ends of it, after the handshake, where the gateway has so many. They
// return when it ends.
type resident struct {
	name           string
	gateway, agent func(ctx context.Context, conn *tls.Conn, agents int) error
}

func residents() []resident {
	quiet := slog.New(slog.DiscardHandler)
	messages := new(wsconn.Buffers)
	web := newUpgrader(messages)
	return []resident{
		{limit, idleRead, idleRead},
		{ours, func(ctx context.Context, conn *tls.Conn, agents int) error {
			return idleOurs(ctx, session.Server(conn, quiet), agents)
		}, func(ctx context.Context, conn *tls.Conn, agents int) error {
			return idleOurs(ctx, session.Client(conn, quiet), agents)
		}},
		{oursWSS, func(ctx context.Context, conn *tls.Conn, agents int) error {
			ws, err := web.upgrade(ctx, conn)
			if err != nil {
				return err
			}
			return idleOurs(ctx, session.Server(ws, quiet), agents)
		}, func(ctx context.Context, conn *tls.Conn, agents int) error {
			ws, err := dialWebSocket(ctx, conn, messages)
			if err != nil {
				return err
			}
			return idleOurs(ctx, session.Client(ws, quiet), agents)
		}},
		{"stock", func(_ context.Context, conn *tls.Conn, _ int) error {
			return idleYamux(yamux.Server(conn, stockConfig()))
		}, func(_ context.Context, conn *tls.Conn, _ int) error {
			return idleYamux(yamux.Client(conn, stockConfig()))
		}},
	}
}

// idleOurs is an end that was told, or has told, how often to ping, as with the answer to an agent's hello.
func idleOurs(ctx context.Context, s *session.Session, agents int) error {
	s.SetKeepAlive(session.KeepAliveOf(agents))
	return s.Serve(ctx, http.NotFoundHandler())
}

// idleRead is the least that somebody does with a connection: wait for it, with the buffer that net/http and bufio take.
func idleRead(_ context.Context, conn *tls.Conn, _ int) error {
	_, err := conn.Read(make([]byte, 4<<10))
	return err
}

func idleYamux(s *yamux.Session, err error) error {
	if err == nil {
		_, err = s.AcceptStream()
	}
	return err
}

func residentNamed(name string) (resident, error) {
	for _, r := range residents() {
		if r.name == name {
			return r, nil
		}
	}
	return resident{}, fmt.Errorf("%q is not kept idle", name)
}

// idleGateway takes agents, mutual TLS as in earnest, until the process ends. A signal makes it collect its garbage.
func idleGateway(ctx context.Context, r role) error {
	kind, err := residentNamed(r.Contender)
	if err != nil {
		return err
	}
	config, err := serverTLS(r)
	if err != nil {
		return err
	}
	if config.ClientCAs, err = authority(r); err != nil {
		return err
	}
	config.ClientAuth = tls.RequireAndVerifyClientCert
	collect := make(chan os.Signal, 1)
	signal.Notify(collect, syscall.SIGUSR1)
	go func() {
		for range collect {
			for range 4 { // each halves the stacks that are too large
				runtime.GC()
			}
			debug.FreeOSMemory()
			fmt.Println("collected")
		}
	}()
	return serve(ctx, r.Tunnel, func(raw net.Conn) {
		defer raw.Close()
		if r.tune(raw) != nil {
			return
		}
		conn := tls.Server(raw, config)
		if conn.HandshakeContext(ctx) == nil {
			_ = kind.gateway(ctx, conn, r.All)
		}
	})
}

// idleAgents makes its part of the agents, says so, and keeps them. That one ends is the end.
func idleAgents(ctx context.Context, r role) error {
	kind, err := residentNamed(r.Contender)
	if err != nil {
		return err
	}
	config, err := clientTLS(r)
	if err != nil {
		return err
	}
	pair, err := tls.LoadX509KeyPair(r.certificate(), r.key())
	if err != nil {
		return fmt.Errorf("cannot load the certificate: %w", err)
	}
	config.Certificates = []tls.Certificate{pair}
	ended := make(chan error, r.Agents)
	turns := make(chan struct{}, handshakesAtOnce)
	var up sync.WaitGroup
	for range r.Agents {
		turns <- struct{}{}
		up.Add(1)
		go func() {
			conn, err := idleDial(ctx, r, config)
			<-turns
			up.Done()
			if err == nil {
				err = kind.agent(ctx, conn, r.All)
			}
			ended <- err
		}()
	}
	up.Wait()
	fmt.Println("up")
	return fmt.Errorf("an agent ended: %w", <-ended)
}

func idleDial(ctx context.Context, r role, config *tls.Config) (*tls.Conn, error) {
	raw, err := r.dial(ctx)
	if err != nil {
		return nil, err
	}
	conn := tls.Client(raw, config)
	if err := conn.HandshakeContext(ctx); err != nil {
		return nil, fmt.Errorf("cannot shake hands: %w", err)
	}
	return conn, nil
}

// idle measures each of the numbers of agents.
func idle(numbers []int, profiles string) func(context.Context, []contender, int, float64, func(string)) ([]figures.Case, error) {
	return func(ctx context.Context, measured []contender, rounds int, seconds float64, say func(string)) (cases []figures.Case, err error) {
		folder, err := os.MkdirTemp("", "bench-tunnel-")
		if err != nil {
			return nil, fmt.Errorf("cannot make a folder: %w", err)
		}
		defer func() { _ = os.RemoveAll(folder) }() // of the system's, which tidies it as well
		if err := writeCertificate(role{Folder: folder}, "127.0.0.1"); err != nil {
			return nil, err
		}
		for _, agents := range numbers {
			var samples []figures.Sample
			for round := 1; round <= rounds; round++ {
				for _, i := range rand.Perm(len(measured)) {
					r := role{Contender: measured[i].name, Folder: folder, All: agents}
					if profiles != "" {
						r.Profile = filepath.Join(profiles, fmt.Sprintf("%s-%d.pprof", r.Contender, agents))
					}
					values, err := measureIdle(ctx, r, time.Duration(seconds*float64(time.Second)))
					if err != nil {
						return nil, fmt.Errorf("%d agents of %s: %w", agents, r.Contender, err)
					}
					samples = append(samples, figures.Sample{Contender: r.Contender, Round: round, Values: values})
					say(fmt.Sprintf("%d agents: round %d of %d: %s", agents, round, rounds, r.Contender))
				}
			}
			cases = append(cases, figures.NewCase(fmt.Sprintf("%d idle agents", agents), ours, idleBars(agents), samples))
		}
		return cases, nil
	}
}

func measureIdle(ctx context.Context, r role, measured time.Duration) (map[string]float64, error) {
	addresses, err := freeAddresses(ctx, 1)
	if err != nil {
		return nil, err
	}
	r.Tunnel = addresses[0]
	var processes []*process
	begin := func(end string, agents int) (*process, *lines, error) {
		r := r
		if r.End, r.Agents = end, agents; len(processes) > 0 {
			r.Profile = ""
		}
		said := &lines{came: make(chan string, 16)}
		p, err := start(r, "", said)
		if err == nil {
			processes = append(processes, p)
		}
		return p, said, err
	}
	defer func() {
		for _, p := range processes {
			p.stop()
		}
	}()
	gateway, fromGateway, err := begin("idle gateway", 0)
	if err != nil {
		return nil, err
	}
	if err := await(ctx, r.Tunnel); err != nil {
		return nil, err
	}
	collected := func() (int64, error) {
		if err := gateway.cmd.Process.Signal(syscall.SIGUSR1); err != nil {
			return 0, fmt.Errorf("cannot signal the gateway: %w", err)
		}
		if err := fromGateway.wait(ctx, "collected", gateway); err != nil {
			return 0, err
		}
		return machine.Memory(gateway.cmd.Process.Pid)
	}
	before, err := collected()
	if err != nil {
		return nil, err
	}
	total, began := r.All, time.Now()
	var said []*lines
	for i := range agentProcesses {
		_, l, err := begin("idle agents", total/agentProcesses+min(1, total%agentProcesses*(1-i)))
		if err != nil {
			return nil, err
		}
		said = append(said, l)
	}
	for i, l := range said {
		if err := l.wait(ctx, "up", processes[1+i]); err != nil {
			return nil, err
		}
	}
	took := time.Since(began)
	if err := pause(ctx, settle); err != nil {
		return nil, err
	}
	after, err := collected()
	if err != nil {
		return nil, err
	}
	used, err := gateway.cpu()
	if err != nil {
		return nil, err
	}
	began = time.Now()
	if err := pause(ctx, measured); err != nil {
		return nil, err
	}
	elapsed := time.Since(began)
	then, err := gateway.cpu()
	if err = errors.Join(err, died(processes)); err != nil {
		return nil, err
	}
	return map[string]float64{
		mIdleMemory: float64(after-before) / 1024 / float64(total),
		mIdleCPU:    100 * float64(then-used) / float64(elapsed),
		mHandshakes: float64(total) / took.Seconds(),
	}, nil
}

// lines are what a process prints.
type lines struct {
	rest string
	came chan string
}

func (l *lines) Write(p []byte) (int, error) {
	l.rest += string(p)
	for {
		line, rest, whole := strings.Cut(l.rest, "\n")
		if !whole {
			return len(p), nil
		}
		l.rest = rest
		select {
		case l.came <- line:
		default:
			return 0, io.ErrShortWrite
		}
	}
}

func (l *lines) wait(ctx context.Context, wanted string, from *process) error {
	ctx, cancel := context.WithTimeout(ctx, connectWithin)
	defer cancel()
	for {
		select {
		case line := <-l.came:
			if line == wanted {
				return nil
			}
		case <-from.ended:
			return died([]*process{from})
		case <-ctx.Done():
			return fmt.Errorf("%s has not said %q: %w", from.name, wanted, ctx.Err())
		}
	}
}

// kept are the contenders that are kept idle.
func kept(all []contender) (some []contender) {
	for _, c := range all {
		if _, err := residentNamed(c.name); err == nil {
			some = append(some, c)
		}
	}
	return some
}

func parseNumbers(flag, text string) (numbers []int, err error) {
	for field := range strings.SplitSeq(text, ",") {
		n, err := strconv.Atoi(field)
		if err != nil || n < 1 {
			return nil, fmt.Errorf("%s wants numbers of agents with commas between, not %q", flag, text)
		}
		numbers = append(numbers, n)
	}
	return numbers, nil
}

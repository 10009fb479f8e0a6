package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"time"

	"github.com/pipeopshq/pipeops-agent/test/bench/tunnel/figures"
)

const (
	manyStreams = 100
	callers     = 64
	echoWarmUp  = 500
	echoCount   = 20_000
)

// The names of what is measured on loopback, as they are in JSON.
const (
	mDown    = "down_MB_per_s" // from the backend through the agent to the load
	mDownCPU = "down_cpu_ns_per_byte"
	mUp      = "up_MB_per_s"
	mUpCPU   = "up_cpu_ns_per_byte"
	mMany    = "many_MB_per_s"
	mManyCPU = "many_cpu_ns_per_byte"
	mJain    = "many_jain"
	mEcho50  = "echo_p50_us"
	mEcho99  = "echo_p99_us"
	mOpens   = "opens_per_s"
)

func loopbackMeasures() []figures.Measure {
	return []figures.Measure{
		{Name: mDown, Title: "1 down MB/s"}, {Name: mDownCPU, Title: "ns/B", Digits: 2},
		{Name: mUp, Title: "1 up MB/s"}, {Name: mUpCPU, Title: "ns/B", Digits: 2},
		{Name: mMany, Title: "100 down MB/s"}, {Name: mManyCPU, Title: "ns/B", Digits: 2}, {Name: mJain, Title: "Jain", Digits: 3},
		{Name: mEcho50, Title: "echo p50 us"}, {Name: mEcho99, Title: "p99 us"},
		{Name: mOpens, Title: "opens/s"},
	}
}

func loopbackBars() []figures.Bar {
	toLimit := []string{limit}
	return []figures.Bar{
		{ID: "B1", Measure: mDown, Against: toLimit, Least: 0.75},
		{ID: "B1", Measure: mUp, Against: toLimit, Least: 0.75},
		{ID: "B1", Measure: mDown, Against: peers(), Least: 1.15},
		{ID: "B1", Measure: mUp, Against: peers(), Least: 1.15},
		{ID: "B2", Measure: mMany, Against: toLimit, Least: 0.75},
		{ID: "B2", Measure: mMany, Against: peers(), Least: 1.15},
		{ID: "B2", Measure: mJain, Kind: figures.Value, Least: 0.98},
		{ID: "B3", Measure: mEcho50, Kind: figures.Difference, Against: toLimit, Most: 40},
		{ID: "B3", Measure: mOpens, Against: peers(), Least: 1.3},
	}
}

// loopback measures every contender once in each round, in an order of the round's own.
func loopback(ctx context.Context, measured []contender, rounds int, seconds float64, say func(string)) ([]figures.Case, error) {
	folder, err := os.MkdirTemp("", "bench-tunnel-")
	if err != nil {
		return nil, fmt.Errorf("cannot make a folder: %w", err)
	}
	defer func() { _ = os.RemoveAll(folder) }() // of the system's, which tidies it as well
	if err := writeCertificate(role{Folder: folder}, "127.0.0.1"); err != nil {
		return nil, err
	}
	var samples []figures.Sample
	for round := 1; round <= rounds; round++ {
		for _, i := range rand.Perm(len(measured)) {
			began := time.Now()
			s, err := measure(ctx, measured[i], folder, seconds)
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			if err != nil {
				return nil, fmt.Errorf("%s: %w", measured[i].name, err)
			}
			s.Round = round
			samples = append(samples, s)
			say(fmt.Sprintf("round %d of %d: %s, %.1f s", round, rounds, s.Contender, time.Since(began).Seconds()))
		}
	}
	return []figures.Case{figures.NewCase("loopback", ours, loopbackBars(), samples)}, nil
}

// measure starts a contender's two processes, measures, and ends them. An interrupt ends them at once, and with them what is measured.
func measure(ctx context.Context, c contender, folder string, seconds float64) (s figures.Sample, err error) {
	s.Contender = c.name
	r := role{Contender: c.name, Folder: folder}
	for _, address := range []*string{&r.Public, &r.Tunnel, &r.Backend} {
		if *address, err = freeAddress(ctx); err != nil {
			return s, err
		}
	}
	b, stop, err := here(ctx, r.Backend)
	if err != nil {
		return s, err
	}
	defer stop()
	var processes []*process
	for _, end := range []string{"gateway", "agent"} {
		r.End = end
		p, err := start(r, "", nil)
		if err != nil {
			return s, err
		}
		defer p.stop()
		defer context.AfterFunc(ctx, func() { _ = p.cmd.Process.Kill() })()
		processes = append(processes, p)
	}
	if err := up(ctx, r.Public, processes); err != nil {
		return s, err
	}
	cpu := func() (sum time.Duration, err error) {
		for _, p := range processes {
			used, err := p.cpu()
			if err != nil {
				return 0, err
			}
			sum += used
		}
		return sum, nil
	}
	s.Values, s.Lost, err = sample(ctx, b, r.Public, time.Duration(seconds*float64(time.Second)), cpu)
	for _, p := range processes {
		if died := p.died(); err != nil && died != nil {
			err = fmt.Errorf("%w\n%w", err, died)
		}
	}
	return s, err
}

// here starts a backend in this process.
func here(ctx context.Context, address string) (b *backend, stop func(), err error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, nil, fmt.Errorf("cannot listen: %w", err)
	}
	b = newBackend()
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go b.handle(conn)
		}
	}()
	return b, func() { l.Close() }, nil
}

// freeAddress is one on which nobody listens. Its port is below those that the kernel gives to connections, which come and go by the
// thousand here.
func freeAddress(ctx context.Context) (string, error) {
	var last error
	for range 100 {
		address := net.JoinHostPort("127.0.0.1", strconv.Itoa(20_000+rand.IntN(12_000)))
		l, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
		if err == nil {
			return address, l.Close()
		}
		last = err
	}
	return "", fmt.Errorf("cannot find a free port: %w", last)
}

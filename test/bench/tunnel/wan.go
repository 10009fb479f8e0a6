package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/pipeopshq/pipeops-agent/test/bench/tunnel/echo"
	"github.com/pipeopshq/pipeops-agent/test/bench/tunnel/figures"
	"github.com/pipeopshq/pipeops-agent/test/bench/tunnel/link"
	"github.com/pipeopshq/pipeops-agent/test/bench/tunnel/machine"
)

// The names of what is measured on the link, as they are in JSON.
const (
	mBulk      = "bulk_Mbit_per_s" // from the agent to the gateway, all streams
	mBulkJain  = "bulk_jain"
	mBeside50  = "echo_p50_ms" // beside the bulk, one kilobyte at a time
	mBeside99  = "echo_p99_ms"
	mEchoCount = "echoes"
	mEchoes    = "echo_ms"  // each of them, a series
	mPeak      = "peak_MiB" // of memory, of the gateway or the agent, whichever had more
)

func wanMeasures() []figures.Measure {
	return []figures.Measure{
		{Name: mBulk, Title: "bulk Mbit/s", Digits: 1}, {Name: mBulkJain, Title: "Jain", Digits: 3},
		{Name: mBeside50, Title: "echo p50 ms", Digits: 1}, {Name: mBeside99, Title: "p99 ms", Digits: 1}, {Name: mEchoCount, Title: "echoes"},
		{Name: mPeak, Title: "peak MiB", Digits: 1},
	}
}

// path is a kind of link and what is carried on it.
type path struct {
	name string
	link link.Config
	bulk []int         // numbers of streams, one after the other
	grow time.Duration // for windows, before it is measured
	bars []figures.Bar
}

// paths are in the order of the table. Queues hold 100 ms.
func paths() []path {
	toLimit := []string{limit}
	beside := []figures.Bar{
		{ID: "B5", Measure: mBulk, Against: toLimit, Least: 0.95},
		{ID: "B5", Measure: mBeside50, Against: toLimit, Most: 1.2},
		{ID: "B5", Measure: mBeside99, Against: toLimit, Most: 1.5},
		{ID: "B5", Measure: mEchoes, Kind: figures.Pooled, Percentile: 99, Against: toLimit, Most: 1.5}, // a round has some 430
	}
	common := link.Config{Delay: 25 * time.Millisecond, Rate: 100e6, Queue: 100 * time.Millisecond}
	lossy, fat := common, link.Config{Delay: 50 * time.Millisecond, Rate: 500e6, Queue: 100 * time.Millisecond}
	lossy.Loss = 0.002
	large := fat // the kernel's 4 MiB hold, with what they hold besides, half of what is on its way here
	large.SendBuffer = 16 << 20
	full := []figures.Bar{
		{ID: "B6", Measure: mBulk, Kind: figures.Value, Least: 450},
		{ID: "B6", Measure: mBulk, Against: toLimit, Least: 0.95},
		{ID: "B6", Measure: mPeak, Kind: figures.Difference, Against: toLimit, Most: 24},
	}
	return []path{
		{"50 ms, 100 Mbit/s", common, []int{1, 8}, 5 * time.Second, beside},
		{"50 ms, 100 Mbit/s, 0.2 % loss", lossy, []int{1, 8}, 5 * time.Second, beside},
		{"100 ms, 500 Mbit/s", fat, []int{1}, 5 * time.Second, full},
		{"100 ms, 500 Mbit/s, send buffers of 16 MiB", large, []int{1}, 5 * time.Second, full},
	}
}

// onLink are the contenders whose sockets are ours to set up. The limit has a connection of its own for the echo.
func onLink(all []contender) []contender {
	return slices.DeleteFunc(all, func(c contender) bool { return !slices.Contains([]string{limit, ours, "stock"}, c.name) })
}

// slowLink measures on the paths whose names have the text in them.
func slowLink(only string) func(context.Context, []contender, int, float64, func(string)) ([]figures.Case, error) {
	return func(ctx context.Context, measured []contender, rounds int, seconds float64, say func(string)) (cases []figures.Case, err error) {
		controls, err := congestionControls()
		if err != nil {
			return nil, err
		}
		folder, err := os.MkdirTemp("", "bench-tunnel-")
		if err != nil {
			return nil, fmt.Errorf("cannot make a folder: %w", err)
		}
		defer func() { _ = os.RemoveAll(folder) }() // of the system's, which tidies it as well
		if err := writeCertificate(role{Folder: folder}, link.Near, link.Far); err != nil {
			return nil, err
		}
		exact := slices.ContainsFunc(paths(), func(p path) bool { return p.name == only })
		for _, p := range paths() {
			if exact && p.name != only || !strings.Contains(p.name, only) {
				continue
			}
			more, err := p.measure(ctx, role{Folder: folder, Seconds: seconds}, controls, measured, rounds, say)
			if err != nil {
				return nil, err
			}
			cases = append(cases, more...)
		}
		return cases, nil
	}
}

func (p path) measure(ctx context.Context, r role, controls []string, measured []contender, rounds int, say func(string)) (cases []figures.Case, err error) {
	r.Grow = p.grow
	for _, r.Congestion = range controls {
		for _, r.Bulk = range p.bulk {
			name := fmt.Sprintf("%s, %s, %d bulk", p.name, r.Congestion, r.Bulk)
			var samples []figures.Sample
			for round := 1; round <= rounds; round++ {
				for _, i := range rand.Perm(len(measured)) {
					r.Contender = measured[i].name
					on := p.link
					on.Losses = uint64(round)
					sample, err := measureOnLink(ctx, on, r, measured[i].agentListens)
					if ctx.Err() != nil {
						return nil, ctx.Err()
					}
					if err != nil {
						return nil, fmt.Errorf("%s, %s: %w", r.Contender, name, err)
					}
					sample.Contender, sample.Round = r.Contender, round
					samples = append(samples, sample)
					say(fmt.Sprintf("%s: round %d of %d: %s", name, round, rounds, r.Contender))
				}
			}
			cases = append(cases, figures.NewCase(name, ours, p.bars, samples))
		}
	}
	return cases, nil
}

// congestionControls are those that customers' machines have, as far as this kernel has them.
func congestionControls() ([]string, error) {
	text, err := os.ReadFile("/proc/sys/net/ipv4/tcp_available_congestion_control")
	if err != nil {
		return nil, fmt.Errorf("cannot ask for the congestion controls: %w", err)
	}
	there := strings.Fields(string(text))
	return slices.DeleteFunc([]string{"cubic", "bbr"}, func(c string) bool { return !slices.Contains(there, c) }), nil
}

// measureOnLink starts a contender's gateway and a load on the near end of a link, its agent and a backend on the far one. The load measures,
// and ends by itself. Each has a link of its own: in a round all lose the same packets, and no kernel remembers what the one before met with.
func measureOnLink(ctx context.Context, config link.Config, r role, agentListens bool) (sample figures.Sample, err error) {
	l, err := link.Up(ctx, "bench-tunnel", config)
	if err != nil {
		return sample, fmt.Errorf("cannot make the link: %w", err)
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	r.Public, r.Backend, r.Tunnel = "127.0.0.1:7001", "127.0.0.1:7002", net.JoinHostPort(link.Near, "7003")
	if agentListens {
		r.Tunnel = net.JoinHostPort(link.Far, "7003")
	}
	var processes []*process
	var said bytes.Buffer
	for _, p := range []struct{ end, namespace string }{{"backend", l.Far}, {"gateway", l.Near}, {"agent", l.Far}, {"load", l.Near}} {
		r.End = p.end
		var output io.Writer // what is not the load's is kept for errors
		if p.end == "load" {
			output = &said
		}
		started, err := start(r, p.namespace, output)
		if err != nil {
			return sample, err
		}
		defer started.stop()
		defer context.AfterFunc(ctx, func() { _ = started.cmd.Process.Kill() })()
		processes = append(processes, started)
	}
	load := processes[len(processes)-1]
	<-load.ended
	if load.cause != nil {
		return sample, died(processes)
	}
	if err := json.Unmarshal(said.Bytes(), &sample); err != nil {
		return sample, fmt.Errorf("cannot read what the load has measured: %w", err)
	}
	for _, p := range processes[1:3] { // gateway and agent
		peak, err := machine.Peak(p.cmd.Process.Pid)
		if err != nil {
			return sample, err
		}
		sample.Values[mPeak] = max(sample.Values[mPeak], float64(peak)/(1<<20))
	}
	return sample, nil
}

// loadOnLink is the load: it measures bulk and echoes beside it, after a time for windows to grow, and prints the sample.
func loadOnLink(ctx context.Context, r role) error {
	if err := up(ctx, r.Public, nil); err != nil {
		return err
	}
	measured := time.Duration(r.Seconds * float64(time.Second))
	ctx, cancel := context.WithTimeout(ctx, measured+r.Grow+grace)
	defer cancel()
	received := make([]atomic.Int64, r.Bulk)
	cut := make(chan error, r.Bulk+1)
	for i := range received {
		conn, err := open(ctx, r.Public, download, i)
		if err != nil {
			return err
		}
		defer conn.Close()
		go func() { cut <- errors.Join(fmt.Errorf("bulk stream %d ended", i), read(conn, &received[i])) }()
	}
	if err := flowing(ctx, received); err != nil {
		return err
	}
	if err := pause(ctx, r.Grow); err != nil {
		return err
	}
	before, began := snapshot(received), time.Now()
	var took []float64
	go func() {
		var err error
		took, err = echoesFor(ctx, r.Public, measured)
		cut <- err
	}()
	if err := <-cut; err != nil {
		return err
	}
	elapsed, after := time.Since(began), snapshot(received)
	var bytes []float64
	var sum float64
	for i := range after {
		bytes = append(bytes, after[i]-before[i])
		sum += bytes[i]
	}
	return json.NewEncoder(os.Stdout).Encode(figures.Sample{
		Values: map[string]float64{
			mBulk: sum * 8 / 1e6 / elapsed.Seconds(), mBulkJain: figures.Jain(bytes),
			mBeside50: figures.Percentile(took, 50), mBeside99: figures.Percentile(took, 99), mEchoCount: float64(len(took)),
		},
		Series: map[string][]float64{mEchoes: took},
	})
}

// echoesFor is echoes for a time, not a number: how long each took, in milliseconds.
func echoesFor(ctx context.Context, public string, measured time.Duration) ([]float64, error) {
	conn, err := open(ctx, public, echo.Kind, 0)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	buf := make([]byte, echo.Word)
	if err := ask(conn, buf); err != nil { // opens it all the way
		return nil, err
	}
	var took []float64
	for began := time.Now(); time.Since(began) < measured; {
		asked := time.Now()
		if err := ask(conn, buf); err != nil {
			return nil, errors.Join(ctx.Err(), err)
		}
		took = append(took, float64(time.Since(asked).Nanoseconds())/1e6)
	}
	return took, nil
}

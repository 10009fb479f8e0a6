package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/pipeopshq/pipeops-agent/test/bench/tunnel/echo"
	"github.com/pipeopshq/pipeops-agent/test/bench/tunnel/figures"
	"github.com/pipeopshq/pipeops-agent/test/bench/tunnel/machine"
)

const (
	manyStreams = 100
	callers     = 64
	echoWarmUp  = 500
	echoCount   = 20_000
	besideBulk  = 8
	besideCount = 1_000
	slowReaders = 4
	settled     = 2 * time.Second // Go's runtime looks once a second how many processors it has
)

// The names of what is measured on loopback, as they are in JSON.
const (
	mDown     = "down_MB_per_s" // from the backend through the agent to the load
	mDownCPU  = "down_cpu_ns_per_byte"
	mUp       = "up_MB_per_s"
	mUpCPU    = "up_cpu_ns_per_byte"
	mMany     = "many_MB_per_s"
	mManyCPU  = "many_cpu_ns_per_byte"
	mJain     = "many_jain"
	mEcho50   = "echo_p50_us"
	mEcho99   = "echo_p99_us"
	mBeside   = "echo_beside_8_bulk_p99_us"
	mSlow     = "echo_p99_with_slow_readers_to_without"
	mOpens    = "opens_per_s"
	mOpenCPU  = "open_cpu_us"
	mApart    = "opens_apart_per_s" // the tunnel on processors of its own, the load and the backend on the others
	mApartCPU = "open_apart_cpu_us"
)

func loopbackMeasures() []figures.Measure {
	return []figures.Measure{
		{Name: mDown, Title: "1 down MB/s"}, {Name: mDownCPU, Title: "ns/B", Digits: 2},
		{Name: mUp, Title: "1 up MB/s"}, {Name: mUpCPU, Title: "ns/B", Digits: 2},
		{Name: mMany, Title: "100 down MB/s"}, {Name: mManyCPU, Title: "ns/B", Digits: 2}, {Name: mJain, Title: "Jain", Digits: 3},
		{Name: mEcho50, Title: "echo p50 us"}, {Name: mEcho99, Title: "p99 us"},
		{Name: mBeside, Title: "beside 8 bulk p99 us"}, {Name: mSlow, Title: "slow readers", Digits: 2},
		{Name: mOpens, Title: "opens/s"}, {Name: mOpenCPU, Title: "us/open"},
		{Name: mApart, Title: "opens/s apart"}, {Name: mApartCPU, Title: "us/open"},
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
		{ID: "B3", Measure: mApart, Against: peers(), Least: 1.3},
		{ID: "B4", Measure: mBeside, Against: toLimit, Most: 3},
		{ID: "B11", Measure: mSlow, Kind: figures.Value, Most: 1.1},
	}
}

// loopback starts all contenders in each round, takes one measurement after the other, and in each all contenders, in an order of its
// own: those that are compared are then measured within seconds of each other, which tells on a machine that others use as well.
func loopback(profiles, take string) func(context.Context, []contender, int, float64, func(string)) ([]figures.Case, error) {
	return func(ctx context.Context, measured []contender, rounds int, seconds float64, say func(string)) ([]figures.Case, error) {
		wanted := measurements()
		if take != "" {
			names := strings.Split(take, ",")
			wanted = slices.DeleteFunc(wanted, func(m measurement) bool { return !slices.Contains(names, m.name) })
		}
		return onLoopback(ctx, measured, wanted, rounds, seconds, say, profiles)
	}
}

func onLoopback(ctx context.Context, measured []contender, wanted []measurement, rounds int, seconds float64, say func(string), profiles string) ([]figures.Case, error) {
	folder, err := os.MkdirTemp("", "bench-tunnel-")
	if err != nil {
		return nil, fmt.Errorf("cannot make a folder: %w", err)
	}
	defer func() { _ = os.RemoveAll(folder) }() // of the system's, which tidies it as well
	if err := writeCertificate(role{Folder: folder}, "127.0.0.1"); err != nil {
		return nil, err
	}
	var samples []figures.Sample
	for n := range rounds {
		began := time.Now()
		round, err := oneRound(ctx, measured, wanted, folder, profiles, time.Duration(seconds*float64(time.Second)), say)
		if ctx.Err() != nil {
			return nil, ctx.Err() // the processes were killed, of which all else speaks
		}
		if err != nil {
			return nil, err
		}
		for _, s := range round {
			s.Round = n + 1
			samples = append(samples, s)
		}
		say(fmt.Sprintf("round %d of %d took %.0f s", n+1, rounds, time.Since(began).Seconds()))
	}
	return []figures.Case{figures.NewCase("loopback", ours, loopbackBars(), samples)}, nil
}

// oneRound takes each measurement once. A peer that fails in one, or hangs, is left out of what follows in this round, and said to be; that ours
// does, or the limit, is an error.
func oneRound(
	ctx context.Context, measured []contender, wanted []measurement, folder, profiles string, each time.Duration, say func(string),
) ([]figures.Sample, error) {
	stands := make([]*stand, 0, len(measured))
	samples := make([]figures.Sample, len(measured))
	for i, c := range measured {
		s, err := raise(ctx, c, folder, profiles)
		if err != nil {
			return nil, fmt.Errorf("cannot start %s: %w", c.name, err)
		}
		defer s.end()
		stands = append(stands, s)
		samples[i] = figures.Sample{Contender: c.name, Values: map[string]float64{}}
	}
	for _, m := range wanted {
		taken := make([]figures.Sample, len(stands))
		for range m.turns {
			for _, i := range rand.Perm(len(stands)) {
				if stands[i].ended {
					continue
				}
				err := m.turn(ctx, stands[i], each, &taken[i])
				if err == nil {
					continue
				}
				err = fmt.Errorf("cannot measure %s of %s: %w", m.name, measured[i].name, errors.Join(err, died(stands[i].processes)))
				if ctx.Err() != nil || !slices.Contains(peers(), measured[i].name) {
					return nil, err
				}
				say(err.Error() + "; it is left out of the rest of this round")
				stands[i].end()
			}
		}
		for i, s := range stands {
			if !s.ended {
				maps.Copy(samples[i].Values, taken[i].Values)
				samples[i].Lost += taken[i].Lost
			}
		}
	}
	return samples, nil
}

// measurement adds some values to a sample.
type measurement struct {
	name  string
	turns int // how often it is taken of all contenders by turns, so that what the machine does meanwhile meets all of them
	take  func(context.Context, *stand, time.Duration, *figures.Sample) error
}

// turn takes one of the turns. After all of them the sample has their mean.
func (m measurement) turn(ctx context.Context, on *stand, each time.Duration, s *figures.Sample) error {
	taken := figures.Sample{Values: map[string]float64{}}
	if err := m.take(ctx, on, each, &taken); err != nil {
		return err
	}
	if s.Values == nil {
		s.Values = map[string]float64{}
	}
	for name, value := range taken.Values {
		s.Values[name] += value / float64(m.turns)
	}
	s.Lost += taken.Lost
	return nil
}

// measurements are in the order in which they are taken.
func measurements() []measurement {
	return []measurement{
		{"a stream down", 1, flows(download, 1, mDown, mDownCPU, "")},
		{"a stream up", 1, flows(upload, 1, mUp, mUpCPU, "")},
		{"100 streams down", 1, flows(download, manyStreams, mMany, mManyCPU, mJain)},
		{"echoes", 1, func(ctx context.Context, on *stand, _ time.Duration, s *figures.Sample) error {
			took, err := echoes(ctx, on.public, echoWarmUp, echoCount)
			s.Values[mEcho50], s.Values[mEcho99] = figures.Percentile(took, 50), figures.Percentile(took, 99)
			return err
		}},
		{"echoes beside bulk", 1, func(ctx context.Context, on *stand, _ time.Duration, s *figures.Sample) error {
			took, err := echoesBeside(ctx, on, besideBulk, true)
			s.Values[mBeside] = figures.Percentile(took, 99)
			return err
		}},
		{"echoes beside slow readers", 1, func(ctx context.Context, on *stand, _ time.Duration, s *figures.Sample) error {
			without, err := echoesBeside(ctx, on, 0, false)
			if err != nil {
				return err
			}
			with, err := echoesBeside(ctx, on, slowReaders, false)
			s.Values[mSlow] = figures.Percentile(with, 99) / figures.Percentile(without, 99)
			return err
		}},
		{"opening", 8, func(ctx context.Context, on *stand, each time.Duration, s *figures.Sample) (err error) {
			s.Values[mOpens], s.Values[mOpenCPU], err = opening(ctx, on, each)
			return err
		}},
		{"opening apart", 1, openingApart},
	}
}

// openingApart is opening where the load and the backend, which are the same for all, take nothing of the processors that the tunnel has: else
// what is compared is to two fifths theirs. A machine with one processor cannot have it measured.
func openingApart(ctx context.Context, on *stand, each time.Duration, s *figures.Sample) (err error) {
	rest, tunnel, ok, err := machine.Halves()
	if err != nil || !ok {
		return err
	}
	unpin, err := on.pin(tunnel, rest)
	defer func() { err = errors.Join(err, unpin()) }()
	if err != nil {
		return err
	}
	if _, _, err := echo.Calls(ctx, on.public, callers, settled, grace); err != nil {
		return err
	}
	s.Values[mApart], s.Values[mApartCPU], err = opening(ctx, on, each)
	return err
}

// opening returns how many streams were opened in a second, and the processor time of the tunnel for each, in microseconds. As with bulk, what
// happens before a quarter of the time does not count.
func opening(ctx context.Context, on *stand, each time.Duration) (rate, cpu float64, err error) {
	if _, _, err := echo.Calls(ctx, on.public, callers, each/4, grace); err != nil {
		return 0, 0, err
	}
	before, err := on.cpu()
	if err != nil {
		return 0, 0, err
	}
	n, took, err := echo.Calls(ctx, on.public, callers, each, grace)
	if err != nil {
		return 0, 0, err
	}
	after, err := on.cpu()
	return float64(n) / took.Seconds(), float64((after - before).Microseconds()) / float64(n), err
}

func flows(kind byte, streams int, rate, cpu, fairness string) func(context.Context, *stand, time.Duration, *figures.Sample) error {
	return func(ctx context.Context, on *stand, each time.Duration, s *figures.Sample) error {
		f, err := bulk(ctx, on.backend, on.public, kind, streams, each, on.cpu)
		if err != nil {
			return err
		}
		s.Values[rate], s.Values[cpu] = f.megabytesPerSecond(), f.nanosecondsPerByte()
		if fairness != "" {
			s.Values[fairness] = figures.Jain(f.bytes)
		}
		s.Lost += f.lost
		return nil
	}
}

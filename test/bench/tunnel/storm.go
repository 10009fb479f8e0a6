package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/pipeopshq/pipeops-agent/test/bench/tunnel/figures"
)

// How agents come back that have all lost their gateway at once. The names are those in JSON; times are from the loss.
const (
	mBack50    = "back_50_percent_s"
	mBack95    = "back_95_percent_s"
	mBackAll   = "back_all_s"
	mFailed    = "failed_handshakes" // connections on which no session came about though the gateway was there, or was not reached in time
	mTold      = "told_to_come_later"
	mRefused   = "found_nobody" // while no gateway listened
	mTLSErrors = "gateway_tls_errors"
	mStormCPU  = "gateway_cpu_s" // until all are back
)

const (
	// stormWithin bounds how long agents may take to enrol and connect, or to come back.
	stormWithin = 10 * time.Minute
	// awayFor is how long nobody listens: that of a service that its manager starts again.
	awayFor = time.Second
)

func stormMeasures() []figures.Measure {
	return []figures.Measure{
		{Name: mBack50, Title: "50 % s", Digits: 1}, {Name: mBack95, Title: "95 % s", Digits: 1}, {Name: mBackAll, Title: "all s", Digits: 1},
		{Name: mFailed, Title: "failed"}, {Name: mTLSErrors, Title: "TLS errors"}, {Name: mTold, Title: "told later"}, {Name: mRefused, Title: "nobody"},
		{Name: mStormCPU, Title: "gateway CPU s", Digits: 1},
	}
}

func stormBars() []figures.Bar {
	return []figures.Bar{
		{ID: "B8", Measure: mBack95, Kind: figures.Value, Most: 30},
		{ID: "B8", Measure: mFailed, Kind: figures.Value, Most: 0.5}, // none
	}
}

// storm measures each of the numbers of agents. They enrol once; in each round the gateway is killed and started again.
func storm(numbers []int, profiles string) func(context.Context, []contender, int, float64, func(string)) ([]figures.Case, error) {
	return func(ctx context.Context, _ []contender, rounds int, seconds float64, say func(string)) (cases []figures.Case, err error) {
		for _, agents := range numbers {
			samples, err := stormOf(ctx, role{Contender: ours, Agents: agents}, profiles, rounds, time.Duration(seconds*float64(time.Second)), say)
			if err != nil {
				return nil, fmt.Errorf("%d agents: %w", agents, err)
			}
			cases = append(cases, figures.NewCase(fmt.Sprintf("%d agents lose their gateway", agents), ours, stormBars(), samples))
		}
		return cases, nil
	}
}

// weather is the processes of a storm.
type weather struct {
	role    role
	gateway *process
	blames  *reports // of the gateway
	agents  []*process
	tell    []*reports // of agents
}

func stormOf(ctx context.Context, r role, profiles string, rounds int, calm time.Duration, say func(string)) (samples []figures.Sample, err error) {
	if r.Folder, err = os.MkdirTemp("", "bench-storm-"); err != nil {
		return nil, fmt.Errorf("cannot make a folder: %w", err)
	}
	defer func() { _ = os.RemoveAll(r.Folder) }() // of the system's, which tidies it as well
	addresses, err := freeAddresses(ctx, 1)
	if err != nil {
		return nil, err
	}
	r.Tunnel = addresses[0]
	w := &weather{role: r}
	defer w.end()
	if err := w.rise(ctx, ""); err != nil {
		return nil, err
	}
	for i := range agentProcesses {
		r.End, r.Agents, r.First = "storm agents", w.role.Agents/agentProcesses+min(1, w.role.Agents%agentProcesses*(1-i)), i
		told := new(reports)
		p, err := start(r, "", told)
		if err != nil {
			return nil, err
		}
		w.agents, w.tell = append(w.agents, p), append(w.tell, told)
	}
	began := time.Now()
	if err := w.wait(ctx, func(s stormStatus) bool { return s.Up == w.role.Agents }); err != nil {
		return nil, err
	}
	say(fmt.Sprintf("%d agents enrolled and connected in %.0f s", w.role.Agents, time.Since(began).Seconds()))
	for round := 1; round <= rounds; round++ {
		if err := pause(ctx, calm); err != nil {
			return nil, err
		}
		profile := ""
		if profiles != "" {
			profile = fmt.Sprintf("%s/storm-%d-%d.pprof", profiles, w.role.Agents, round)
		}
		values, err := w.blow(ctx, profile)
		if err != nil {
			return nil, err
		}
		samples = append(samples, figures.Sample{Contender: ours, Round: round, Values: values})
		say(fmt.Sprintf("%d agents: round %d of %d: 95 %% back after %.1f s; agents %+v, gateway %+v", w.role.Agents, round, rounds, values[mBack95], w.sum(), w.blames.last().Failed))
	}
	return samples, nil
}

// rise starts the gateway.
func (w *weather) rise(ctx context.Context, profile string) (err error) {
	r := w.role
	r.End, r.Profile = "storm gateway", profile
	w.blames = new(reports)
	if w.gateway, err = start(r, "", w.blames); err != nil {
		return err
	}
	return await(ctx, r.Tunnel)
}

func (w *weather) end() {
	for _, p := range append([]*process{w.gateway}, w.agents...) {
		if p != nil {
			p.stop()
		}
	}
}

// sum is how the agents are, all together.
func (w *weather) sum() (all stormStatus) {
	for _, t := range w.tell {
		all.add(t.last())
	}
	return all
}

func (w *weather) wait(ctx context.Context, holds func(stormStatus) bool) error {
	ctx, cancel := context.WithTimeout(ctx, stormWithin)
	defer cancel()
	for !holds(w.sum()) {
		if err := died(append([]*process{w.gateway}, w.agents...)); err != nil {
			return err
		}
		if err := pause(ctx, reportEvery/2); err != nil {
			return fmt.Errorf("not within %s, but %+v: %w", stormWithin, w.sum(), err)
		}
	}
	return nil
}

// blow kills the gateway, starts it again, and waits until all are back.
func (w *weather) blow(ctx context.Context, profile string) (map[string]float64, error) {
	before, n := w.sum(), w.role.Agents
	began := time.Now()
	if err := w.gateway.cmd.Process.Kill(); err != nil {
		return nil, fmt.Errorf("cannot kill the gateway: %w", err)
	}
	<-w.gateway.ended
	if err := pause(ctx, awayFor); err != nil {
		return nil, err
	}
	if err := w.rise(ctx, profile); err != nil {
		return nil, err
	}
	values := map[string]float64{}
	for _, part := range []struct {
		name  string
		share float64
	}{{mBack50, 0.5}, {mBack95, 0.95}, {mBackAll, 1}} {
		wanted := int(part.share * float64(n))
		if err := w.wait(ctx, func(s stormStatus) bool { return s.Up >= wanted && s.Came-before.Came >= wanted }); err != nil {
			return nil, err
		}
		values[part.name] = time.Since(began).Seconds()
	}
	used, err := w.gateway.cpu()
	if err = errors.Join(err, died(w.agents)); err != nil {
		return nil, err
	}
	after := w.sum()
	values[mStormCPU] = used.Seconds()
	values[mFailed] = float64(sumOf(after.Failed) - sumOf(before.Failed))
	values[mTold], values[mRefused] = float64(after.Told-before.Told), float64(after.Nobody-before.Nobody)
	values[mTLSErrors] = float64(sumOf(w.blames.last().Failed))
	return values, nil
}

func sumOf(counts map[string]int) (sum int) {
	for _, n := range counts {
		sum += n
	}
	return sum
}

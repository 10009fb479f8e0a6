// Command tunnel measures our tunnel against its limits and its peers: a load, a gateway, the tunnel, an agent and a backend, each
// contender in two processes of its own (this program once more), the load and the backend in this one. In each round every contender is
// measured once, and the bars are held against the medians of what the rounds compared. With -wan it does so over a slow link that it
// makes itself, with -idle it measures what agents cost that do nothing, and with -storm how they come back that lose their gateway at once.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/pipeopshq/pipeops-agent/test/bench/tunnel/figures"
	"github.com/pipeopshq/pipeops-agent/test/bench/tunnel/machine"
)

// report is what -o json prints.
type report struct {
	Machine    machine.Machine `json:"machine"`
	Rounds     int             `json:"rounds"`
	Seconds    float64         `json:"seconds"`
	Contenders []string        `json:"contenders"`
	Cases      []figures.Case  `json:"cases"`
}

func main() {
	text := flag.String("role", "", "what a process of the benchmark is to do; it starts them itself")
	rounds := flag.Int("rounds", 0, "rounds; each measures every contender once (5, with -wan, -idle and -storm 1)")
	seconds := flag.Float64("seconds", 0, "time of one measurement of bytes or openings (1, with -wan 15, with -idle 60), or with -storm how long all is calm before (65)")
	only := flag.String("only", "", "contenders to measure, with commas between")
	take := flag.String("take", "", "measurements on loopback to take, by their names, with commas between")
	format := flag.String("o", "table", "table or json")
	out := flag.String("out", "", "file for the report as JSON, besides")
	idle := flag.String("idle", "", "measure what so many agents cost that do nothing; several numbers with commas between")
	storm := flag.String("storm", "", "measure how so many agents come back whose gateway is killed; several numbers with commas between")
	profiles := flag.String("cpuprofile", "", "folder for processor profiles of the processes")
	wan := flag.Bool("wan", false, "measure on slow links; needs root")
	paths := flag.String("paths", "", "of the links only that of this name, or those with this in their names")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var err error
	if *text != "" {
		err = play(ctx, *text)
	} else {
		err = bench(ctx, plan{*rounds, *seconds, *only, *format, *out, *idle, *storm, *profiles, *paths, *take, *wan})
	}
	if errors.Is(err, context.Canceled) {
		err = errors.New("interrupted; all processes have ended")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench-tunnel:", err)
		os.Exit(1)
	}
}

// plan is what the flags say.
type plan struct {
	rounds            int
	seconds           float64
	only, format, out string
	idle, storm       string
	profiles          string
	paths, take       string
	wan               bool
}

func bench(ctx context.Context, p plan) error {
	measured, err := choose(p.only)
	switch {
	case err != nil:
		return err
	case p.format != "table" && p.format != "json":
		return fmt.Errorf("-o is table or json, not %q", p.format)
	}
	run, measures := loopback(p.profiles, p.take), loopbackMeasures()
	if p.idle != "" {
		numbers, err := parseNumbers("-idle", p.idle)
		if err != nil {
			return err
		}
		run, measures, measured = idle(numbers, p.profiles), idleMeasures(), kept(measured)
	}
	if p.storm != "" {
		numbers, err := parseNumbers("-storm", p.storm)
		if err != nil {
			return err
		}
		run, measures = storm(numbers, p.profiles), stormMeasures()
		measured = slices.DeleteFunc(measured, func(c contender) bool { return c.name != ours })
	}
	if p.wan {
		run, measures = slowLink(p.paths), wanMeasures()
		measured = onLink(measured)
		if os.Geteuid() != 0 {
			fmt.Println("bench-tunnel: skipped: the link needs root, for network namespaces and TUN devices")
			return nil
		}
	}
	if len(measured) == 0 {
		return errors.New("none of these contenders is measured there")
	}
	rounds, seconds := defaults(p)
	watch, err := machine.Start()
	if err != nil {
		return err
	}
	say := func(message string) { fmt.Fprintln(os.Stderr, "bench-tunnel:", message) }
	r := report{Rounds: rounds, Seconds: seconds}
	if r.Cases, err = run(ctx, measured, rounds, seconds, say); err != nil {
		return err
	}
	if r.Machine, err = watch.End(); err != nil {
		return err
	}
	for _, c := range measured {
		r.Contenders = append(r.Contenders, c.name)
	}
	if p.out != "" {
		if err := toFile(p.out, r); err != nil {
			return err
		}
	}
	if p.format == "json" {
		err = toJSON(os.Stdout, r)
	} else {
		r.print(os.Stdout, measured, measures)
	}
	if err != nil {
		return err
	}
	return r.sound()
}

func defaults(p plan) (rounds int, seconds float64) {
	rounds, seconds = 5, 1
	switch {
	case p.wan:
		rounds, seconds = 1, 15
	case p.idle != "":
		rounds, seconds = 1, 60
	case p.storm != "":
		rounds, seconds = 1, 65 // a session that has lived for a minute lets the next wait start small
	}
	if p.rounds > 0 {
		rounds = p.rounds
	}
	if p.seconds > 0 {
		seconds = p.seconds
	}
	return rounds, seconds
}

// choose returns the contenders of these names in the order of the table; all for no names.
func choose(names string) ([]contender, error) {
	all := contenders()
	if names == "" {
		return all, nil
	}
	wanted := strings.Split(names, ",")
	for _, name := range wanted {
		if !slices.ContainsFunc(all, func(c contender) bool { return c.name == name }) {
			return nil, fmt.Errorf("no contender is called %q", name)
		}
	}
	return slices.DeleteFunc(all, func(c contender) bool { return !slices.Contains(wanted, c.name) }), nil
}

func (r report) print(w io.Writer, measured []contender, measures []figures.Measure) {
	for _, c := range measured {
		fmt.Fprintf(w, "%-13s %s\n", c.name, c.what)
	}
	fmt.Fprintf(w, "\n%s\nmedian (least-most) of %d rounds, %g s each; ns/B and us/open are processor time of gateway and agent\n\n", r.Machine, r.Rounds, r.Seconds)
	for _, c := range r.Cases {
		c.Table(w, r.Contenders, measures)
		fmt.Fprintln(w)
	}
}

// sound is an error if ours lost bytes: then no figure of it counts.
func (r report) sound() error {
	for _, c := range r.Cases {
		if n := c.Lost(ours); n != 0 {
			return fmt.Errorf("%s lost %d bytes (%s)", ours, n, c.Name)
		}
	}
	return nil
}

func toJSON(w io.Writer, r report) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(r)
}

func toFile(path string, r report) (err error) {
	f, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("cannot write the report: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return toJSON(f, r)
}

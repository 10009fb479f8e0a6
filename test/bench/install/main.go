// Command install measures the way from a bare machine to the first answer of a project's page: k3s's own install.sh and
// kubectl apply (the peer) against pipeops-agent install and pipeops-gateway project apply (ours). Both get the same files from
// the same server, each time on a fresh machine, in interleaved rounds. It must be run in the root folder of the checkout.
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
	"path/filepath"
	"slices"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/pipeopshq/pipeops-agent/test/lab"
	"github.com/pipeopshq/pipeops-agent/test/lab/rig"
)

// Stage is one part of a way.
type Stage struct {
	Name    string  `json:"name"`
	Seconds float64 `json:"seconds"`
}

// Run is one way, once.
type Run struct {
	Way    string  `json:"way"` // "peer" or "ours"
	Round  int     `json:"round"`
	Stages []Stage `json:"stages"`
	Total  float64 `json:"total_seconds"`
	Steps  []Stage `json:"steps,omitempty"`          // of our install, inside its stage
	Proved float64 `json:"proved_seconds,omitempty"` // from the start until our install has ended, with all its proofs
}

// Report is what -json writes.
type Report struct {
	Runs  []Run   `json:"runs"`
	Peer  float64 `json:"peer_median_seconds"`
	Ours  float64 `json:"ours_median_seconds"`
	Ratio float64 `json:"ratio"`
}

func main() {
	rounds := flag.Int("rounds", 3, "rounds; each measures both ways once")
	limit := flag.Float64("max", 1.25, "largest ratio of the medians, ours to the peer's, that is a success")
	file := flag.String("json", "", "file for the report as JSON")
	only := flag.String("only", "", "measure one way only: peer or ours")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	report, err := bench(ctx, *rounds, *only)
	if err == nil {
		err = finish(os.Stdout, report, *file, *limit)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench-install:", err)
		os.Exit(1)
	}
}

// way is one of the two: it measures itself on a fresh machine.
type way struct {
	name string
	run  func(context.Context, *rig.Rig, *lab.Machine, *watch) error
}

func bench(ctx context.Context, rounds int, only string) (report Report, err error) {
	dir, err := os.MkdirTemp("", "bench-install-")
	if err != nil {
		return report, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	r, err := rig.Start(ctx, ".", dir, func(message string) { fmt.Fprintln(os.Stderr, "bench-install:", message) })
	if err != nil {
		return report, err
	}
	defer func() { err = errors.Join(err, r.Close(context.WithoutCancel(ctx))) }()

	for round := range rounds {
		ways := []way{{"peer", peer}, {"ours", ours}}
		if round%2 == 1 {
			slices.Reverse(ways) // who comes first may have a colder cache
		}
		for _, w := range ways {
			if only != "" && only != w.name {
				continue
			}
			run, err := measure(ctx, r, w, round)
			if err != nil {
				return report, fmt.Errorf("%s, round %d: %w", w.name, round+1, err)
			}
			fmt.Fprintf(os.Stderr, "bench-install: round %d, %s: %.1f s\n", round+1, w.name, run.Total)
			report.Runs = append(report.Runs, run)
		}
	}
	report.Peer, report.Ours = median(report.Runs, "peer"), median(report.Runs, "ours")
	if report.Peer > 0 {
		report.Ratio = report.Ours / report.Peer
	}
	return report, nil
}

func measure(ctx context.Context, r *rig.Rig, w way, round int) (run Run, err error) {
	m, err := r.Lab.Up(ctx, fmt.Sprintf("bench-%s-%d", w.name, round+1), lab.Options{})
	if err != nil {
		return run, err
	}
	defer func() { err = errors.Join(err, m.Down(context.WithoutCancel(ctx))) }()
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	t := &watch{}
	if err := w.run(ctx, r, m, t); err != nil {
		return run, err
	}
	run = Run{Way: w.name, Round: round + 1, Stages: t.stages, Steps: t.steps, Proved: t.proved}
	for _, s := range t.stages {
		run.Total += s.Seconds
	}
	return run, nil
}

// watch measures stages that follow each other; what is before the first is not counted.
type watch struct {
	stages []Stage
	steps  []Stage
	proved float64
}

func (w *watch) stage(name string, do func() error) error {
	began := time.Now()
	if err := do(); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	w.stages = append(w.stages, Stage{name, time.Since(began).Seconds()})
	return nil
}

func median(runs []Run, way string) float64 {
	var totals []float64
	for _, run := range runs {
		if run.Way == way {
			totals = append(totals, run.Total)
		}
	}
	slices.Sort(totals)
	switch n := len(totals); {
	case n == 0:
		return 0
	case n%2 == 1:
		return totals[n/2]
	default:
		return (totals[n/2-1] + totals[n/2]) / 2
	}
}

// finish prints the report and judges it.
func finish(w io.Writer, report Report, file string, limit float64) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(table, "way\tround\tstage\tseconds\t\n")
	for _, run := range report.Runs {
		for _, s := range run.Stages {
			fmt.Fprintf(table, "%s\t%d\t%s\t%.2f\t\n", run.Way, run.Round, s.Name, s.Seconds)
		}
		fmt.Fprintf(table, "%s\t%d\ttotal\t%.2f\t\n", run.Way, run.Round, run.Total)
		if run.Proved > 0 {
			fmt.Fprintf(table, "%s\t%d\t(all proved)\t%.2f\t\n", run.Way, run.Round, run.Proved)
		}
	}
	if last := lastOurs(report.Runs); last != nil {
		for _, s := range last.Steps {
			fmt.Fprintf(table, "our install\t%d\t%s\t%.2f\t\n", last.Round, s.Name, s.Seconds)
		}
	}
	if err := table.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(w, "\nmedian: ours %.1f s, peer %.1f s, ratio %.2f (at most %.2f)\n", report.Ours, report.Peer, report.Ratio, limit)
	if file != "" {
		data, err := json.MarshalIndent(report, "", "  ")
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Clean(file), append(data, '\n'), 0o644); err != nil {
			return fmt.Errorf("cannot write the report: %w", err)
		}
	}
	if report.Ratio > limit {
		return fmt.Errorf("the ratio %.2f is above %.2f", report.Ratio, limit)
	}
	return nil
}

func lastOurs(runs []Run) *Run {
	for i := len(runs) - 1; i >= 0; i-- {
		if runs[i].Way == "ours" {
			return &runs[i]
		}
	}
	return nil
}

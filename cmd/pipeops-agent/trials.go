package main

import (
	"context"
	"maps"
	"os"
	"slices"

	"github.com/pipeopshq/pipeops-agent/internal/console"
	"github.com/pipeopshq/pipeops-agent/internal/host"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
	"github.com/pipeopshq/pipeops-agent/internal/trial"
)

// trials runs the trials on this machine, or takes those of a captured one. The results are complete if a trial could not
// be undone, too.
func trials(ctx context.Context, s *host.System) (trial.Results, error) {
	if !s.Live() {
		return trial.Of(s), nil
	}
	if os.Geteuid() != 0 {
		return nil, reason.Newf(reason.HostNotRoot, "--trials was given to user %d", os.Geteuid())
	}
	return trial.Run(ctx, trial.Env{})
}

// probed is the document that probe --trials prints.
type probed struct {
	host.Report
	Trials trial.Results `json:"trials"`
}

// showTrials shows the results, in the order in which they were tried.
func showTrials(p *console.Page, results trial.Results) {
	var names []string
	for _, t := range trial.All() {
		names = append(names, t.Name)
	}
	for _, name := range slices.Sorted(maps.Keys(results)) { // a capture may hold those of another version
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	p.Blank()
	p.Line(0, console.Bold, "Tried")
	for _, name := range names {
		r, ok := results[name]
		if !ok {
			continue
		}
		outcome, style := "unknown", console.Dim
		if ok, known := r.OK.Get(); known {
			outcome, style = map[bool]string{true: "yes", false: "no"}[ok], map[bool]console.Style{true: "", false: console.Yellow}[ok]
		}
		if r.Detail != "" {
			outcome += ", " + r.Detail
		}
		p.Row(console.Row{Indent: 2, Column: 20, Label: name, Text: outcome, Style: style})
	}
}

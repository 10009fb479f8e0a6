package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/pipeopshq/pipeops-agent/internal/cli"
	"github.com/pipeopshq/pipeops-agent/internal/console"
	"github.com/pipeopshq/pipeops-agent/internal/host"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
	"github.com/pipeopshq/pipeops-agent/internal/trial"
)

func newProbe(g *globals) *cobra.Command {
	var l look
	var capture, code string
	var all bool
	command := &cobra.Command{
		Use:   "probe",
		Short: "Show what is true of this machine; changes nothing",
		Args:  cli.Arguments(),
		RunE: func(command *cobra.Command, _ []string) error {
			if command.Flags().Changed("explain") {
				return explain(g, command, code)
			}
			if capture != "" {
				if l.root != "" {
					return reason.Newf(reason.Usage, "--capture and --root exclude each other")
				}
				if l.network { // what others say of this machine is not for a folder that is passed on
					return reason.Newf(reason.Usage, "--capture and --network exclude each other")
				}
				return captureMachine(g, command, capture, l)
			}
			system, err := l.open(g)
			if err != nil {
				return err
			}
			facts := host.Collect(command.Context(), system)
			if l.try {
				return probeAndTry(command, g, system, facts, all)
			}
			return g.Print(command.OutOrStdout(), facts.Report(), func(w io.Writer) error {
				return printFacts(w, facts, all)
			})
		},
	}
	l.register(command)
	command.Flags().StringVar(&capture, "capture", "", "write what the probes read into this folder, without secrets")
	command.Flags().BoolVar(&all, "all", false, "show every fact by its name")
	registerExplain(command, &code)
	return command
}

// printFacts prints the facts, and what else belongs on the page.
func printFacts(w io.Writer, facts host.Facts, all bool, more ...func(*console.Page)) error {
	p := console.PageFor(w, os.Getenv)
	if !all {
		facts.Show(p)
	} else if err := facts.ShowAll(p); err != nil {
		return err
	}
	for _, show := range more {
		show(p)
	}
	_, err := p.WriteTo(w)
	return err
}

// probeAndTry shows the results of the trials with the facts.
func probeAndTry(command *cobra.Command, g *globals, system *host.System, facts host.Facts, all bool) error {
	results, undone := trials(command.Context(), system)
	if results == nil {
		return undone
	}
	err := g.Print(command.OutOrStdout(), probed{facts.Report(), results}, func(w io.Writer) error {
		return printFacts(w, facts, all, func(p *console.Page) { showTrials(p, results) })
	})
	return errors.Join(undone, err)
}

// captureDone is the document that probe --capture prints.
type captureDone struct {
	Folder string `json:"folder"`
}

func captureMachine(g *globals, command *cobra.Command, dir string, l look) error {
	if held, err := os.ReadDir(dir); err == nil && len(held) > 0 && !exists(filepath.Join(dir, host.SnapshotFile)) {
		return reason.Newf(reason.Usage, "--capture %s: something else is in that folder", dir).WithFix("name a new folder, or one of an earlier capture")
	}
	var results trial.Results
	var undone error
	if l.try {
		if results, undone = trials(command.Context(), host.Live()); results == nil {
			return undone
		}
	}
	if _, err := host.Capture(command.Context(), dir, results); err != nil {
		return errors.Join(undone, err)
	}
	err := g.Print(command.OutOrStdout(), captureDone{dir}, func(w io.Writer) error {
		_, err := fmt.Fprintf(w, "captured in %s; look through it before you pass it on\n", dir)
		return err
	})
	return errors.Join(undone, err)
}

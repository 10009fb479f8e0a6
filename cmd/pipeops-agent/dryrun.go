package main

import (
	"os"

	"github.com/spf13/cobra"

	"github.com/pipeopshq/pipeops-agent/internal/bootstrap"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
	"github.com/pipeopshq/pipeops-agent/internal/trial"
)

// dryRun is install --dry-run: the plan, what is done of it already, and the exit code of a refusal. It needs neither token nor
// gateway, and root only to see all.
type dryRun struct {
	on   bool
	look look
}

func (d *dryRun) register(command *cobra.Command) {
	flags := command.Flags()
	flags.BoolVar(&d.on, "dry-run", false, "show the plan, what of it is done already and what differs from the last install; change nothing")
	flags.StringVar(&d.look.root, "root", "", "with --dry-run: the machine that probe --capture has written into this folder, instead of this one")
}

func (d *dryRun) run(g *globals, command *cobra.Command, s *settings) error {
	c, err := s.resolve(g, command)
	if err != nil {
		return err
	}
	if err := nameCluster(&c); err != nil {
		return err
	}
	o, err := s.options(g, c)
	if err != nil {
		return err
	}
	return d.show(g, command, o)
}

// show makes the plan and prints it.
func (d *dryRun) show(g *globals, command *cobra.Command, o bootstrap.Options) (err error) {
	if o.Host, err = d.look.open(g); err != nil {
		return err
	}
	known := trial.Of(o.Host)
	if o.Host.Live() && os.Geteuid() == 0 { // as an install does; each is undone at once
		if known, err = trials(command.Context(), o.Host); err != nil {
			return err
		}
	}
	plan, err := bootstrap.DryRun(command.Context(), o, known)
	if err != nil && reason.Exit(err) == reason.ExitInternal {
		return err
	}
	return printPlan(g, command, plan, false, err)
}

package main

import (
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/pipeopshq/pipeops-agent/internal/artifact/manifest"
	"github.com/pipeopshq/pipeops-agent/internal/bootstrap"
	"github.com/pipeopshq/pipeops-agent/internal/cli"
	"github.com/pipeopshq/pipeops-agent/internal/console"
	"github.com/pipeopshq/pipeops-agent/internal/host"
	"github.com/pipeopshq/pipeops-agent/internal/trial"
)

func newPlan(g *globals) *cobra.Command {
	var s settings
	var l look
	var code string
	var all bool
	command := &cobra.Command{
		Use:   "plan",
		Short: "Show what install would do on this machine, and why; changes nothing",
		Long: `Show which distribution fits this machine, why the others do not, and what an install would change.
Exit code 0 with a choice, 10 without, 12 if only the outer host can help.`,
		Args: cli.Arguments(),
		RunE: func(command *cobra.Command, _ []string) error {
			if command.Flags().Changed("explain") {
				return explain(g, command, code)
			}
			c, err := s.resolve(g, command)
			if err != nil {
				return err
			}
			if l.root == "" {
				c = withCallersProxy(c, host.ProxyOfCaller())
			}
			o, err := s.options(g, c)
			if err != nil {
				return err
			}
			if o.Host, err = l.open(g); err != nil {
				return err
			}
			if l.root != "" { // what was kept here is no business of a captured machine
				o.Install.Manifests.Trust = manifest.Trust{}
			}
			known := trial.Of(o.Host)
			if l.try {
				if known, err = trials(command.Context(), o.Host); err != nil {
					return err
				}
			}
			plan, err := bootstrap.MakePlan(command.Context(), o, known)
			if err != nil {
				return err
			}
			return printPlan(g, command, plan, all, plan.Decision.Err())
		},
	}
	s.register(command)
	flags := command.Flags()
	l.register(command)
	flags.BoolVarP(&all, "verbose", "v", false, "leave nothing out, and list the steps")
	registerExplain(command, &code)
	return command
}

// printPlan prints a plan, and returns refusal, which is told already where the plan itself tells it.
func printPlan(g *globals, command *cobra.Command, plan bootstrap.Plan, all bool, refusal error) error {
	out := command.OutOrStdout()
	err := g.Print(out, plan, func(w io.Writer) error {
		p := console.PageFor(w, os.Getenv)
		p.All = all
		showPlan(p, plan)
		_, err := p.WriteTo(w)
		return err
	})
	if err != nil {
		return err
	}
	if g.JSON() || console.IsTerminal(out) { // both say what there is to say
		return cli.Told(refusal)
	}
	return refusal
}

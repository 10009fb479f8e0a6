package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/pipeopshq/pipeops-agent/internal/bootstrap"
	"github.com/pipeopshq/pipeops-agent/internal/cli"
	"github.com/pipeopshq/pipeops-agent/internal/trial"
)

func newPlan(g *globals) *cobra.Command {
	var s settings
	var root string
	var try bool
	command := &cobra.Command{
		Use:   "plan",
		Short: "Show what install would do on this machine, and why; changes nothing",
		Long: `Show which distribution fits this machine, why the others do not, and the steps of an install.
Exit code 0 with a choice, 10 without, 12 if only the outer host can help.`,
		Args: cli.Arguments(),
		RunE: func(command *cobra.Command, _ []string) error {
			c, err := s.resolve(g, command)
			if err != nil {
				return err
			}
			o, err := s.options(g, c)
			if err != nil {
				return err
			}
			if o.Host, err = openSystem(root); err != nil {
				return err
			}
			known := trial.Of(o.Host)
			if try {
				if known, err = trials(command.Context(), o.Host); err != nil {
					return err
				}
			}
			plan, err := bootstrap.MakePlan(command.Context(), o, known)
			if err != nil {
				return err
			}
			err = g.Print(command.OutOrStdout(), plan, func(w io.Writer) error { return printPlan(w, plan) })
			if err != nil {
				return err
			}
			if g.JSON() {
				return cli.Told(plan.Decision.Err())
			}
			return plan.Decision.Err()
		},
	}
	s.register(command)
	command.Flags().StringVar(&root, "root", "", "plan for a captured machine in this folder instead of this one")
	command.Flags().BoolVar(&try, "trials", false, trialsFlag)
	return command
}

func printPlan(w io.Writer, p bootstrap.Plan) error {
	var b strings.Builder
	b.WriteString(p.Facts.Text())
	b.WriteString("\n")
	b.WriteString(p.Decision.Text())
	if len(p.Steps) > 0 {
		b.WriteString("\nSteps of an install:\n")
	}
	var download int64
	for _, s := range p.Steps {
		fmt.Fprintf(&b, "  %-20s %s\n", s.ID, s.Title)
		for _, change := range s.Changes {
			fmt.Fprintf(&b, "  %-20s   %s\n", "", change)
		}
		download += s.Bytes
	}
	if download > 0 {
		fmt.Fprintf(&b, "\nTo download: %.0f MiB\n", float64(download)/(1<<20))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

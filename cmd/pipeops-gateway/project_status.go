package main

import (
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/pipeopshq/pipeops-agent/internal/cli"
	"github.com/pipeopshq/pipeops-agent/internal/gateway"
)

func newProjectStatus(g *globals) *cobra.Command {
	var wait time.Duration
	var cluster *string
	command := &cobra.Command{
		Use:   "status NAME",
		Short: "Say what became of a project",
		Args:  cli.Arguments("NAME"),
		RunE: func(command *cobra.Command, args []string) error {
			p, err := g.admin().Project(command.Context(), *cluster, args[0], wait)
			if err != nil {
				return err
			}
			return g.Print(command.OutOrStdout(), p, func(w io.Writer) error {
				if err := printProjects(w, []gateway.Project{p}); err != nil || len(p.Conditions) == 0 {
					return err
				}
				table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
				_, _ = fmt.Fprintln(table, "\nCONDITION\tSTATUS\tREASON\tMESSAGE")
				for _, c := range p.Conditions {
					_, _ = fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", c.Type, c.Status, orDash(c.Reason), orDash(c.Message))
				}
				return table.Flush()
			})
		},
	}
	command.Flags().DurationVar(&wait, "wait", 0, "wait so long for the project to be ready")
	cluster = g.clusterFlag(command)
	return command
}

package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/pipeopshq/pipeops-agent/internal/cli"
)

func newClustersRemove(g *globals) *cobra.Command {
	var force bool
	command := &cobra.Command{
		Use:   "remove CLUSTER",
		Short: "Forget a cluster whose machine is gone",
		Long: `remove forgets a cluster, its projects and its users' tokens, so that its name is free. The machine itself is not touched:
pipeops-agent uninstall there does that, and then removes the cluster here by itself. Its certificate is refused from now on.`,
		Args:              cli.Arguments("CLUSTER"),
		ValidArgsFunction: g.completeClusters,
		RunE: func(command *cobra.Command, args []string) error {
			removed, err := g.admin().RemoveCluster(command.Context(), args[0], force)
			if err != nil {
				return err
			}
			return g.Print(command.OutOrStdout(), removed, func(w io.Writer) error {
				_, err := fmt.Fprintf(w, "%s is forgotten\n", removed.Name)
				return err
			})
		},
	}
	command.Flags().BoolVar(&force, "force", false, "also if it is connected")
	return command
}

package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/pipeopshq/pipeops-agent/internal/cli"
)

func newClustersRemove(g *globals) *cobra.Command {
	var force bool
	var machine string
	command := &cobra.Command{
		Use:   "remove CLUSTER",
		Short: "Forget a cluster, or one machine of it, that is gone",
		Long: `remove forgets a cluster, its projects and its users' tokens, so that its name is free. The machine itself is not touched:
pipeops-agent uninstall there does that, and then removes the cluster here by itself. Its certificate is refused from now on.

With --machine it forgets one machine and refuses its certificate; with the last server the cluster goes. To take a node out of
the cluster too, use pipeops-gateway nodes remove.`,
		Args:              cli.Arguments("CLUSTER"),
		ValidArgsFunction: g.completeClusters,
		RunE: func(command *cobra.Command, args []string) error {
			if machine != "" {
				gone, err := g.admin().RemoveMachine(command.Context(), args[0], machine, force)
				if err != nil {
					return err
				}
				return g.Print(command.OutOrStdout(), gone, func(w io.Writer) error {
					_, err := fmt.Fprintf(w, "machine %s of %s is forgotten\n", gone.ID, args[0])
					return err
				})
			}
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
	command.Flags().StringVar(&machine, "machine", "", "forget only this machine, by its id or the name of its node")
	return command
}

package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/pipeopshq/pipeops-agent/internal/cli"
)

func newClustersRevoke(g *globals) *cobra.Command {
	var machine string
	command := &cobra.Command{
		Use:   "revoke CLUSTER",
		Short: "Refuse the machines of a cluster, and end what runs on their tunnels",
		Long: `revoke refuses the certificates of all machines of a cluster from now on, and within 5 seconds ends their tunnels with all that
runs on them: commands, watches, connections. Its projects and users stay. The machine that enrolled it can come back with a token
that is made for this cluster: pipeops-gateway token create --cluster CLUSTER.

With --machine only that machine is refused: it is forgotten, as by clusters remove --machine --force.`,
		Args:              cli.Arguments("CLUSTER"),
		ValidArgsFunction: g.completeClusters,
		RunE: func(command *cobra.Command, args []string) error {
			if machine != "" {
				gone, err := g.admin().RemoveMachine(command.Context(), args[0], machine, true)
				if err != nil {
					return err
				}
				return g.Print(command.OutOrStdout(), gone, func(w io.Writer) error {
					_, err := fmt.Fprintf(w, "machine %s of %s is refused\n", gone.ID, args[0])
					return err
				})
			}
			revoked, err := g.admin().RevokeCluster(command.Context(), args[0])
			if err != nil {
				return err
			}
			return g.Print(command.OutOrStdout(), revoked, func(w io.Writer) error {
				_, err := fmt.Fprintf(w, "%s is revoked\n", revoked.Name)
				return err
			})
		},
	}
	command.Flags().StringVar(&machine, "machine", "", "only this machine, by its id or the name of its node")
	return command
}

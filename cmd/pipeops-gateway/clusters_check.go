package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/pipeopshq/pipeops-agent/internal/cli"
	"github.com/pipeopshq/pipeops-agent/internal/console"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

func newClustersCheck(g *globals) *cobra.Command {
	return &cobra.Command{
		Use:   "check CLUSTER",
		Short: "Make a request to the Kubernetes API of a cluster and back, by the way that those of users take",
		Long: `check asks the API server of a cluster whether it is ready, through the tunnel and the agent. Exit code 0 if it said so; else 40,
with what came instead.`,
		Args:              cli.Arguments("CLUSTER"),
		ValidArgsFunction: g.completeClusters,
		RunE: func(command *cobra.Command, args []string) error {
			check, err := g.admin().Check(command.Context(), args[0])
			if err != nil {
				return err
			}
			if !check.OK {
				err = reason.Newf(reason.ClusterUnhealthy, "%s: after %d ms: %s", check.Cluster, check.TookMS, console.Clean(check.Says))
			}
			if err != nil && !g.JSON() {
				return err
			}
			if printed := g.Print(command.OutOrStdout(), check, func(w io.Writer) error {
				_, err := fmt.Fprintf(w, "%s: %s, after %d ms\n", check.Cluster, console.Clean(check.Says), check.TookMS)
				return err
			}); printed != nil {
				return printed
			}
			return cli.Told(err)
		},
	}
}

package main

import (
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/pipeopshq/pipeops-agent/internal/cli"
	"github.com/pipeopshq/pipeops-agent/internal/gateway"
	"github.com/pipeopshq/pipeops-agent/internal/health"
)

func newClustersMachines(g *globals) *cobra.Command {
	return &cobra.Command{
		Use:   "machines CLUSTER",
		Short: "List the machines of a cluster and their tunnels",
		Long: `machines lists the machines that hold a certificate for the cluster. The one that leads is sent the projects; another server
takes over when it is away. What Kubernetes says of its nodes is shown by pipeops-gateway nodes.`,
		Args:              cli.Arguments("CLUSTER"),
		ValidArgsFunction: g.completeClusters,
		RunE: func(command *cobra.Command, args []string) error {
			list, err := g.admin().Machines(command.Context(), args[0])
			if err != nil {
				return err
			}
			return g.Print(command.OutOrStdout(), list, func(w io.Writer) error {
				table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
				_, _ = fmt.Fprintln(table, "ID\tNODE\tROLE\tCAME BY\tCONNECTED\tSINCE\tLEADS\tHEALTH\tSEEN\tALARM")
				for _, m := range list {
					_, _ = fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", m.ID, orDash(m.Node), m.Role, cameBy(m), yes(m.Connected), ago(m.Since),
						yes(m.Leads), machineHealth(m), ago(m.LastSeen), orDash(m.Alarm))
				}
				return table.Flush()
			})
		},
	}
}

func cameBy(m gateway.MachineInfo) string {
	if m.Enrolled {
		return "install"
	}
	return "join"
}

// machineHealth names the first condition of a machine that is not as it should be.
func machineHealth(m gateway.MachineInfo) string {
	for _, c := range m.Conditions {
		if c.Status == health.False {
			return c.Type + ": " + c.Reason
		}
	}
	if len(m.Conditions) == 0 {
		return "-"
	}
	return "good"
}

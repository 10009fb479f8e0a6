package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/pipeopshq/pipeops-agent/internal/cli"
	"github.com/pipeopshq/pipeops-agent/internal/gateway"
)

func newNodes(g *globals) *cobra.Command {
	command := &cobra.Command{
		Use:   "nodes CLUSTER",
		Short: "List the nodes of a cluster, or drain and remove one",
		Long: `nodes asks the Kubernetes API of a cluster, through its tunnel, for its nodes: their roles and health, and whether the machine
of each holds a tunnel of its own.`,
		Args:              cli.Arguments("CLUSTER"),
		ValidArgsFunction: g.completeClusters,
		RunE: func(command *cobra.Command, args []string) error {
			list, err := g.admin().Nodes(command.Context(), args[0])
			if err != nil {
				return err
			}
			return g.Print(command.OutOrStdout(), list, func(w io.Writer) error {
				table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
				_, _ = fmt.Fprintln(table, "NAME\tROLE\tHEALTH\tVERSION\tADDRESS\tAGE\tTUNNEL")
				for _, n := range list {
					_, _ = fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", n.Name, n.Role, nodeHealth(n), orDash(n.Version), address(n), ago(n.Created), tunnelOf(n))
				}
				return table.Flush()
			})
		},
	}
	command.AddCommand(newNodesCordon(g, true), newNodesCordon(g, false), newNodesDrain(g), newNodesRemove(g))
	return command
}

// nodeHealth says in one cell how a node is.
func nodeHealth(n gateway.NodeInfo) string {
	said := []string{"ready"}
	switch n.Ready {
	case "True":
	case "False":
		said[0] = "not ready"
		if n.Reason != "" {
			said[0] += " (" + n.Reason + ")"
		}
	default:
		said[0] = "silent"
	}
	said = append(said, n.Pressures...)
	if n.Cordoned {
		said = append(said, "cordoned")
	}
	return strings.Join(said, ", ")
}

func address(n gateway.NodeInfo) string {
	if len(n.Internal) == 0 {
		return "-"
	}
	return n.Internal[0]
}

func tunnelOf(n gateway.NodeInfo) string {
	switch {
	case n.Tunnel && n.Leads:
		return "yes, leads"
	case n.Tunnel:
		return "yes"
	case n.Machine == "":
		return "-"
	}
	return "no"
}

package main

import (
	"fmt"
	"io"
	"strconv"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/pipeopshq/pipeops-agent/internal/cli"
	"github.com/pipeopshq/pipeops-agent/internal/gateway"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

func newClusters(g *globals) *cobra.Command {
	command := &cobra.Command{
		Use:   "clusters",
		Short: "List the clusters and their machines, or remove one",
		Args:  cli.Arguments(),
		RunE: func(command *cobra.Command, _ []string) error {
			list, err := g.admin().Clusters(command.Context())
			if err != nil {
				return err
			}
			return g.Print(command.OutOrStdout(), list, func(w io.Writer) error {
				table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
				_, _ = fmt.Fprintln(table, "NAME\tID\tCONNECTED\tSINCE\tMACHINES\tKUBERNETES\tNODES\tINSTALL\tSEEN\tALARM")
				for _, c := range list {
					_, _ = fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n",
						c.Name, c.ID, yes(c.Connected), ago(c.Since), machines(c), orDash(c.Kubernetes), nodeCount(c), install(c.Install), ago(c.LastSeen), alarm(c))
				}
				return table.Flush()
			})
		},
	}
	command.AddCommand(newClustersMachines(g), newClustersRemove(g), newClustersRevoke(g), newClustersCheck(g))
	return command
}

// alarm is what an operator should look at first: that the cluster was revoked, or its newest alarm.
func alarm(c gateway.ClusterInfo) string {
	switch {
	case c.Revoked:
		return "revoked"
	case len(c.Alarms) > 0:
		return c.Alarms[0].Code
	}
	return "-"
}

func yes(is bool) string {
	if is {
		return "yes"
	}
	return "no"
}

// machines counts the machines of a cluster and those of them that are connected.
func machines(c gateway.ClusterInfo) string {
	connected := 0
	for _, m := range c.Machines {
		if m.Connected {
			connected++
		}
	}
	return fmt.Sprintf("%d of %d", connected, len(c.Machines))
}

func nodeCount(c gateway.ClusterInfo) string {
	if c.Nodes == 0 {
		return "-"
	}
	return strconv.Itoa(c.Nodes)
}

// install says in one cell how far the install of a cluster is.
func install(e *wire.Event) string {
	switch {
	case e == nil:
		return "-"
	case e.Kind == "done":
		return "done"
	case e.Kind == "error" && (e.Code == string(reason.RebootNeeded) || e.Code == string(reason.ConsentNeeded)):
		return "waits: " + e.Code
	case e.Kind == "error" && e.Code == string(reason.Interrupted):
		return "stopped before its end"
	case e.Kind == "error":
		return "failed: " + e.Code
	}
	what := e.Title
	if what == "" {
		what = e.Step
	}
	if what == "" {
		what = e.Kind
	}
	switch {
	case e.State == "progress" && e.Total > 0:
		return fmt.Sprintf("%s %d %%", what, 100*e.Bytes/e.Total)
	case e.State != "":
		return what + " " + e.State
	}
	return what
}

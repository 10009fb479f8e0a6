package main

import (
	"time"

	"github.com/spf13/cobra"

	"github.com/pipeopshq/pipeops-agent/internal/auditcli"
	"github.com/pipeopshq/pipeops-agent/internal/cli"
	"github.com/pipeopshq/pipeops-agent/internal/gateway"
)

// globals are the flags that every command has.
type globals struct {
	cli.Output
	data string
}

func newRoot(g *globals) *cobra.Command {
	root := cli.Root("pipeops-gateway", "Run the gateway that agents connect to, and manage clusters through it",
		`pipeops-gateway is the far end of the agents' tunnels. One command serves; all others talk to the one that serves on
this machine, through a socket in its data folder that only root and its own user may open. connect also works elsewhere, with
a kubeconfig.

  pipeops-gateway serve --advertise HOST             run the gateway
  pipeops-gateway token create                       make a join token for a machine
  pipeops-gateway clusters                           which clusters there are
  pipeops-gateway join CLUSTER                       make a machine a node of a cluster
  pipeops-gateway kubeconfig CLUSTER                 reach a cluster with kubectl
  pipeops-gateway connect CLUSTER svc/NS/NAME:PORT   reach a service by a port of this machine
  pipeops-gateway project apply -f FILE --cluster C  run a project`, &g.Output)
	root.PersistentFlags().StringVar(&g.data, "data", gateway.DefaultData, "folder of the gateway's state")
	root.AddCommand(newServe(g), newToken(g), newClusters(g), newJoin(g), newKubeconfig(g), newConnect(g), newNodes(g), newProject(g), newUser(g), newAlarms(g), newMetrics(g),
		auditcli.New(&g.Output, func() string { return gateway.AuditDir(g.data) }))
	return root
}

// admin returns a client for the gateway that serves on this machine.
func (g *globals) admin() *gateway.Admin { return gateway.NewAdmin(g.data) }

// completeClusters offers the names of the clusters.
func (g *globals) completeClusters(command *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	list, err := g.admin().Clusters(command.Context())
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	var names []string
	for _, c := range list {
		names = append(names, c.Name)
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// ago says how long ago a time was, as tables do.
func ago(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	d := time.Since(t)
	switch {
	case d < 2*time.Minute:
		return d.Round(time.Second).String()
	case d < 48*time.Hour:
		return d.Round(time.Minute).String()
	}
	return d.Round(time.Hour).String()
}

// orDash keeps the columns of a table apart.
func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

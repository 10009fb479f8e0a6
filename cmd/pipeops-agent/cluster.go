package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/pipeopshq/pipeops-agent/internal/cli"
	"github.com/pipeopshq/pipeops-agent/internal/console"
	"github.com/pipeopshq/pipeops-agent/internal/distro"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

func newCluster(g *globals) *cobra.Command {
	command := &cobra.Command{
		Use:   "cluster",
		Short: "Start, stop or show the cluster of this machine whose nodes are containers",
		Long: `Start, stop or show the cluster of this machine whose nodes are containers: k3d, kind, minikube; or the one that minikube
has made of the machine itself, by its driver none. At boot the unit pipeops-agent-cluster.service starts it; by hand that is
needed only after a stop. A k3s on the machine itself has a unit of its own, k3s.service.`,
		Args: cli.Arguments(),
		RunE: cli.Help,
	}
	command.AddCommand(newClusterStart(g), newClusterStop(g), newClusterStatus(g))
	return command
}

func newClusterStart(g *globals) *cobra.Command {
	return &cobra.Command{
		Use:   "start",
		Short: "Start the nodes in their order, and wait until the API answers",
		Long: `Start the nodes in their order: wait for the engine, then start servers, workers and balancer, wait until the API
answers, and mend what the start has broken, such as the name by which pods reach this machine. On a cluster that runs it changes
nothing. It ends after at most a quarter of an hour.`,
		Args: cli.Arguments(),
		RunE: func(command *cobra.Command, _ []string) error {
			in, name, err := g.madeCluster()
			if err != nil {
				return err
			}
			log := g.logger(command.ErrOrStderr())
			err = distro.StartCluster(command.Context(), in, name, func(what string) { log.Info(what) })
			return interrupted(command.Context(), err)
		},
	}
}

func newClusterStop(g *globals) *cobra.Command {
	return &cobra.Command{
		Use:   "stop",
		Short: "Stop the nodes, those that were started last first",
		Args:  cli.Arguments(),
		RunE: func(command *cobra.Command, _ []string) error {
			in, name, err := g.madeCluster()
			if err != nil {
				return err
			}
			return interrupted(command.Context(), distro.StopCluster(command.Context(), in, name))
		},
	}
}

func newClusterStatus(g *globals) *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "Show the nodes, and whether the API answers",
		Long:  `Show the nodes, and whether the API answers. Exit code 0 if it does, 40 if not.`,
		Args:  cli.Arguments(),
		RunE: func(command *cobra.Command, _ []string) error {
			in, name, err := g.madeCluster()
			if err != nil {
				return err
			}
			state, err := distro.LookAtCluster(command.Context(), in, name)
			if err != nil {
				return interrupted(command.Context(), err)
			}
			if err := g.Print(command.OutOrStdout(), state, func(w io.Writer) error { return printCluster(w, state) }); err != nil {
				return err
			}
			if state.API.Answers {
				return nil
			}
			if len(state.Nodes) == 0 {
				err = reason.Newf(reason.ClusterGone, "the engine has no node of %s %s", state.Distro, state.Name)
			} else {
				err = reason.Newf(reason.ClusterUnhealthy, "%s", state.API.Error).WithFix("pipeops-agent cluster start; " + state.Logs)
			}
			if g.JSON() {
				return cli.Told(err)
			}
			return err
		},
	}
}

func printCluster(w io.Writer, s distro.ClusterState) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintf(table, "cluster\t%s of %s\n", s.Name, s.Distro)
	answer := "answers at " + s.API.Address
	if !s.API.Answers {
		answer = strings.TrimSpace("does not answer " + s.API.Error)
	}
	_, _ = fmt.Fprintf(table, "API\t%s\n", console.Clean(answer))
	for _, n := range s.Nodes {
		_, _ = fmt.Fprintf(table, "%s\t%s, %s, %s\n", console.Clean(n.Name), console.Clean(n.Role), console.Clean(n.State), console.Clean(n.Address))
	}
	return table.Flush()
}

// madeCluster returns which cluster an install has made here.
func (g *globals) madeCluster() (distro.Install, string, error) {
	if os.Geteuid() != 0 {
		return distro.Install{}, "", reason.Newf(reason.HostNotRoot, "cluster was run as user %d", os.Geteuid())
	}
	c, err := g.load(os.Getenv)
	if err != nil {
		return distro.Install{}, "", err
	}
	in := distro.Install{Dir: g.state, Version: c.K3sVersion, Nodes: c.Nodes, Workers: c.Workers, APIPort: c.APIPort, MinikubeForce: c.MinikubeForce}
	return in, distro.MadeCluster(in), nil
}

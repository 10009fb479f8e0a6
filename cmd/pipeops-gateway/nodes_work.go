package main

import (
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/pipeopshq/pipeops-agent/internal/cli"
	"github.com/pipeopshq/pipeops-agent/internal/gateway"
	"github.com/pipeopshq/pipeops-agent/internal/nodes"
)

func newNodesCordon(g *globals, cordoned bool) *cobra.Command {
	name, short := "cordon", "Let a node take no new pods"
	if !cordoned {
		name, short = "uncordon", "Let a node take new pods again"
	}
	return &cobra.Command{
		Use:               name + " CLUSTER NODE",
		Short:             short,
		Args:              cli.Arguments("CLUSTER", "NODE"),
		ValidArgsFunction: g.completeNodes,
		RunE: func(command *cobra.Command, args []string) error {
			return g.admin().CordonNode(command.Context(), args[0], args[1], cordoned, g.teller(command.OutOrStdout(), args[1]))
		},
	}
}

func newNodesDrain(g *globals) *cobra.Command {
	var options nodes.DrainOptions
	var grace time.Duration
	command := &cobra.Command{
		Use:   "drain CLUSTER NODE",
		Short: "Move all pods off a node",
		Long: `drain lets a node take no new pods and evicts those that are on it, but for pods of DaemonSets and those that the kubelet makes of
files. PodDisruptionBudgets are honoured: a pod that must not go now is asked again until the time is over. It does what
kubectl drain --ignore-daemonsets --delete-emptydir-data does. To let the node take pods again: pipeops-gateway nodes uncordon.`,
		Args:              cli.Arguments("CLUSTER", "NODE"),
		ValidArgsFunction: g.completeNodes,
		RunE: func(command *cobra.Command, args []string) error {
			options.Grace = graceOf(command, grace)
			return g.admin().DrainNode(command.Context(), args[0], args[1], options, g.teller(command.OutOrStdout(), args[1]))
		},
	}
	drainFlags(command, &options, &grace)
	return command
}

func newNodesRemove(g *globals) *cobra.Command {
	var options nodes.DrainOptions
	var grace time.Duration
	command := &cobra.Command{
		Use:   "remove CLUSTER NODE",
		Short: "Drain a node and take it out of the cluster",
		Long: `remove drains a node, deletes it from the cluster, which also takes a server out of etcd, and refuses the certificate of its machine
from then on. It refuses to take the last server, or one without which etcd could not decide. The machine itself is not touched, and
its k3s would join again: run pipeops-agent uninstall there, which also takes the node out. For a server that runs, remove waits for
that after it has drained the node.

A node that is not ready cannot be drained. Make sure that its machine is switched off, then use --force.`,
		Args:              cli.Arguments("CLUSTER", "NODE"),
		ValidArgsFunction: g.completeNodes,
		RunE: func(command *cobra.Command, args []string) error {
			options.Grace = graceOf(command, grace)
			return g.admin().RemoveNode(command.Context(), args[0], args[1], options, g.teller(command.OutOrStdout(), args[1]))
		},
	}
	drainFlags(command, &options, &grace)
	return command
}

func drainFlags(command *cobra.Command, o *nodes.DrainOptions, grace *time.Duration) {
	flags := command.Flags()
	flags.BoolVar(&o.Force, "force", false, "also pods that nobody makes again elsewhere")
	flags.BoolVar(&o.KeepEmptyDir, "keep-emptydir", false, "refuse if a pod would lose the data of an emptyDir")
	flags.DurationVar(&o.Timeout, "timeout", nodes.DefaultDrain, "how long the pods may take to go")
	flags.DurationVar(grace, "grace", 0, "how long each pod may take to end, instead of its own time")
}

func graceOf(command *cobra.Command, grace time.Duration) *int64 {
	if !command.Flags().Changed("grace") {
		return nil
	}
	seconds := int64((grace + time.Second - 1) / time.Second) // half a second is not none
	return &seconds
}

// teller prints what is done to a node, as lines of text or of JSON.
func (g *globals) teller(w io.Writer, node string) func(gateway.NodeProgress) {
	if g.JSON() {
		lines := json.NewEncoder(w)
		return func(p gateway.NodeProgress) { _ = lines.Encode(p) }
	}
	w = visible{w}
	return func(p gateway.NodeProgress) {
		what := p.Message
		if p.Pod != "" {
			what = p.Pod
			if p.Message != "" {
				what += ": " + p.Message
			}
		}
		switch p.Kind {
		case "done":
		case "cordoned", "uncordoned", "drained", "deleted":
			_, _ = fmt.Fprintf(w, "%-10s %s\n", p.Kind, node)
		case "gone":
			_, _ = fmt.Fprintf(w, "%-10s %s, %d left\n", p.Kind, what, p.Left)
		default:
			_, _ = fmt.Fprintf(w, "%-10s %s\n", p.Kind, what)
		}
	}
}

// completeNodes offers the clusters, and then the nodes of the one that was given.
func (g *globals) completeNodes(command *cobra.Command, args []string, text string) ([]string, cobra.ShellCompDirective) {
	if len(args) != 1 {
		return g.completeClusters(command, args, text)
	}
	list, err := g.admin().Nodes(command.Context(), args[0])
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	var names []string
	for _, n := range list {
		names = append(names, n.Name)
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

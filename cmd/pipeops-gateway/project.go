package main

import (
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/pipeopshq/pipeops-agent/internal/cli"
	"github.com/pipeopshq/pipeops-agent/internal/gateway"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

func newProject(g *globals) *cobra.Command {
	command := &cobra.Command{Use: "project", Short: "Run projects on clusters", Args: cli.Arguments(), RunE: cli.Help}
	command.AddCommand(newProjectApply(g), newProjectList(g), newProjectStatus(g), newProjectOpen(g), newProjectDelete(g))
	return command
}

// clusterFlag adds --cluster, which every command on projects needs.
func (g *globals) clusterFlag(command *cobra.Command) *string {
	cluster := command.Flags().String("cluster", "", "name of the cluster")
	_ = command.RegisterFlagCompletionFunc("cluster", func(c *cobra.Command, _ []string, toComplete string) ([]string, cobra.ShellCompDirective) {
		return g.completeClusters(c, nil, toComplete)
	})
	run := command.RunE
	command.RunE = func(c *cobra.Command, args []string) error {
		if *cluster == "" {
			return reason.Newf(reason.Usage, "--cluster is missing")
		}
		return run(c, args)
	}
	return cluster
}

func printProjects(w io.Writer, list []gateway.Project) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(table, "NAME\tSTATE\tCHANGED\tURL")
	for _, p := range list {
		_, _ = fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", p.Name, state(p), ago(p.Changed), p.URL)
	}
	return table.Flush()
}

// state says in a few words what became of a project.
func state(p gateway.Project) string {
	switch {
	case p.Ready:
		return "ready"
	case p.Deleted:
		return "being removed"
	case p.Observed < p.Generation:
		return "waits for the agent"
	}
	for _, c := range p.Conditions {
		if c.Status != "True" {
			if c.Message != "" {
				return c.Reason + ": " + c.Message
			}
			return orDash(c.Reason)
		}
	}
	return "not ready"
}

func newProjectList(g *globals) *cobra.Command {
	var cluster *string
	command := &cobra.Command{
		Use:   "list",
		Short: "List the projects of a cluster",
		Args:  cli.Arguments(),
		RunE: func(command *cobra.Command, _ []string) error {
			list, err := g.admin().Projects(command.Context(), *cluster)
			if err != nil {
				return err
			}
			return g.Print(command.OutOrStdout(), list, func(w io.Writer) error { return printProjects(w, list) })
		},
	}
	cluster = g.clusterFlag(command)
	return command
}

func newProjectDelete(g *globals) *cobra.Command {
	var cluster *string
	command := &cobra.Command{
		Use:   "delete NAME",
		Short: "Remove a project from a cluster",
		Args:  cli.Arguments("NAME"),
		RunE: func(command *cobra.Command, args []string) error {
			p, err := g.admin().Delete(command.Context(), *cluster, args[0])
			if err != nil {
				return err
			}
			return g.Print(command.OutOrStdout(), p, func(w io.Writer) error {
				_, err := fmt.Fprintf(w, "%s is being removed from %s\n", p.Name, *cluster)
				return err
			})
		},
	}
	cluster = g.clusterFlag(command)
	return command
}

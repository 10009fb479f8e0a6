package main

import (
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/pipeopshq/pipeops-agent/internal/cli"
	"github.com/pipeopshq/pipeops-agent/internal/console"
	"github.com/pipeopshq/pipeops-agent/internal/gateway/store"
)

func newAlarms(g *globals) *cobra.Command {
	command := &cobra.Command{
		Use:   "alarms",
		Short: "List what an operator should look at, or clear it",
		Long: `alarms lists identities that two machines held at the same time (IDENTITY_CLONED) and tokens that somebody showed again
(TOKEN_USED). They stay until they are cleared.`,
		Args: cli.Arguments(),
		RunE: func(command *cobra.Command, _ []string) error {
			list, err := g.admin().Alarms(command.Context())
			if err != nil {
				return err
			}
			return g.Print(command.OutOrStdout(), list, func(w io.Writer) error { return printAlarms(w, list) })
		},
	}
	command.AddCommand(newAlarmsClear(g))
	return command
}

func printAlarms(w io.Writer, list []store.Alarm) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(table, "CODE\tCLUSTER\tMACHINE\tABOUT\tTIMES\tLAST\tEVIDENCE")
	for _, a := range list {
		_, _ = fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%d\t%s\t%s\n", a.Code, orDash(a.Cluster), orDash(a.Machine), orDash(a.Subject), a.Count, ago(a.Last), console.Clean(a.Evidence))
	}
	return table.Flush()
}

func newAlarmsClear(g *globals) *cobra.Command {
	var cluster string
	command := &cobra.Command{
		Use:   "clear",
		Short: "Forget the alarms; they stay in the audit log",
		Args:  cli.Arguments(),
		RunE: func(command *cobra.Command, _ []string) error {
			n, err := g.admin().ClearAlarms(command.Context(), cluster)
			if err != nil {
				return err
			}
			return g.Print(command.OutOrStdout(), map[string]int64{"cleared": n}, func(w io.Writer) error {
				_, err := fmt.Fprintf(w, "%d cleared\n", n)
				return err
			})
		},
	}
	command.Flags().StringVar(&cluster, "cluster", "", "only those of this cluster")
	_ = command.RegisterFlagCompletionFunc("cluster", g.completeClusters)
	return command
}

package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/pipeopshq/pipeops-agent/internal/cli"
)

func newUser(g *globals) *cobra.Command {
	command := &cobra.Command{Use: "user", Short: "See who may use clusters", Args: cli.Arguments(), RunE: cli.Help}
	command.AddCommand(&cobra.Command{
		Use:   "list",
		Short: "List the users; kubeconfig makes them",
		Args:  cli.Arguments(),
		RunE: func(command *cobra.Command, _ []string) error {
			list, err := g.admin().Users(command.Context())
			if err != nil {
				return err
			}
			return g.Print(command.OutOrStdout(), list, func(w io.Writer) error {
				table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
				_, _ = fmt.Fprintln(table, "NAME\tGROUPS\tTOKENS\tCREATED")
				for _, u := range list {
					_, _ = fmt.Fprintf(table, "%s\t%s\t%d\t%s\n", u.Name, strings.Join(u.Groups, ","), u.Tokens, u.Created.Local().Format(time.DateTime))
				}
				return table.Flush()
			})
		},
	})
	return command
}

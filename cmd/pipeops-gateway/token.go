package main

import (
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/pipeopshq/pipeops-agent/internal/cli"
	"github.com/pipeopshq/pipeops-agent/internal/gateway"
)

func newToken(g *globals) *cobra.Command {
	command := &cobra.Command{Use: "token", Short: "Make and list join tokens", Args: cli.Arguments(), RunE: cli.Help}
	command.AddCommand(newTokenCreate(g), newTokenList(g))
	return command
}

func newTokenCreate(g *globals) *cobra.Command {
	var cluster string
	var ttl time.Duration
	command := &cobra.Command{
		Use:   "create",
		Short: "Make a join token and print it, once",
		Long: `create prints a token by which one machine can enrol, once. With --cluster only a cluster of that name can enrol; if there
is one already, the new machine takes its place.`,
		Args: cli.Arguments(),
		RunE: func(command *cobra.Command, _ []string) error {
			token, err := g.admin().CreateToken(command.Context(), cluster, ttl)
			if err != nil {
				return err
			}
			return g.Print(command.OutOrStdout(), token, func(w io.Writer) error {
				_, err := fmt.Fprintln(w, token.Secret)
				return err
			})
		},
	}
	command.Flags().StringVar(&cluster, "cluster", "", "the only name under which a machine may enrol")
	command.Flags().DurationVar(&ttl, "ttl", gateway.DefaultTokenLife, "how long the token can be used")
	return command
}

func newTokenList(g *globals) *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List the join tokens, without their secrets",
		Args:  cli.Arguments(),
		RunE: func(command *cobra.Command, _ []string) error {
			list, err := g.admin().Tokens(command.Context())
			if err != nil {
				return err
			}
			return g.Print(command.OutOrStdout(), list, func(w io.Writer) error {
				table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
				_, _ = fmt.Fprintln(table, "ID\tFOR\tCREATED\tSTATE")
				for _, t := range list {
					state := "unused, for " + time.Until(t.Expires).Round(time.Second).String()
					switch {
					case !t.Used.IsZero():
						state = "used by " + orDash(t.UsedBy)
					case time.Now().After(t.Expires):
						state = "expired"
					}
					_, _ = fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", t.ID, orDash(t.Cluster), t.Created.Local().Format(time.DateTime), state)
				}
				return table.Flush()
			})
		},
	}
}

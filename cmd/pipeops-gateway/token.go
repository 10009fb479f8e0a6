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
	command := &cobra.Command{Use: "token", Short: "Make, list and revoke join tokens", Args: cli.Arguments(), RunE: cli.Help}
	command.AddCommand(newTokenCreate(g), newTokenList(g), newTokenRevoke(g))
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
		Short: "List the join tokens, also those for nodes, without their secrets",
		Args:  cli.Arguments(),
		RunE: func(command *cobra.Command, _ []string) error {
			list, err := g.admin().Tokens(command.Context())
			if err != nil {
				return err
			}
			return g.Print(command.OutOrStdout(), list, func(w io.Writer) error {
				table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
				_, _ = fmt.Fprintln(table, "ID\tFOR\tROLE\tCREATED\tSTATE")
				for _, t := range list {
					state := "unused, for " + time.Until(t.Expires).Round(time.Second).String()
					switch {
					case !t.Used.IsZero():
						state = "used by " + orDash(t.UsedBy)
					case time.Now().After(t.Expires):
						state = "expired"
					}
					_, _ = fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\n", t.ID, orDash(t.Cluster), orDash(string(t.Role)), t.Created.Local().Format(time.DateTime), state)
				}
				return table.Flush()
			})
		},
	}
}

func newTokenRevoke(g *globals) *cobra.Command {
	return &cobra.Command{
		Use:   "revoke ID",
		Short: "Make a join token useless",
		Long:  `revoke forgets a token, so that nobody can use it. A machine that has used it keeps its identity.`,
		Args:  cli.Arguments("ID"),
		RunE: func(command *cobra.Command, args []string) error {
			if err := g.admin().RevokeToken(command.Context(), args[0]); err != nil {
				return err
			}
			return g.Print(command.OutOrStdout(), map[string]string{"id": args[0]}, func(w io.Writer) error {
				_, err := fmt.Fprintf(w, "%s is revoked\n", args[0])
				return err
			})
		},
	}
}

package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/pipeopshq/pipeops-agent/internal/bootstrap"
	"github.com/pipeopshq/pipeops-agent/internal/cli"
	"github.com/pipeopshq/pipeops-agent/internal/cluster"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

func newAccess(g *globals) *cobra.Command {
	command := &cobra.Command{
		Use:   "access",
		Short: "What the agent and its install may do in the cluster",
		Long: `The running agent works with an account of its own in the cluster (service account pipeops-agent in pipeops-system), with named
rights and a token that it renews. The administrator's kubeconfig is read by install, by access renew and by uninstall only.`,
		Args: cli.Arguments(),
		RunE: cli.Help,
	}
	command.AddCommand(newAccessRenew(g), newAccessManifest(g))
	return command
}

func newAccessRenew(g *globals) *cobra.Command {
	var wait time.Duration
	command := &cobra.Command{
		Use:   "renew",
		Short: "Make a new credential for the running agent, if the present one is of no use any more",
		Long: `Make a new credential for the running agent, and its account if that is gone, with the administrator's kubeconfig. Nothing is
done if the present credential is good. pipeops-agent-credential.service runs it when the agent asks; where OpenRC starts the
services, the agent's does so at its start. Exit code 40 if it cannot be done.`,
		Args: cli.Arguments(),
		RunE: func(command *cobra.Command, _ []string) error {
			if os.Geteuid() != 0 {
				return reason.Newf(reason.HostNotRoot, "access renew was run as user %d", os.Geteuid())
			}
			c, err := g.load(os.Getenv)
			if err != nil {
				return err
			}
			life, err := tokenLife(c)
			if err != nil {
				return err
			}
			if c.Kubeconfig == "" {
				return reason.Newf(reason.ClusterAccess, "the settings in %s name no kubeconfig: nothing is installed here", g.config).
					WithFix("run pipeops-agent install")
			}
			done, err := bootstrap.RenewCredential(command.Context(), bootstrap.CredentialOptions{
				Distro: c.Distro, Kubeconfig: c.Kubeconfig, Context: c.Context, StateDir: g.state, TokenLife: life, Wait: wait,
			})
			if err != nil {
				return interrupted(command.Context(), err)
			}
			return g.Print(command.OutOrStdout(), map[string]string{"done": done}, func(w io.Writer) error {
				_, err := fmt.Fprintln(w, done)
				return err
			})
		},
	}
	command.Flags().DurationVar(&wait, "wait", 90*time.Second, "how long the API server is waited for")
	return command
}

func newAccessManifest(g *globals) *cobra.Command {
	var user string
	command := &cobra.Command{
		Use:   "manifest",
		Short: "Print the role that an install needs in a cluster that it adopts, for kubectl apply",
		Long: `Print what an administrator of a cluster applies so that install may adopt it: a role of all that the install does there, and its
binding to a user, or else to a service account that comes with it, whose kubeconfig the comments tell how to get.`,
		Example: `  pipeops-agent access manifest --user jane@example.com | kubectl apply -f -`,
		Args:    cli.Arguments(),
		RunE: func(command *cobra.Command, _ []string) error {
			if user != strings.TrimSpace(user) || strings.ContainsAny(user, "\n\r\x00") {
				return reason.Newf(reason.Usage, "--user %q is no name of a user", user)
			}
			text, err := cluster.InstallRole(user)
			if err != nil {
				return err
			}
			return g.Print(command.OutOrStdout(), map[string]string{"manifest": text}, func(w io.Writer) error {
				_, err := io.WriteString(w, text)
				return err
			})
		},
	}
	command.Flags().StringVar(&user, "user", "", "as the cluster knows them, such as kubectl auth whoami prints; none: a service account of its own")
	return command
}

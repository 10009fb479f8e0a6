package main

import (
	"encoding/base64"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/pipeopshq/pipeops-agent/internal/cli"
	"github.com/pipeopshq/pipeops-agent/internal/gateway"
)

func newKubeconfig(g *globals) *cobra.Command {
	var user string
	var ttl time.Duration
	command := &cobra.Command{
		Use:   "kubeconfig CLUSTER",
		Short: "Make a user token for a cluster and print a kubeconfig with it",
		Long: `kubeconfig prints a kubeconfig by which kubectl reaches the cluster through this gateway, as the given user. The token in it
is made anew by every call and is for this cluster only.

  pipeops-gateway kubeconfig shop > shop.yaml && kubectl --kubeconfig shop.yaml get nodes`,
		Args:              cli.Arguments("CLUSTER"),
		ValidArgsFunction: g.completeClusters,
		RunE: func(command *cobra.Command, args []string) error {
			access, err := g.admin().CreateAccess(command.Context(), args[0], user, ttl)
			if err != nil {
				return err
			}
			return g.Print(command.OutOrStdout(), access, func(w io.Writer) error {
				_, err := io.WriteString(w, kubeconfig(access))
				return err
			})
		},
	}
	command.Flags().StringVar(&user, "user", "admin", "name of the user; the cluster sees it with the prefix pipeops:")
	command.Flags().DurationVar(&ttl, "ttl", gateway.DefaultUserLife, "how long the token can be used")
	return command
}

// kubeconfig writes the file by hand: every value in it is a name, a URL or base64, so that nothing needs quoting.
func kubeconfig(a gateway.Access) string {
	return fmt.Sprintf(`apiVersion: v1
kind: Config
current-context: %[1]s
clusters:
- name: %[1]s
  cluster:
    server: %[2]s
    certificate-authority-data: %[3]s
contexts:
- name: %[1]s
  context:
    cluster: %[1]s
    user: %[1]s-%[4]s
users:
- name: %[1]s-%[4]s
  user:
    token: %[5]s
`, a.Cluster, a.Server, base64.StdEncoding.EncodeToString([]byte(a.CA)), a.User, a.Token)
}

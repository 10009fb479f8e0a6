package main

import (
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/pipeopshq/pipeops-agent/internal/cli"
	"github.com/pipeopshq/pipeops-agent/internal/gateway"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

// joinCommand is what to run on the machine. The token goes in by standard input of a here-document, so that it is in no
// list of processes.
type joinCommand struct {
	gateway.NewNodeToken
	Command string `json:"command"`
}

// installScript puts the program on a machine that has none.
const installScript = "https://github.com/pipeopshq/pipeops-agent/releases/latest/download/install.sh"

func newJoin(g *globals) *cobra.Command {
	var role string
	var ttl time.Duration
	command := &cobra.Command{
		Use:   "join CLUSTER",
		Short: "Print the command by which a machine joins a cluster",
		Long: `join makes a token for one machine, once, and prints the command to run on that machine as root. The machine becomes a
node of the cluster: a worker, or a server, by which the cluster survives the loss of one when there are three.

A second server needs a cluster that keeps its state in etcd: pipeops-agent install --cluster-init on the first one.`,
		Args:              cli.Arguments("CLUSTER"),
		ValidArgsFunction: g.completeClusters,
		RunE: func(command *cobra.Command, args []string) error {
			if !wire.Role(role).Known() {
				return reason.Newf(reason.Usage, "--role %q: want %s or %s", role, wire.RoleWorker, wire.RoleServer)
			}
			made, err := g.admin().CreateNodeToken(command.Context(), args[0], wire.Role(role), ttl)
			if err != nil {
				return err
			}
			out := joinCommand{made, fmt.Sprintf("pipeops-agent join --gateway %s --token-file /dev/stdin <<'TOKEN'\n%s\nTOKEN", made.Gateway, made.Secret)}
			return g.Print(command.OutOrStdout(), out, func(w io.Writer) error {
				_, err := fmt.Fprintf(w, "# run this as root on the machine that is to become a %s of %s, before %s; it works once\n"+
					"# where there is no pipeops-agent yet, first: curl -fsSL %s | sh -s -- version\n%s\n",
					made.Role, made.Cluster, made.Expires.Local().Format(time.DateTime), installScript, out.Command)
				return err
			})
		},
	}
	command.Flags().StringVar(&role, "role", string(wire.RoleWorker), "what the machine becomes: worker or server")
	command.Flags().DurationVar(&ttl, "ttl", gateway.DefaultTokenLife, "how long the token can be used")
	_ = command.RegisterFlagCompletionFunc("role", cobra.FixedCompletions([]string{string(wire.RoleWorker), string(wire.RoleServer)}, cobra.ShellCompDirectiveNoFileComp))
	return command
}

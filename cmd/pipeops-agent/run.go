package main

import (
	"os"
	"path/filepath"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/pipeopshq/pipeops-agent/internal/agent"
	"github.com/pipeopshq/pipeops-agent/internal/cli"
	"github.com/pipeopshq/pipeops-agent/internal/cluster"
	"github.com/pipeopshq/pipeops-agent/internal/host"
	"github.com/pipeopshq/pipeops-agent/internal/identity"
	"github.com/pipeopshq/pipeops-agent/internal/version"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

// memoryLimit is a soft limit for the garbage collector, in bytes: an idle agent lives on about half of it, and a burst
// of requests may still go over it.
const memoryLimit = 64 << 20

func newRun(g *globals) *cobra.Command {
	return &cobra.Command{
		Use:   "run",
		Short: "Run the agent in the foreground, as its unit does",
		Long: `Run the agent: the tunnel to the gateway, the Kubernetes API for its users, projects, health. It starts and stays
alive while the gateway or the cluster is down. systemd runs it by pipeops-agent.service, OpenRC by /etc/init.d/pipeops-agent.`,
		Args: cli.Arguments(),
		RunE: func(command *cobra.Command, _ []string) error {
			c, err := g.load(os.Getenv)
			if err != nil {
				return err
			}
			id, err := identity.Load(filepath.Join(g.state, "identity"))
			if err != nil {
				return forRoot(err)
			}
			life, err := tokenLife(c)
			if err != nil {
				return err
			}
			if os.Getenv("GOMEMLIMIT") == "" {
				debug.SetMemoryLimit(memoryLimit)
			}
			kubeconfig := filepath.Join(g.state, cluster.CredentialFile)
			if id.Role() == wire.RoleWorker { // it has no account in the cluster: that of its kubelet
				kubeconfig = c.Kubeconfig
			}
			return agent.Run(command.Context(), agent.Options{
				Identity:   id,
				Kubeconfig: kubeconfig,
				TokenLife:  life,
				Distro:     c.Distro,
				DataDir:    c.DataDir,
				NoJoin:     c.Join != nil && !*c.Join,
				StateDir:   g.state,
				Socket:     g.socket,
				Version:    version.String(),
				Host:       host.Live(),
				Log:        g.logger(command.ErrOrStderr()),
			})
		},
	}
}

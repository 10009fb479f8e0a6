package main

import (
	"errors"
	"os"
	"path/filepath"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/pipeopshq/pipeops-agent/internal/agent"
	"github.com/pipeopshq/pipeops-agent/internal/cli"
	"github.com/pipeopshq/pipeops-agent/internal/cluster"
	"github.com/pipeopshq/pipeops-agent/internal/host"
	"github.com/pipeopshq/pipeops-agent/internal/identity"
	"github.com/pipeopshq/pipeops-agent/internal/policy"
	"github.com/pipeopshq/pipeops-agent/internal/transport"
	"github.com/pipeopshq/pipeops-agent/internal/version"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

// memoryLimit is a soft limit for the garbage collector, in bytes: an idle agent lives on about half of it, and a burst
// of requests may still go over it.
const memoryLimit = 64 << 20

func newRun(g *globals) *cobra.Command {
	var v supervision
	command := &cobra.Command{
		Use:   "run",
		Short: "Run the agent in the foreground, as its unit does; or all services, where no init does",
		Long: `Run the agent: the tunnel to the gateway, the Kubernetes API for its users, projects, health. It starts and stays
alive while the gateway or the cluster is down. systemd runs it by pipeops-agent.service, OpenRC by /etc/init.d/pipeops-agent.

With --supervise it runs the services itself, where neither of the two does: in a container, in WSL 2 without systemd, under
another init. It starts the cluster and the agent, starts them again when they end, keeps their logs in /var/log short, and at
SIGTERM stops them, the last first. An install starts it if it does not run; nothing starts it with the machine unless you
enter it where things are started: as the command of the container; in WSL 2 as command=pipeops-agent run --supervise
--background below [boot] in /etc/wsl.conf; elsewhere in /etc/rc.local. --background starts it and returns when it answers.

On a machine where nothing is installed it first runs the install, if PIPEOPS_GATEWAY (or the configuration file) names a
gateway: the token comes from PIPEOPS_TOKEN_FILE or PIPEOPS_TOKEN, other settings from PIPEOPS_<NAME>. If that fails it ends with
the exit code of the install. Without a gateway it waits for somebody to run an install. Exit code 75 if another one runs.`,
		Example: `  pipeops-agent run --supervise --background
  docker run -d --privileged --cgroupns=private --stop-timeout 90 -v pipeops:/var/lib -e PIPEOPS_GATEWAY=gateway.example.com:8443 \
    -e PIPEOPS_TOKEN_FILE=/run/secrets/token ... IMAGE pipeops-agent run --supervise`,
		Args: cli.Arguments(),
		RunE: func(command *cobra.Command, _ []string) error {
			if v.on || v.background || v.hold {
				return v.run(g, command)
			}
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
			through, err := dialer(c)
			if err != nil {
				return err
			}
			log := g.logger(command.ErrOrStderr())
			through.Memory, through.Log = filepath.Join(g.state, transport.MemoryFile), log.With("service", "transport")
			if err := errors.Join(checkAudit(c.Audit), checkMetrics(c.Metrics)); err != nil {
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
				Transport:  through,
				Kubeconfig: kubeconfig,
				TokenLife:  life,
				Distro:     c.Distro,
				DataDir:    c.DataDir,
				Audit:      c.Audit,
				Metrics:    c.Metrics,
				NoJoin:     c.Join != nil && !*c.Join,
				Policy:     policy.File,
				StateDir:   g.state,
				Socket:     g.socket,
				Version:    version.String(),
				Host:       host.Live(),
				Log:        log,
			})
		},
	}
	v.register(command)
	return command
}

package main

import (
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"os"

	"github.com/spf13/cobra"

	"github.com/pipeopshq/pipeops-agent/internal/agent"
	"github.com/pipeopshq/pipeops-agent/internal/auditcli"
	"github.com/pipeopshq/pipeops-agent/internal/cli"
	"github.com/pipeopshq/pipeops-agent/internal/config"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

// globals are the flags that every command has.
type globals struct {
	cli.Output
	config string
	state  string
	socket string
	debug  bool
}

func newRoot(g *globals) *cobra.Command {
	root := cli.Root("pipeops-agent", "Turn this machine into a Kubernetes server that a gateway can use",
		`pipeops-agent looks at this machine, decides which Kubernetes distribution fits and says why, installs it by a plan
that survives crashes, joins a gateway with a one-use token and keeps a tunnel to it.

  pipeops-agent plan                                        what would be done here, and why
  pipeops-agent install --gateway HOST:PORT --token-file F  do it
  pipeops-agent join --gateway HOST:PORT --token-file F     make it a node of a cluster that is there
  pipeops-agent doctor                                      what is wrong, and the way out
  pipeops-agent status                                      what the running agent says
  pipeops-agent uninstall                                   make this machine what it was before`, &g.Output, cli.Detail{Name: "trust", Tell: g.tellTrust})
	flags := root.PersistentFlags()
	flags.StringVar(&g.config, "config", config.Path, "the agent's configuration file")
	flags.StringVar(&g.state, "state-dir", config.StateDir, "where the agent keeps its journal and identity")
	flags.StringVar(&g.socket, "socket", config.Socket, "the running agent's local socket")
	flags.BoolVar(&g.debug, "debug", false, "log more")
	root.AddCommand(newProbe(g), newPlan(g), newDoctor(g), newInstall(g), newJoin(g), newUninstall(g), newBundle(g), newResume(g), newRun(g), newServices(g), newStatus(g), newCluster(g), newAccess(g), newPolicy(g), newMetrics(g), auditcli.New(&g.Output, func() string { return agent.AuditDir(g.state) }))
	return root
}

// load reads the settings that the file and the environment give.
func (g *globals) load(getenv func(string) string) (config.Config, error) {
	c, err := config.Load(g.config)
	if err != nil {
		return c, badFile(g.config, err)
	}
	return c.Environ(getenv), nil
}

// badFile is a configuration that cannot be read, or is not understood.
func badFile(path string, err error) error {
	if os.Geteuid() != 0 && errors.Is(err, fs.ErrPermission) {
		return forRoot(err)
	}
	return reason.New(reason.Usage, err.Error(), nil).WithFix("mend what is named, or take it away from " + path)
}

// forRoot says of what only root may read that it is so.
func forRoot(err error) error {
	var known *reason.Error
	if os.Geteuid() == 0 || !errors.Is(err, fs.ErrPermission) || errors.As(err, &known) {
		return err
	}
	return reason.New(reason.HostNotRoot, "", err)
}

// logger writes to stderr; systemd's journal adds time and unit.
func (g *globals) logger(w io.Writer) *slog.Logger {
	level := slog.LevelInfo
	if g.debug {
		level = slog.LevelDebug
	}
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: level}))
}

// quiet is the logger of a command whose view tells the same: it is silent unless more is asked for.
func (g *globals) quiet(command *cobra.Command) *slog.Logger {
	if g.debug {
		return g.logger(command.ErrOrStderr())
	}
	return slog.New(slog.DiscardHandler)
}

package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/pipeopshq/pipeops-agent/internal/cli"
	"github.com/pipeopshq/pipeops-agent/internal/distro"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
	"github.com/pipeopshq/pipeops-agent/internal/supervise"
	"github.com/pipeopshq/pipeops-agent/internal/version"
)

// supervision is how the services are run where no init does.
type supervision struct{ on, background, hold bool }

func (v *supervision) register(command *cobra.Command) {
	flags := command.Flags()
	flags.BoolVar(&v.on, "supervise", false, "run all services of this machine, where neither systemd nor OpenRC does")
	flags.BoolVar(&v.background, "background", false, "with --supervise: start it in the background, unless it runs, and return when it answers")
	flags.BoolVar(&v.hold, "hold", false, "with --supervise: take over what runs, and start nothing by itself")
	if err := flags.MarkHidden("hold"); err != nil {
		panic(err) // the flag is declared just above
	}
}

// client asks the supervisor of this machine. Its folder in /run is that of the agent's socket.
func (g *globals) supervisor() *supervise.Client {
	return &supervise.Client{Socket: filepath.Join(filepath.Dir(g.socket), filepath.Base(supervise.Socket)), Folder: supervise.Folder(g.state)}
}

func (v *supervision) run(g *globals, command *cobra.Command) error {
	if !v.on {
		return reason.Newf(reason.Usage, "--background and --hold are for --supervise")
	}
	if os.Geteuid() != 0 {
		return reason.Newf(reason.HostNotRoot, "run --supervise was run as user %d", os.Geteuid())
	}
	if _, err := os.Stat("/run/systemd/system"); err == nil {
		return reason.Newf(reason.Usage, "systemd runs the services of this machine").
			WithFix("pipeops-agent install makes units for it; systemctl start k3s pipeops-agent starts them")
	}
	program, err := os.Executable()
	if err != nil {
		return fmt.Errorf("cannot find this program: %w", err)
	}
	if v.background {
		if err := g.served(); err != nil {
			return err
		}
		_, err := g.supervisor().Ensure(command.Context(), program, distro.SupervisorLog, v.hold)
		return err
	}
	log := g.logger(command.ErrOrStderr())
	s := &supervise.Supervisor{
		Folder: supervise.Folder(g.state), Run: filepath.Dir(g.socket), Version: version.String(),
		Stays: os.Getpid() == 1, Hold: v.hold, Log: log,
	}
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(memoryLimit)
	}
	installed, whole := supervise.Installed(s.Folder)
	c, err := g.load(os.Getenv)
	switch {
	case err != nil:
		return err
	case whole, v.hold:
	case c.Gateway != "":
		log.Info("installs first: what is needed is not here, or not whole", "gateway", c.Gateway)
		argv := []string{program, "install"}
		for _, f := range [][2]string{{"--config", g.config}, {"--state-dir", g.state}, {"--socket", g.socket}} {
			path, err := filepath.Abs(f[1]) // it does not run where we do
			if err != nil {
				return err
			}
			argv = append(argv, f[0], path)
		}
		s.Errand = &supervise.Errand{Argv: argv, Env: os.Environ()}
	case !installed:
		log.Info("nothing is installed here yet: run pipeops-agent install, or set PIPEOPS_GATEWAY and PIPEOPS_TOKEN_FILE")
	}
	if s.Stays {
		if err := supervise.LeaveRootGroup("/"); err != nil {
			log.Warn("the first control group cannot be left: pods may not start", "err", err)
		}
	}
	err = s.Serve(command.Context())
	var failed *supervise.ErrandError
	if errors.As(err, &failed) && failed.Exit.Code > 0 { // which has told itself why
		e := reason.New(reason.StepFailed, "", err)
		e.Entry.Exit = failed.Exit.Code
		return cli.Told(e)
	}
	return err
}

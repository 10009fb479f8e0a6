package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/pipeopshq/pipeops-agent/internal/bootstrap"
	"github.com/pipeopshq/pipeops-agent/internal/cli"
	"github.com/pipeopshq/pipeops-agent/internal/config"
	"github.com/pipeopshq/pipeops-agent/internal/distro"
	"github.com/pipeopshq/pipeops-agent/internal/host"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

func newInstall(g *globals) *cobra.Command {
	var s settings
	var tokenFile string
	var dry dryRun
	command := &cobra.Command{
		Use:   "install",
		Short: "Make this machine a Kubernetes server and join it to a gateway",
		Long: `Make this machine a Kubernetes server and join it to a gateway. Killed, or cut off by a reboot, it goes on by itself
where it was; stopped with Ctrl-C, it goes on when it is run again. Run on a machine that is as it should be, it changes
nothing.

The join token is read from --token-file, PIPEOPS_TOKEN_FILE, the systemd credential pipeops-token, or PIPEOPS_TOKEN.
Every other setting may also stand in /etc/pipeops-agent/config.yaml or in the environment as PIPEOPS_<NAME>. The file keeps
what an install was told: a later one goes on with it, and a flag changes one setting. --tls-san +NAME adds to the list, a list
without + takes its place, and an empty value such as --tls-san "" takes a setting back to its default. What changes, and what is
started anew for it, is told before anything is done; --dry-run tells it and does nothing.

Package managers are waited for if the plan needs one, and cloud-init if it has not ended (not when cloud-init itself runs the
install), at most --wait; --wait 0 waits for nobody, not for cloud-init either. Another pipeops-agent is waited for only if --wait
is given. Exit code 75 if somebody is still busy then.

Packages are installed, and a reboot is asked for, only if the machine cannot do without and you agree: on a terminal you
are asked, elsewhere --consent says so. Exit code 13 if your consent is missing, 11 if the machine must be rebooted now:
the install goes on by itself after it. --reboot has the machine rebooted as soon as that is needed.`,
		Example: `  pipeops-agent install --gateway gateway.example.com:8443 --token-file token --cluster shop
  pipeops-agent install --tls-san +api.example.com --dry-run
  pipeops-gateway token create | ssh root@machine pipeops-agent install --gateway gateway.example.com:8443 --token-file -`,
		Args: cli.Arguments(),
		RunE: func(command *cobra.Command, _ []string) error {
			if dry.on {
				return dry.run(g, command, &s)
			}
			if command.Flags().Changed("root") {
				return reason.Newf(reason.Usage, "--root without --dry-run: an install changes the machine that it runs on")
			}
			o, err := s.install(g, command)
			if err != nil {
				return err
			}
			o.Token = func() (wire.Token, error) { return readToken(tokenFile, command.InOrStdin(), os.Getenv) }
			err = runPlan(command, g, o, bootstrap.Install)
			if s.reboot && bootstrap.Repeats(err) {
				return errors.Join(err, bootstrap.Reboot(command.Context()))
			}
			return err
		},
	}
	s.register(command)
	s.registerRun(command)
	flags := command.Flags()
	flags.StringVar(&s.Cluster, "cluster", "", "name of the cluster at the gateway (default the name of this machine)")
	dry.register(command)
	flags.StringVar(&tokenFile, "token-file", "", "file with the join token; - is standard input")
	return command
}

// served refuses files of the agent's that its services do not know: they would neither join the gateway nor go on with an
// install that is cut off.
func (g *globals) served() error {
	for _, f := range []struct{ name, given, known string }{
		{"config", g.config, config.Path},
		{"state-dir", g.state, config.StateDir},
		{"socket", g.socket, config.Socket},
	} {
		if filepath.Clean(f.given) != f.known {
			return reason.Newf(reason.Usage, "--%s %s: the services of an install know %s only", f.name, f.given, f.known).
				WithFix("leave --" + f.name + " away; settings belong in " + config.Path)
		}
	}
	return nil
}

// install checks what can be checked before anything is looked at.
func (s *settings) install(g *globals, command *cobra.Command) (bootstrap.Options, error) {
	c, err := s.resolve(g, command)
	if err != nil {
		return bootstrap.Options{}, err
	}
	if os.Geteuid() != 0 {
		return bootstrap.Options{}, reason.Newf(reason.HostNotRoot, "install was run as user %d", os.Geteuid())
	}
	if err := s.ready(c); err != nil {
		return bootstrap.Options{}, err
	}
	if err := nameCluster(&c); err != nil {
		return bootstrap.Options{}, err
	}
	if err := g.served(); err != nil {
		return bootstrap.Options{}, err
	}
	o, err := s.options(g, withCallersProxy(c, host.ProxyOfCaller()))
	o.Host = host.Live()
	o.Wait = s.wait
	if command.Flags().Changed("wait") {
		o.WaitLock = s.wait
	}
	return o, err
}

// ready checks what every change of a machine needs.
func (s *settings) ready(c config.Config) error {
	if c.Gateway == "" {
		return reason.Newf(reason.Usage, "no gateway was given").
			WithFix("give its address by --gateway HOST:PORT or PIPEOPS_GATEWAY")
	}
	if s.wait < 0 {
		return reason.Newf(reason.Usage, "--wait %s: a time before now", s.wait)
	}
	return nil
}

// nameCluster names the cluster if nobody has, and checks its name.
func nameCluster(c *config.Config) (err error) {
	if c.Cluster == "" {
		if c.Cluster, err = clusterName(os.Hostname()); err != nil {
			return err
		}
	}
	if !wire.ValidName(c.Cluster) {
		return reason.Newf(reason.Usage, "the cluster name %q is not lower-case letters, digits and '-', at most 40", c.Cluster).
			WithFix("choose another one with --cluster")
	}
	return nil
}

// clusterName is the name of the machine without its domain.
func clusterName(hostname string, err error) (string, error) {
	if err != nil {
		return "", reason.New(reason.Usage, "no cluster name was given, and this machine has no name", err)
	}
	for i, r := range hostname {
		if r == '.' {
			hostname = hostname[:i]
			break
		}
	}
	return hostname, nil
}

// runPlan shows a run of install or join.
func runPlan(command *cobra.Command, g *globals, o bootstrap.Options, run func(context.Context, bootstrap.Options) (int, error)) error {
	view := g.view(command.OutOrStdout())
	file, isFile := command.OutOrStdout().(*os.File)
	defer view.Close()
	o.Events = view.Show
	o.Log = g.quiet(command)
	if stdin, ok := command.InOrStdin().(*os.File); ok && o.Request.Consent == nil && !g.JSON() &&
		isFile && term.IsTerminal(int(file.Fd())) && term.IsTerminal(int(stdin.Fd())) {
		o.Agree = func(ctx context.Context, needed []distro.Remedy) (bool, error) {
			return askConsent(ctx, stdin, file, needed)
		}
	}
	_, err := run(command.Context(), o)
	return interrupted(command.Context(), err)
}

// interrupted makes the end by a signal an error of its own.
func interrupted(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil {
		return reason.Newf(reason.Interrupted, "a signal came")
	}
	return err
}

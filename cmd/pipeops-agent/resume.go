package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/pipeopshq/pipeops-agent/internal/bootstrap"
	"github.com/pipeopshq/pipeops-agent/internal/cli"
	"github.com/pipeopshq/pipeops-agent/internal/config"
	"github.com/pipeopshq/pipeops-agent/internal/console"
	"github.com/pipeopshq/pipeops-agent/internal/host"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

func newResume(g *globals) *cobra.Command {
	var onConsole bool
	command := &cobra.Command{
		Use:   "resume",
		Short: "Go on with an install, join or uninstall that was interrupted, as its unit does at boot",
		Long: `Wait until nobody else changes this machine, then go on with what was interrupted: by SIGKILL, a power cut, a reboot.
pipeops-agent-resume.service does so at every boot, and as soon as an install has ended; where OpenRC starts the services,
/etc/init.d/pipeops-agent-resume does. It has nothing to do where all came to its end, or a user stopped it. An install that
is run meanwhile takes over. Exit codes as of install; 0 also where there was nothing to do.`,
		Args: cli.Arguments(),
		RunE: func(command *cobra.Command, _ []string) error {
			if os.Geteuid() != 0 {
				return reason.Newf(reason.HostNotRoot, "resume was run as user %d", os.Geteuid())
			}
			out := command.OutOrStdout()
			if onConsole {
				if screen, err := os.OpenFile("/dev/console", os.O_WRONLY, 0); err == nil {
					defer screen.Close()
					out = io.MultiWriter(out, lax{screen})
				}
			}
			return runResume(command, g, out, onConsole)
		},
	}
	command.Flags().BoolVar(&onConsole, "console", false, "show the progress on the console of the machine, too")
	return command
}

// lax is a writer whose failure is nobody's concern.
type lax struct{ io.Writer }

func (l lax) Write(p []byte) (int, error) {
	_, _ = l.Writer.Write(p)
	return len(p), nil
}

func runResume(command *cobra.Command, g *globals, out io.Writer, onConsole bool) error {
	view := console.Plain(out)
	if g.JSON() {
		view = console.JSON(out)
	}
	defer view.Close()
	log := g.quiet(command)
	again := false
	install := bootstrap.InstallOperation(func(text json.RawMessage) (bootstrap.Options, error) {
		kept, err := parseKept(text)
		if err != nil {
			return bootstrap.Options{}, err
		}
		again = kept.Reboot
		o, err := kept.options(g)
		o.Events, o.Log = view.Show, log
		return o, err
	})
	uninstall := bootstrap.UninstallOperation(func() (o bootstrap.UninstallOptions, err error) {
		o.Events, o.Log = view.Show, log
		err = g.uninstalled(&o)
		return o, err
	})
	join := bootstrap.JoinOperation(func(text json.RawMessage) (bootstrap.Options, error) {
		kept, err := parseKeptJoin(text)
		if err != nil {
			return bootstrap.Options{}, err
		}
		again = kept.Reboot
		o, err := kept.options(g)
		o.Events, o.Log = view.Show, log
		return o, err
	})
	r := bootstrap.Resumer{Dir: g.state, Log: log, Operations: map[string]bootstrap.Operation{"install": install, "join": join, "uninstall": uninstall}}
	if !onConsole { // the service would say so at every boot
		r.Idle = func(why string) { view.Show(wire.Event{Kind: "done", Message: why, Time: time.Now()}) }
	}
	err := r.Run(command.Context())
	if again && bootstrap.Repeats(err) {
		return errors.Join(err, bootstrap.Reboot(command.Context()))
	}
	return interrupted(command.Context(), err)
}

// kept are the settings of an install as they were resolved, for those who go on with it. There is no token in them: it is used
// up before they are written. The address of a proxy may hold its password: they lie in a file of root's.
type kept struct {
	Config config.Config `json:"config"`
	Adopt  bool          `json:"adopt"`
	Reboot bool          `json:"reboot,omitempty"`
	File   string        `json:"file"`   // of the configuration
	Socket string        `json:"socket"` // of the agent

	BundleGiven bool `json:"bundle_given,omitempty"` // to this install, not to an earlier one
}

func (s *settings) kept(g *globals, c config.Config, consent []reason.Cost) ([]byte, error) {
	c.Consent = costNames(consent)
	return json.Marshal(kept{Config: c, Adopt: s.adopt, Reboot: s.reboot, File: g.config, Socket: g.socket, BundleGiven: s.bundleGiven})
}

// parseKept reads them strictly: what a newer version has written is not guessed at.
func parseKept(text []byte) (kept, error) {
	var k kept
	if err := decodeStrictly(text, &k); err != nil {
		return k, err
	}
	if k.Config.Gateway == "" || !wire.ValidName(k.Config.Cluster) {
		return k, errors.New("it names no gateway, or no cluster")
	}
	return k, nil
}

func decodeStrictly(text []byte, v any) error {
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	return decoder.Decode(v)
}

// options makes the options of the install again.
func (k kept) options(g *globals) (bootstrap.Options, error) {
	g.config, g.socket = k.File, k.Socket
	s := settings{adopt: k.Adopt, reboot: k.Reboot, bundleGiven: k.BundleGiven, resumes: true}
	var err error
	if s.stored, err = g.stored(); err != nil {
		return bootstrap.Options{}, err
	}
	o, err := s.options(g, k.Config)
	o.Wait = bootstrap.DefaultWait
	o.Host = host.Live()
	o.Token = func() (wire.Token, error) {
		return wire.Token{}, reason.Newf(reason.IdentityMissing, "the machine was enrolled when the install began, and is so no more")
	}
	return o, err
}

package main

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/pipeopshq/pipeops-agent/internal/bootstrap"
	"github.com/pipeopshq/pipeops-agent/internal/cli"
	"github.com/pipeopshq/pipeops-agent/internal/console"
	"github.com/pipeopshq/pipeops-agent/internal/distro"
	"github.com/pipeopshq/pipeops-agent/internal/doctor"
	"github.com/pipeopshq/pipeops-agent/internal/host"
	"github.com/pipeopshq/pipeops-agent/internal/identity"
	"github.com/pipeopshq/pipeops-agent/internal/localapi"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
	"github.com/pipeopshq/pipeops-agent/internal/trial"
)

func newDoctor(g *globals) *cobra.Command {
	var l look
	var code string
	var all bool
	command := &cobra.Command{
		Use:   "doctor",
		Short: "Say what is wrong with this machine, its cluster and the agent, and the way out; changes nothing",
		Long: `Look at this machine, at the cluster and at the running agent, and list what is not as it should be, the worst first.
It works before an install too, and says whether one would succeed. Exit code 0 if nothing is wrong, 40 if the cluster or
the agent is not healthy, 10 or 12 if there is none and this machine would be refused.`,
		Args: cli.Arguments(),
		RunE: func(command *cobra.Command, _ []string) error {
			if command.Flags().Changed("explain") {
				return explain(g, command, code)
			}
			patient, err := examine(command, g, l)
			if err != nil {
				return err
			}
			report := doctor.Examine(patient)
			err = g.Print(command.OutOrStdout(), report, func(w io.Writer) error {
				p := console.PageFor(w, os.Getenv)
				p.All = all
				showReport(p, patient.Facts, report)
				_, err := p.WriteTo(w)
				return err
			})
			if err != nil {
				return err
			}
			return cli.Told(report.Err())
		},
	}
	flags := command.Flags()
	l.register(command)
	flags.BoolVarP(&all, "verbose", "v", false, "leave nothing out")
	registerExplain(command, &code)
	return command
}

// examine collects all that can be seen of a machine; nothing is judged.
func examine(command *cobra.Command, g *globals, l look) (doctor.Patient, error) {
	system, err := l.open(g)
	if err != nil {
		return doctor.Patient{}, err
	}
	p := doctor.Patient{Trials: trial.Of(system), Request: distro.Request{Adopt: true}, Now: time.Now()}
	if !system.Live() {
		p.Facts = host.Collect(command.Context(), system)
		return p, nil
	}
	c, err := g.load(os.Getenv)
	if err != nil && !denied(g.config) {
		p.Settings = err
	}
	system.DataDir = c.DataDir
	p.Facts = host.Collect(command.Context(), system)
	p.Request.Distro, p.Request.Kubeconfig, p.Request.Context = c.Distro, c.Kubeconfig, c.Context
	p.Request.Kubernetes, p.Request.DataDir = c.K3sVersion, c.DataDir
	if l.try {
		if p.Trials, err = trials(command.Context(), system); err != nil {
			return p, err
		}
	}
	begun, err := bootstrap.LookBegun(g.state, "")
	if err != nil {
		p.Begun = err
	} else if begun != nil {
		p.Begun, p.UnderWay = begun.Err(), begun.State == bootstrap.Running
	}
	id, err := identity.Load(filepath.Join(g.state, "identity"))
	switch {
	case err == nil:
		p.Enrolled, p.Expires = true, id.Expires()
	case errors.Is(err, fs.ErrPermission):
		p.Enrolled = true
	case !reason.Is(err, reason.IdentityMissing):
		p.Enrolled, p.Identity = true, err
	}
	status, err := localapi.Fetch(command.Context(), g.socket)
	if err != nil {
		p.Silence = err
	} else {
		p.Agent = &status
	}
	if distro.Supervised(p.Facts) {
		if o, err := g.supervisor().Overview(command.Context()); err != nil {
			p.Alone = err
		} else {
			p.Services = &o
		}
	}
	if p.Ails() {
		p.Words = distro.ReadWords(command.Context(), p.Facts)
	}
	return p, nil
}

// denied reports whether a file is there that is not ours to read.
func denied(path string) bool {
	file, err := os.Open(path)
	if err == nil {
		_ = file.Close()
	}
	return errors.Is(err, fs.ErrPermission)
}

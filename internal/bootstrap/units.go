package bootstrap

import (
	"context"
	"fmt"
	"os"

	"github.com/pipeopshq/pipeops-agent/internal/distro"
	"github.com/pipeopshq/pipeops-agent/internal/openrc"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
	"github.com/pipeopshq/pipeops-agent/internal/supervise"
	"github.com/pipeopshq/pipeops-agent/internal/unit"
)

// connect reaches who starts the services of this machine: systemd, OpenRC, or our own supervisor, which need not run yet. The
// connection must be closed.
func connect(ctx context.Context, in distro.Install) (distro.Units, func(), error) {
	switch {
	case in.Supervised:
		return supervisor(in.Dir), func() {}, nil
	case in.OpenRC:
		manager, err := openrc.Connect(ctx)
		if err != nil {
			return nil, nil, reason.New(reason.HostNoSystemd, "rc-status", err)
		}
		return manager, func() {}, nil
	}
	manager, err := unit.Connect(ctx)
	if err != nil {
		return nil, nil, reason.New(reason.HostNoSystemd, "D-Bus", err)
	}
	return manager, manager.Close, nil
}

func supervisor(state string) *supervise.Client {
	return &supervise.Client{Folder: supervise.Folder(state)}
}

// live says who starts the services of this machine now, without a look at anything else.
func live(ctx context.Context, state string) distro.Install {
	in := distro.Install{Dir: state}
	if _, err := os.Stat("/run/systemd/system"); err == nil {
		return in
	}
	in.Supervised = supervisor(state).Answers(ctx)
	in.OpenRC = !in.Supervised
	return in
}

// supervisorSetup says how the supervisor is started where the services are run by one.
func (o Options) supervisorSetup(in distro.Install) distro.SupervisorSetup {
	client := supervisor(in.Dir)
	return distro.SupervisorSetup{
		Answers: client.Answers,
		Ensure: func(ctx context.Context) error {
			started, err := client.Ensure(ctx, o.Program, distro.SupervisorLog, false)
			if err == nil && started {
				o.Log.Info("the supervisor was started")
			}
			return err
		},
	}
}

// dismiss asks a supervisor that is left to end: it may have been started before the install, at boot.
func (o UninstallOptions) dismiss(ctx context.Context) error {
	said, err := supervisor(o.StateDir).Finish(ctx)
	if err != nil {
		return reason.New(reason.UninstallIncomplete, "pipeops-agent run --supervise still runs", err)
	}
	if said.Stays {
		o.Events(event("left", fmt.Sprintf("Left: process %d, pipeops-agent run --supervise, is the first one of this container and ends with it", said.PID), nil))
	}
	return nil
}

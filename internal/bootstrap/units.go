package bootstrap

import (
	"context"

	"github.com/pipeopshq/pipeops-agent/internal/distro"
	"github.com/pipeopshq/pipeops-agent/internal/openrc"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
	"github.com/pipeopshq/pipeops-agent/internal/unit"
)

// connect reaches who starts the services of this machine: systemd or OpenRC. The connection must be closed.
func connect(ctx context.Context, openRC bool) (distro.Units, func(), error) {
	if openRC {
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

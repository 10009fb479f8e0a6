// Package openrc starts and stops services where OpenRC does, by its own programs. It speaks of them in the words of
// package unit, so that steps need not know which of the two it is.
package openrc

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/command"
	"github.com/pipeopshq/pipeops-agent/internal/unit"
)

const (
	// quick bounds what changes no process: it reads some shell scripts.
	quick = 20 * time.Second
	// stopping bounds a stop or a restart: longer than the 60 s that our scripts give a service for its end.
	stopping = 2 * time.Minute
	// runlevel is the one of normal work.
	runlevel = "default"
)

// Manager talks to OpenRC. Services may be named as systemd's units are: "k3s.service" is k3s.
type Manager struct {
	Root   string        // where the files of the machine are; "" means the machine itself
	Settle time.Duration // how long a service must have run to count as started; 0 means 3 s
	// Run runs a program to its end; nil means command.Run.
	Run func(ctx context.Context, limit time.Duration, argv ...string) ([]byte, error)
}

// Connect checks that OpenRC is in charge of this machine.
func Connect(ctx context.Context) (*Manager, error) {
	m := &Manager{}
	if _, err := m.run(ctx, quick, "rc-status", "--runlevel"); err != nil {
		return nil, fmt.Errorf("cannot reach OpenRC: %w", err)
	}
	return m, nil
}

// Reload does nothing: OpenRC sees itself that a script has changed.
func (m *Manager) Reload(context.Context) error { return nil }

// Enable makes the service start at boot.
func (m *Manager) Enable(ctx context.Context, name string) error {
	if levels, err := m.levels(name); err != nil || len(levels) > 0 {
		return err
	}
	if _, err := m.run(ctx, quick, "rc-update", "add", service(name), runlevel); err != nil {
		return fmt.Errorf("cannot enable %s: %w", name, err)
	}
	return nil
}

// Disable undoes Enable. It is no error if the service is not there.
func (m *Manager) Disable(ctx context.Context, name string) error {
	levels, err := m.levels(name)
	if err != nil {
		return err
	}
	for _, level := range levels { // one by one: del --all fails for each runlevel that the service is not in
		if _, err := m.run(ctx, quick, "rc-update", "del", service(name), level); err != nil {
			return fmt.Errorf("cannot disable %s: %w", name, err)
		}
	}
	return nil
}

// RestartNoWait restarts the service, or starts it. It waits for the end of the old process, not for the new one.
func (m *Manager) RestartNoWait(ctx context.Context, name string) error {
	verb := "start"
	if s, err := m.State(ctx, name); err != nil {
		return err
	} else if s.Active != "inactive" {
		verb = "restart"
	}
	if _, err := m.run(ctx, stopping, "rc-service", service(name), verb); err != nil {
		return fmt.Errorf("cannot %s %s: %w", verb, name, err)
	}
	return nil
}

// Stop stops the service and waits for its end. It is no error if the service is not there.
func (m *Manager) Stop(ctx context.Context, name string) error {
	if _, err := m.run(ctx, stopping, "rc-service", "--ifexists", service(name), "stop"); err != nil {
		return fmt.Errorf("cannot stop %s: %w", name, err)
	}
	return nil
}

// ResetFailed forgets the service's failure. A process whose supervisor is gone would stand in the way of the next start:
// it is ended with what it has started.
func (m *Manager) ResetFailed(ctx context.Context, name string) error {
	s, err := m.State(ctx, name)
	if err != nil || s.Active != "failed" {
		return err
	}
	if s.MainPID != 0 && m.carries(int(s.MainPID), service(name)) {
		err := unit.KillAll(ctx, name, func() ([]int, error) {
			return unit.Descendants(m.path("/"), map[int]bool{int(s.MainPID): true})
		})
		if err != nil {
			return err
		}
	}
	return m.zap(ctx, name)
}

// zap makes OpenRC believe that the service is stopped.
func (m *Manager) zap(ctx context.Context, name string) error {
	if _, err := m.run(ctx, quick, "rc-service", "--ifexists", service(name), "zap"); err != nil {
		return fmt.Errorf("cannot reset %s: %w", name, err)
	}
	return nil
}

// levels returns the runlevels that start the service at boot.
func (m *Manager) levels(name string) ([]string, error) {
	var found []string
	for _, level := range []string{"sysinit", "boot", runlevel} {
		_, err := os.Lstat(m.path("/etc/runlevels", level, service(name)))
		if err == nil {
			found = append(found, level)
		} else if !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("cannot see whether %s is enabled: %w", name, err)
		}
	}
	return found, nil
}

func (m *Manager) run(ctx context.Context, limit time.Duration, argv ...string) ([]byte, error) {
	if m.Run != nil {
		return m.Run(ctx, limit, argv...)
	}
	return command.Run(ctx, limit, argv...)
}

func (m *Manager) path(elements ...string) string {
	return filepath.Join(append([]string{"/", m.Root}, elements...)...)
}

// service is OpenRC's name of a unit.
func service(unit string) string { return strings.TrimSuffix(unit, ".service") }

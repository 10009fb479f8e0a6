// Package unit speaks with systemd: units over D-Bus, and the notifications of a service about itself.
package unit

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/dbus"
)

// Reload makes systemd read its unit files anew.
func (m *Manager) Reload(ctx context.Context) error {
	if err := m.call(ctx, func(c *dbus.Conn) error { return c.ReloadContext(ctx) }); err != nil {
		return fmt.Errorf("cannot reload systemd: %w", err)
	}
	return nil
}

// Stopping reports whether systemd is taking the machine down.
func (m *Manager) Stopping(ctx context.Context) (bool, error) {
	var state *dbus.Property
	err := m.call(ctx, func(c *dbus.Conn) (err error) { state, err = c.SystemStateContext(ctx); return err })
	if err != nil {
		return false, fmt.Errorf("cannot ask systemd for its state: %w", err)
	}
	return state.Value.Value() == "stopping", nil
}

// Enable makes the unit start at boot.
func (m *Manager) Enable(ctx context.Context, name string) error {
	err := m.call(ctx, func(c *dbus.Conn) error {
		_, _, err := c.EnableUnitFilesContext(ctx, []string{name}, false, false)
		return err
	})
	if err != nil {
		return fmt.Errorf("cannot enable %s: %w", name, err)
	}
	return nil
}

// Disable undoes Enable. It is no error if the unit is not there.
func (m *Manager) Disable(ctx context.Context, name string) error {
	err := m.call(ctx, func(c *dbus.Conn) error {
		_, err := c.DisableUnitFilesContext(ctx, []string{name}, false)
		return err
	})
	if err != nil && !missing(err) {
		return fmt.Errorf("cannot disable %s: %w", name, err)
	}
	return nil
}

// Start starts the unit and waits until it is active.
func (m *Manager) Start(ctx context.Context, name string) error {
	return m.job(ctx, "start", name, (*dbus.Conn).StartUnitContext)
}

// Restart restarts the unit, or starts it, and waits until it is active.
func (m *Manager) Restart(ctx context.Context, name string) error {
	return m.job(ctx, "restart", name, (*dbus.Conn).RestartUnitContext)
}

// Stop stops the unit and waits for its end. It is no error if the unit is not there.
func (m *Manager) Stop(ctx context.Context, name string) error {
	if err := m.job(ctx, "stop", name, (*dbus.Conn).StopUnitContext); err != nil && !missing(err) {
		return err
	}
	return nil
}

// RestartNoWait asks for a restart, or a start, and returns at once.
func (m *Manager) RestartNoWait(ctx context.Context, name string) error {
	err := m.call(ctx, func(c *dbus.Conn) error {
		_, err := c.RestartUnitContext(ctx, name, "replace", nil)
		return err
	})
	if err != nil {
		return fmt.Errorf("cannot restart %s: %w", name, err)
	}
	return nil
}

// ResetFailed forgets the unit's failure and its count of starts.
func (m *Manager) ResetFailed(ctx context.Context, name string) error {
	err := m.call(ctx, func(c *dbus.Conn) error { return c.ResetFailedUnitContext(ctx, name) })
	if err != nil && !missing(err) {
		return fmt.Errorf("cannot reset %s: %w", name, err)
	}
	return nil
}

func (m *Manager) job(ctx context.Context, verb, name string, f func(c *dbus.Conn, ctx context.Context, name, mode string, ch chan<- string) (int, error)) error {
	result := ""
	err := m.call(ctx, func(c *dbus.Conn) error {
		end := make(chan string, 1) // systemd's answer must never wait for us
		if _, err := f(c, ctx, name, "replace", end); err != nil {
			return err
		}
		look := time.NewTicker(pollEvery)
		defer look.Stop()
		for {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case result = <-end:
				return nil
			case <-look.C:
				if !c.Connected() {
					return errors.New("systemd has closed the connection")
				}
			}
		}
	})
	if err != nil {
		return fmt.Errorf("cannot %s %s: %w", verb, name, err)
	}
	if result != "done" {
		return fmt.Errorf("cannot %s %s: systemd says %s", verb, name, result)
	}
	return nil
}

// State is what systemd knows of a unit.
type State struct {
	Load     string // loaded, not-found, ...
	Active   string // active, activating, inactive, failed, ...
	Sub      string // running, auto-restart, ...
	File     string // enabled, disabled, "" when there is no file, ...
	Result   string // success, exit-code, timeout, ...
	Restarts uint32 // automatic restarts since the last start or stop by hand
	MainPID  uint32
	ExitCode int32  // of the last main process
	Cgroup   string // "" when the unit has no processes
	Fragment string // path of its file
	Reload   bool   // its file has changed since systemd read it
	Job      bool   // systemd is about to start or stop it
}

// Enabled reports whether the unit starts at boot.
func (s State) Enabled() bool { return s.File == "enabled" || s.File == "enabled-runtime" }

// Starting reports whether the unit is on its way to active for the first time since somebody started it.
func (s State) Starting() bool {
	return s.Active == "activating" && s.Sub != "auto-restart" && s.Restarts == 0
}

// State returns the state of a unit. A unit that is not there has Load not-found and Active inactive.
func (m *Manager) State(ctx context.Context, name string) (State, error) {
	var p map[string]any
	err := m.call(ctx, func(c *dbus.Conn) (err error) { p, err = c.GetAllPropertiesContext(ctx, name); return err })
	if err != nil {
		return State{}, fmt.Errorf("cannot ask for %s: %w", name, err)
	}
	return State{
		Load: get[string](p, "LoadState"), Active: get[string](p, "ActiveState"), Sub: get[string](p, "SubState"),
		File: get[string](p, "UnitFileState"), Result: get[string](p, "Result"), Restarts: get[uint32](p, "NRestarts"),
		MainPID: get[uint32](p, "MainPID"), ExitCode: get[int32](p, "ExecMainStatus"), Cgroup: get[string](p, "ControlGroup"),
		Fragment: get[string](p, "FragmentPath"), Reload: get[bool](p, "NeedDaemonReload"),
		Job: pending(p["Job"]),
	}, nil
}

// get returns a property, or its zero value where this version of systemd has none.
func get[T any](p map[string]any, name string) T {
	v, _ := p[name].(T)
	return v
}

// pending reads the property Job, a pair of id and object path; the id is 0 where there is none.
func pending(job any) bool {
	pair, ok := job.([]any)
	if !ok || len(pair) == 0 {
		return false
	}
	id, _ := pair[0].(uint32)
	return id != 0
}

func missing(err error) bool {
	text := err.Error()
	return strings.Contains(text, "not loaded") || strings.Contains(text, "not found") || strings.Contains(text, "does not exist")
}

// How often a state is asked for while waiting. The call takes under a millisecond, but a hundred times that where the machine
// is emulated and busy with the very start that is waited for.
const (
	pollEvery  = 100 * time.Millisecond
	pollRarest = 2 * time.Second
)

// pause is how long to wait after a look that took so long.
func pause(took time.Duration) time.Duration { return min(max(pollEvery, 20*took), pollRarest) }

// WaitActive waits until the unit, whose start has been asked for, is active. It fails as soon as the unit has failed or
// has been restarted by systemd, and tells how.
func (m *Manager) WaitActive(ctx context.Context, name string) error {
	for {
		began := time.Now()
		s, err := m.State(ctx, name)
		if err != nil {
			return err
		}
		if s.Active == "active" && !s.Job {
			return nil
		}
		if s.broken() {
			return fmt.Errorf("%s does not start: it is %s (%s), result %s, exit status %d", name, s.Active, s.Sub, s.Result, s.ExitCode)
		}
		rest := time.NewTimer(pause(time.Since(began)))
		select {
		case <-ctx.Done():
			rest.Stop()
			return fmt.Errorf("%s is still %s (%s): %w", name, s.Active, s.Sub, ctx.Err())
		case <-rest.C:
		}
	}
}

// broken reports whether a unit whose start has been asked for will not get there.
func (s State) broken() bool {
	if s.Restarts > 0 || s.Sub == "auto-restart" {
		return true
	}
	return !s.Job && (s.Active == "failed" || s.Active == "inactive") // with a job, it is this that has yet to run
}

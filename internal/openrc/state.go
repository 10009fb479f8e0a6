package openrc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/command"
	"github.com/pipeopshq/pipeops-agent/internal/unit"
)

const (
	// settle is how long a service must have run: supervise-daemon says that it is started before it has begun, and one
	// that cannot run ends within the first second or two.
	settle = 3 * time.Second
	// pollEvery is how often a state is asked for while waiting: the answer takes a shell some 50 ms.
	pollEvery = 500 * time.Millisecond
	// maxValue bounds a value that OpenRC keeps of a service, in bytes.
	maxValue = 64
)

// State returns the state of a service in systemd's words. One that is not there has Load not-found and Active inactive;
// one that supervise-daemon is about to start again is activating (auto-restart).
func (m *Manager) State(ctx context.Context, name string) (unit.State, error) {
	s := unit.State{Load: "not-found", Active: "inactive", Sub: "dead", Result: "success"}
	script := m.path("/etc/init.d", service(name))
	if _, err := os.Stat(script); err != nil {
		if errors.Is(err, os.ErrNotExist) {
			return s, nil
		}
		return s, fmt.Errorf("cannot ask for %s: %w", name, err)
	}
	levels, err := m.levels(name)
	if err != nil {
		return s, err
	}
	s.Load, s.Fragment, s.File = "loaded", script, "disabled"
	if len(levels) > 0 {
		s.File = "enabled"
	}
	code, err := m.status(ctx, name)
	if err != nil {
		return s, err
	}
	s.Restarts, s.MainPID = m.value(name, "start_count"), m.value(name, "child_pid")
	switch code {
	case 0:
		s.Active, s.Sub = "active", "running"
		if s.MainPID == 0 {
			s.Active, s.Sub = "activating", "start"
		} else if !unit.Alive(m.path("/"), int(s.MainPID)) {
			s.Active, s.Sub = "activating", "auto-restart"
		}
	case 4:
		s.Active, s.Sub = "deactivating", "stop"
	case 8:
		s.Active, s.Sub = "activating", "start"
	case 3, 16:
		if _, err := os.Lstat(m.path("/run/openrc/failed", service(name))); err == nil {
			s.Active, s.Sub, s.Result = "failed", "failed", "exit-code"
		}
	default: // 32: it ended without being told to; 64: its supervisor did
		s.Active, s.Sub, s.Result = "failed", "failed", "exit-code"
	}
	return s, nil
}

// status returns the exit status of `rc-service NAME status`, which the sh files of OpenRC name.
func (m *Manager) status(ctx context.Context, name string) (int, error) {
	_, err := m.run(ctx, quick, "rc-service", service(name), "status")
	if err == nil {
		return 0, nil
	}
	if e := (*command.Error)(nil); errors.As(err, &e) && e.Exit > 1 {
		return e.Exit, nil
	}
	return 0, fmt.Errorf("cannot ask for %s: %w", name, err)
}

// value returns a number that supervise-daemon keeps of a service, 0 where there is none.
func (m *Manager) value(name, key string) uint32 {
	f, err := os.Open(m.path("/run/openrc/options", service(name), key))
	if err != nil {
		return 0
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxValue))
	if err != nil {
		return 0
	}
	return parseValue(string(text))
}

func parseValue(text string) uint32 {
	n, err := strconv.ParseUint(strings.TrimSpace(text), 10, 32)
	if err != nil {
		return 0
	}
	return uint32(n)
}

// WaitActive waits until the service, whose start has been asked for, has run for a while. That it is ready OpenRC cannot
// tell. It fails as soon as the service has ended, and tells how.
func (m *Manager) WaitActive(ctx context.Context, name string) error {
	wait := m.Settle
	if wait == 0 {
		wait = settle
	}
	tick := time.NewTicker(min(pollEvery, wait))
	defer tick.Stop()
	var main uint32
	var since time.Time
	for {
		s, err := m.State(ctx, name)
		if err != nil {
			return err
		}
		if s.Active == "failed" || s.Active == "inactive" || s.Sub == "auto-restart" || s.Restarts > 0 {
			return fmt.Errorf("%s does not start: it is %s (%s), started again %d times", name, s.Active, s.Sub, s.Restarts)
		}
		if s.Active != "active" || s.MainPID != main {
			main, since = s.MainPID, time.Now()
		}
		if s.Active == "active" && time.Since(since) >= wait {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s is still %s (%s): %w", name, s.Active, s.Sub, ctx.Err())
		case <-tick.C:
		}
	}
}

package openrc

import (
	"bytes"
	"context"
	"errors"
	"io"
	"maps"
	"os"
	"strconv"

	"github.com/pipeopshq/pipeops-agent/internal/unit"
)

const (
	// maxProcesses bounds what is read of a machine, as in package unit.
	maxProcesses = 1 << 18
	// maxEnviron bounds what is read of a process's environment, in bytes: the kernel's own limit of one string, and OpenRC
	// clears what it starts a service with.
	maxEnviron = 128 << 10
)

// StopAll stops the service and then kills what it left, such as the shims of containers and what runs in these: the
// processes in the control group that OpenRC makes of the service, those that carry its name as OpenRC gives it to them,
// and the descendants of both. Nothing else is touched.
func (m *Manager) StopAll(ctx context.Context, name string) error {
	stopped := m.Stop(ctx, name)
	if err := unit.KillAll(ctx, name, func() ([]int, error) { return m.leftovers(service(name)) }); err != nil {
		return errors.Join(stopped, err)
	}
	if stopped == nil || ctx.Err() != nil {
		return stopped
	}
	return m.zap(ctx, name) // all of it is dead now, whatever OpenRC says
}

// leftovers returns the processes of a service, and their descendants.
func (m *Manager) leftovers(service string) ([]int, error) {
	found := map[int]bool{}
	// with hybrid or v1 control groups; with unified ones, and before OpenRC 0.55
	for _, group := range []string{"/openrc/" + service, "/openrc." + service, "/" + service} {
		members, err := unit.Members(m.path("/"), group)
		if err != nil {
			return nil, err
		}
		maps.Copy(found, members)
	}
	dir, err := os.Open(m.path("/proc"))
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	names, err := dir.Readdirnames(maxProcesses)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	for _, name := range names {
		if pid, err := strconv.Atoi(name); err == nil && pid > 1 && m.carries(pid, service) {
			found[pid] = true
		}
	}
	return unit.Descendants(m.path("/"), found)
}

// carries reports whether the process was started with the mark that OpenRC gives to all of a service. A service of the same
// name in a container of this machine has it too, and is another one.
func (m *Manager) carries(pid int, service string) bool {
	if !unit.AtHome(m.path("/"), pid) {
		return false
	}
	f, err := os.Open(m.path("/proc", strconv.Itoa(pid), "environ"))
	if err != nil {
		return false // it has just ended, or is the kernel's
	}
	defer f.Close()
	environ, err := io.ReadAll(io.LimitReader(f, maxEnviron))
	return err == nil && marked(environ, service)
}

// marked looks for the mark in an environment as /proc shows it.
func marked(environ []byte, service string) bool {
	for entry := range bytes.SplitSeq(environ, []byte{0}) {
		if string(entry) == "RC_SVCNAME="+service {
			return true
		}
	}
	return false
}

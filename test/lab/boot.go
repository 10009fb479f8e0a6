package lab

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

var (
	//go:embed launch.sh
	launchScript string
	//go:embed hardware.sh
	hardwareScript string
	//go:embed hardware.service
	hardwareUnit string
)

type file struct {
	path, content string
	mode          fs.FileMode
}

func hardwareFiles(openrc bool) []file {
	script := file{"/usr/local/sbin/lab-hardware", hardwareScript, 0o755}
	if openrc {
		return []file{script}
	}
	return []file{
		script,
		{"/etc/systemd/system/lab-hardware.service", hardwareUnit, 0o644},
		// With cgroup v1 nobody in a container is told when a scope has become empty: at a shutdown systemd would wait for the
		// scopes of pods that have long ended until this time, by default 90 s, is over. A virtual machine has no such wait.
		{"/etc/systemd/system.conf.d/lab.conf", "[Manager]\nDefaultTimeoutStopSec=5s\n", 0o644},
	}
}

// Start boots a machine that is off. Its disk is as it was.
func (m *Machine) Start(ctx context.Context) error {
	if m.supervisor() != 0 {
		return fmt.Errorf("cannot start machine %s: it is running", m.Name)
	}
	if err := m.connect(ctx); err != nil {
		return err
	}
	console, err := os.OpenFile(m.path("console"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("cannot open the console of machine %s: %w", m.Name, err)
	}
	defer console.Close()
	argv := append([]string{"unshare", "--mount", "--propagation", "slave", "sh", "-c", launchScript, "launch.sh",
		m.Name, strconv.FormatInt(m.options.Memory, 10), m.path("pid")}, m.nspawn()...)
	if m.options.Bare {
		argv = append(argv, bareInitPath)
	}
	// the machine outlives the program that started it
	cmd := exec.CommandContext(context.WithoutCancel(ctx), argv[0], argv[1:]...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	cmd.Stdout, cmd.Stderr = console, console
	cmd.Dir = "/"
	if _, err := os.Stat("/sys/fs/cgroup/cgroup.controllers"); err != nil {
		// where this host has its controllers in v1 hierarchies, the machine must use them too
		cmd.Env = append(os.Environ(), "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=0")
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("cannot start machine %s: %w", m.Name, err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }() // until the machine is off
	if err := m.waitBooted(ctx, 0, ended); err != nil {
		return errors.Join(err, m.Cut(context.WithoutCancel(ctx)))
	}
	return nil
}

func (m *Machine) nspawn() []string {
	argv := []string{
		"systemd-nspawn", "--quiet", "--directory=" + m.Root(), "--machine=" + m.Name, "--hostname=" + m.Name,
		"--keep-unit", "--register=no", "--network-namespace-path=/run/netns/" + m.netns(), "--resolv-conf=off",
		"--timezone=off", "--link-journal=no", "--console=pipe",
	}
	if !m.options.Bare {
		argv = append(argv, "--boot")
	}
	if !m.options.Container {
		argv = append(argv, "--capability=all", "--system-call-filter=add_key keyctl bpf perf_event_open")
	}
	return argv
}

// waitBooted waits until its init has finished starting under another pid than the old one.
func (m *Machine) waitBooted(ctx context.Context, old int, ended <-chan error) error {
	ctx, cancel := context.WithTimeout(ctx, BootTimeout)
	defer cancel()
	err := WaitFor(ctx, "machine "+m.Name+" booted", func(ctx context.Context) (bool, error) {
		select {
		case err := <-ended:
			cancel()
			return false, fmt.Errorf("it ended at once: %w", err)
		default:
		}
		if pid := m.leader(); pid == 0 || pid == old {
			return false, nil
		}
		return m.booted(ctx)
	})
	if err != nil {
		return fmt.Errorf("%w; its console ends with:\n%s", err, m.consoleTail())
	}
	return nil
}

// booted asks the machine's init whether it has started everything.
func (m *Machine) booted(ctx context.Context) (bool, error) {
	if m.options.OpenRC { // the file is there as long as OpenRC goes to another runlevel
		r, err := m.Exec(ctx, nil, "sh", "-c", "test default = \"$(rc-status --runlevel)\" && test ! -e /run/openrc/rc.starting")
		return r.Code == 0, err
	}
	if m.options.Bare {
		r, err := m.Exec(ctx, nil, "test", "-e", "/run/lab-booted")
		return r.Code == 0, err
	}
	r, err := m.Exec(ctx, nil, "systemctl", "is-system-running")
	if err != nil {
		return false, err
	}
	// degraded: a unit of the image failed, which machines in the world have too
	text := strings.TrimSpace(r.Stdout)
	return text == "running" || text == "degraded", nil
}

func (m *Machine) consoleTail() []byte {
	const most = 2000
	data, _ := os.ReadFile(m.path("console"))
	return bytes.TrimSpace(data[max(0, len(data)-most):])
}

// Reboot restarts the machine in good order and returns when it has booted.
func (m *Machine) Reboot(ctx context.Context) error {
	old := m.leader()
	if old == 0 {
		return fmt.Errorf("cannot reboot machine %s: it is off", m.Name)
	}
	if m.options.Bare {
		return m.rebootBare(ctx, old)
	}
	// the answer may be lost: the machine goes down meanwhile
	if m.options.OpenRC {
		_, _ = m.Exec(ctx, nil, "shutdown", "-r", "now")
	} else {
		_, _ = m.Exec(ctx, nil, "systemctl", "--no-block", "reboot")
	}
	return m.waitBooted(ctx, old, nil)
}

// Cut takes the power away: every process of the machine is killed at once. It does nothing when the machine is off.
func (m *Machine) Cut(ctx context.Context) error {
	if pid := m.leader(); pid != 0 {
		_ = unix.Kill(pid, unix.SIGKILL) // with it dies all of its pid namespace
	}
	if pid := m.supervisor(); pid != 0 {
		_ = unix.Kill(pid, unix.SIGKILL)
	}
	ctx, cancel := context.WithTimeout(ctx, BootTimeout)
	defer cancel()
	return WaitFor(ctx, "machine "+m.Name+" off", func(context.Context) (bool, error) {
		if m.supervisor() != 0 {
			return false, nil
		}
		return m.removeCgroups()
	})
}

// Down stops the machine and deletes all of it.
func (m *Machine) Down(ctx context.Context) error {
	if err := m.Cut(ctx); err != nil {
		return err
	}
	if err := m.disconnect(ctx); err != nil {
		return err
	}
	// the machine's mounts went with its mount namespace, so nothing else is below its folder
	if _, err := run(ctx, "rm", "-rf", "--one-file-system", m.path("")); err != nil {
		return fmt.Errorf("cannot delete machine %s: %w", m.Name, err)
	}
	return nil
}

// DownAll takes every machine down, and the bridge. Images stay.
func (l *Lab) DownAll(ctx context.Context) error {
	machines, err := l.List()
	if err != nil {
		return err
	}
	var errs []error
	for _, m := range machines {
		errs = append(errs, m.Down(ctx))
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	_, _ = run(ctx, "ip", "link", "del", bridge) // there may be none
	return nil
}

// Running reports whether the machine is on.
func (m *Machine) Running() bool { return m.leader() != 0 }

// supervisor returns the pid of the machine's systemd-nspawn, 0 when it is off.
func (m *Machine) supervisor() int {
	data, err := os.ReadFile(m.path("pid"))
	if err != nil {
		return 0
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(data)))
	if err != nil {
		return 0
	}
	// the number may have gone to another process since
	argv, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil || !bytes.Contains(argv, []byte("\x00--machine="+m.Name+"\x00")) {
		return 0
	}
	return pid
}

// leader returns the pid of the machine's init as this side sees it, 0 when there is none.
func (m *Machine) leader() int {
	pid := m.supervisor()
	if pid == 0 {
		return 0
	}
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	if err != nil {
		return 0
	}
	for field := range strings.FieldsSeq(string(children)) {
		child, err := strconv.Atoi(field)
		if err != nil {
			continue
		}
		if name, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", child)); slices.Contains(m.options.initNames(), strings.TrimSpace(string(name))) {
			return child
		}
	}
	return 0
}

// removeCgroups removes the machine's cgroups, deepest first, and reports whether they are gone: the last processes may
// still be leaving.
func (m *Machine) removeCgroups() (bool, error) {
	roots, err := filepath.Glob("/sys/fs/cgroup/*/plab-" + m.Name)
	if err != nil {
		return false, err
	}
	roots = append(roots, "/sys/fs/cgroup/plab-"+m.Name)
	gone := true
	for _, root := range roots {
		var dirs []string
		_ = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				dirs = append(dirs, path)
			}
			return nil // a cgroup may go away while we look
		})
		for i := len(dirs) - 1; i >= 0; i-- {
			if err := unix.Rmdir(dirs[i]); err != nil && !errors.Is(err, unix.ENOENT) {
				gone = false
				// runc freezes a container that it makes; what is frozen does not die before it is thawed
				_ = os.WriteFile(filepath.Join(dirs[i], "freezer.state"), []byte("THAWED"), 0o600) // only the freezer has it
			}
		}
	}
	return gone, nil
}

package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Result is what a program in a machine gave back.
type Result struct {
	Stdout, Stderr string
	Code           int // 128 + signal if a signal ended it
}

// OK returns an error that shows the output unless the exit code is 0.
func (r Result) OK() error {
	if r.Code == 0 {
		return nil
	}
	return fmt.Errorf("exit code %d:\n%s", r.Code, r.Told())
}

// Told returns the end of what the command said, each line cut short: a line of "-o json" can be as long as all the facts of a host,
// and what went wrong stands below it.
func (r Result) Told() string {
	const lines, columns = 60, 600
	all := strings.Split(strings.TrimSpace(r.Stdout+r.Stderr), "\n")
	all = all[max(0, len(all)-lines):]
	for i, line := range all {
		if len(line) > columns {
			all[i] = line[:columns] + " […]"
		}
	}
	return strings.Join(all, "\n")
}

// Exec runs a program in the machine as root, in a clean environment and in / there. The error tells only that it could
// not be run; what the program itself said is in the result. When ctx ends, the program is killed.
func (m *Machine) Exec(ctx context.Context, stdin io.Reader, argv ...string) (Result, error) {
	var stdout, stderr bytes.Buffer
	code, err := m.ExecTo(ctx, stdin, &stdout, &stderr, argv...)
	return Result{Stdout: stdout.String(), Stderr: stderr.String(), Code: code}, err
}

// Shell runs a line of shell in the machine and wants it to succeed. It returns its output without the last newline.
func (m *Machine) Shell(ctx context.Context, script string) (string, error) {
	r, err := m.Exec(ctx, nil, "sh", "-c", script)
	if err == nil {
		err = r.OK()
	}
	if err != nil {
		return "", fmt.Errorf("cannot run %q in machine %s: %w", script, m.Name, err)
	}
	return strings.TrimRight(r.Stdout, "\n"), nil
}

// ExecTo is Exec with the output written as it comes.
func (m *Machine) ExecTo(ctx context.Context, stdin io.Reader, stdout, stderr io.Writer, argv ...string) (int, error) {
	cmd, err := m.command(ctx, argv)
	if err != nil {
		return 0, err
	}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, stdout, stderr
	// the program is a grandchild, in a pid namespace of its own: end the whole group
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return unix.Kill(-cmd.Process.Pid, unix.SIGKILL) }
	cmd.WaitDelay = 2 * time.Second // for a daemon that kept the pipes
	return exitCode(m, argv, cmd.Run())
}

// Attach is Exec on the caller's own terminal.
func (m *Machine) Attach(ctx context.Context, argv ...string) (int, error) {
	cmd, err := m.command(ctx, argv)
	if err != nil {
		return 0, err
	}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	return exitCode(m, argv, cmd.Run())
}

func exitCode(m *Machine, argv []string, err error) (int, error) {
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		if err != nil {
			err = fmt.Errorf("cannot run %s in machine %s: %w", strings.Join(argv, " "), m.Name, err)
		}
		return 0, err
	}
	if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return 128 + int(status.Signal()), nil
	}
	return exit.ExitCode(), nil
}

// enter moves itself into the cgroups of the machine, so that what it starts counts there, then into its namespaces:
// sh -c enter enter FILE... -- COMMAND...
const enter = `while [ "$1" != -- ]; do echo $$ >"$1" 2>/dev/null || true; shift; done; shift; exec "$@"`

func (m *Machine) command(ctx context.Context, argv []string) (*exec.Cmd, error) {
	pid := m.leader()
	if pid == 0 {
		return nil, fmt.Errorf("cannot run %s: machine %s is off", strings.Join(argv, " "), m.Name)
	}
	memberships, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		return nil, fmt.Errorf("cannot find the cgroups of machine %s: %w", m.Name, err)
	}
	args := append([]string{"-c", enter, "enter"}, cgroupFiles(string(memberships))...)
	args = append(args, "--", "nsenter", "--target", strconv.Itoa(pid), "--all", "env", "-i", "HOME=/root", "USER=root",
		"LANG=C.UTF-8", "TERM="+term(), "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
	if m.options.Container {
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err != nil {
			return nil, fmt.Errorf("cannot find the capabilities of machine %s: %w", m.Name, err)
		}
		bounds, err := boundingSet(string(status))
		if err != nil {
			return nil, fmt.Errorf("cannot find the capabilities of machine %s: %w", m.Name, err)
		}
		args = append(args, "setpriv", "--inh-caps=-all", "--bounding-set="+bounds, "--")
	}
	return exec.CommandContext(ctx, "sh", append(args, argv...)...), nil
}

func term() string {
	if t := os.Getenv("TERM"); t != "" {
		return t
	}
	return "dumb"
}

// cgroupFiles returns the cgroup.procs files of a process, from the text of its /proc/PID/cgroup.
func cgroupFiles(memberships string) []string {
	var files []string
	for line := range strings.Lines(memberships) {
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(parts) != 3 {
			continue
		}
		hierarchy := strings.TrimPrefix(parts[1], "name=")
		if hierarchy == "" && !exists("/sys/fs/cgroup/cgroup.controllers") {
			hierarchy = "unified" // v2 beside v1
		}
		files = append(files, filepath.Join("/sys/fs/cgroup", hierarchy, parts[2], "cgroup.procs"))
	}
	return files
}

// boundingSet returns the capabilities that a process is bound to as setpriv wants them, from the text of its
// /proc/PID/status: who enters a namespace from outside keeps all of his own otherwise.
func boundingSet(status string) (string, error) {
	for line := range strings.Lines(status) {
		hex, ok := strings.CutPrefix(line, "CapBnd:")
		if !ok {
			continue
		}
		bits, err := strconv.ParseUint(strings.TrimSpace(hex), 16, 64)
		if err != nil {
			return "", fmt.Errorf("CapBnd: %w", err)
		}
		set := "-all"
		for n := range 64 {
			if bits&(1<<n) != 0 {
				set += ",+cap_" + strconv.Itoa(n)
			}
		}
		return set, nil
	}
	return "", errors.New("no CapBnd in the status of its init")
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// Push copies a file or folder of this side into the machine, with its modes, under the given name.
func (m *Machine) Push(ctx context.Context, source, destination string) error {
	target := filepath.Join(m.Root(), destination)
	if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
		return fmt.Errorf("cannot push to machine %s: %w", m.Name, err)
	}
	if _, err := run(ctx, "cp", "--archive", "--reflink=auto", "--no-target-directory", source, target); err != nil {
		return fmt.Errorf("cannot push to machine %s: %w", m.Name, err)
	}
	return nil
}

// PushBytes writes a file in the machine.
func (m *Machine) PushBytes(data []byte, destination string, mode fs.FileMode) error {
	target := filepath.Join(m.Root(), destination)
	if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
		return fmt.Errorf("cannot push to machine %s: %w", m.Name, err)
	}
	if err := os.WriteFile(target, data, mode); err != nil {
		return fmt.Errorf("cannot push to machine %s: %w", m.Name, err)
	}
	if err := os.Chmod(target, mode); err != nil { // whatever the umask of this side is
		return fmt.Errorf("cannot push to machine %s: %w", m.Name, err)
	}
	return nil
}

package command

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
)

// Spec says how a program is started that outlives the call.
type Spec struct {
	Argv   []string
	Env    []string // all of it
	Umask  int
	Output *os.File // its standard output and error; nil throws them away
}

// Exit is how a program ended.
type Exit struct {
	Code   int // -1 where a signal ended it, or nobody knows
	Signal int // 0: none
}

// String says it in words.
func (e Exit) String() string {
	switch {
	case e.Signal != 0:
		return fmt.Sprintf("killed by signal %d (%s)", e.Signal, syscall.Signal(e.Signal))
	case e.Code < 0:
		return "ended, nobody knows how"
	}
	return fmt.Sprintf("exit code %d", e.Code)
}

// Children are the programs that this process has started, each in a session of its own, and those it has inherited: a
// process that takes in orphans must wait for them too, or they stay as zombies. The zero value is ready.
type Children struct {
	mu  sync.Mutex // held over a start, so that one that ends at once is not taken for an orphan
	own map[int]bool
}

// Child is a program that was started.
type Child struct {
	PID int

	cmd *exec.Cmd
	all *Children
}

// Start starts a program in / with no input. Somebody must wait for it. It is not ended with this process.
func (c *Children) Start(s Spec) (*Child, error) {
	if len(s.Argv) == 0 {
		return nil, errors.New("cannot run nothing")
	}
	cmd := exec.Command(s.Argv[0], s.Argv[1:]...) //nolint:noctx // it ends when it is told to, not with a call
	cmd.Env, cmd.Dir = s.Env, "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if s.Output != nil {
		cmd.Stdout, cmd.Stderr = s.Output, s.Output
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	old := syscall.Umask(s.Umask) // of the whole process: who creates files meanwhile gives them a mode that is narrow already
	err := cmd.Start()
	syscall.Umask(old)
	if err != nil {
		return nil, fmt.Errorf("cannot run %s: %w", s.Argv[0], err)
	}
	if c.own == nil {
		c.own = map[int]bool{}
	}
	c.own[cmd.Process.Pid] = true
	return &Child{PID: cmd.Process.Pid, cmd: cmd, all: c}, nil
}

// Signal sends it a signal. That it has ended is no error.
func (c *Child) Signal(s syscall.Signal) error {
	if err := c.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("cannot signal process %d: %w", c.PID, err)
	}
	return nil
}

// Wait waits for its end. It must be called once.
func (c *Child) Wait() Exit {
	_ = c.cmd.Wait() // how it ended is in the state
	c.all.mu.Lock()
	delete(c.all.own, c.PID)
	c.all.mu.Unlock()
	status, ok := c.cmd.ProcessState.Sys().(syscall.WaitStatus)
	switch {
	case !ok:
		return Exit{Code: -1}
	case status.Signaled():
		return Exit{Code: -1, Signal: int(status.Signal())}
	}
	return Exit{Code: status.ExitStatus()}
}

// Reap waits for the orphans that have ended, and returns how many there were. Children that were started are left alone.
func (c *Children) Reap() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	reaped := 0
	for _, pid := range inherited() {
		if c.own[pid] {
			continue
		}
		var status syscall.WaitStatus
		if got, err := syscall.Wait4(pid, &status, syscall.WNOHANG, nil); err == nil && got == pid {
			reaped++
		}
	}
	return reaped
}

// inherited lists the children of this process.
func inherited() []int {
	files, err := filepath.Glob("/proc/self/task/*/children")
	if err != nil {
		return nil
	}
	if len(files) == 0 { // a kernel without CONFIG_PROC_CHILDREN
		return searched()
	}
	var all []int
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // the thread has ended
		}
		for field := range strings.FieldsSeq(string(text)) {
			if pid, err := strconv.Atoi(field); err == nil {
				all = append(all, pid)
			}
		}
	}
	return all
}

// searched finds them among all processes.
func searched() []int {
	files, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return nil
	}
	var all []int
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		line := string(text) // "pid (name) state ppid ..."; the name may hold blanks and parentheses
		fields := strings.Fields(line[strings.LastIndexByte(line, ')')+1:])
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		if err == nil && len(fields) > 1 && fields[1] == strconv.Itoa(os.Getpid()) {
			all = append(all, pid)
		}
	}
	return all
}

// Detach starts a program that lives on when this process ends, with a clean environment as [Run] gives it, and returns its
// number. Nobody waits for it.
func Detach(output *os.File, argv ...string) (int, error) {
	var c Children
	child, err := c.Start(Spec{Argv: argv, Env: []string{"PATH=" + searchPath, "LC_ALL=C"}, Umask: 0o077, Output: output})
	if err != nil {
		return 0, err
	}
	return child.PID, child.cmd.Process.Release()
}

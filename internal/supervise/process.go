package supervise

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/atomicfile"
	"github.com/pipeopshq/pipeops-agent/internal/command"
	"github.com/pipeopshq/pipeops-agent/internal/unit"
)

const (
	// maxRecord bounds the record of a process, in bytes.
	maxRecord = 1 << 10
	// lookEvery is how often a process is looked at that is not our child: nobody tells us of its end.
	lookEvery = 200 * time.Millisecond
	// startTime is the index of the field of /proc/PID/stat behind the name: field 22 (proc_pid_stat(5)).
	startTime = 22 - 3
)

// process is the main process of a service: a child, or what an earlier supervisor has left.
type process interface {
	Number() int
	Signal(syscall.Signal) error
	Wait() command.Exit // for its end; once
}

type child struct{ *command.Child }

func (c child) Number() int { return c.PID }

// record says which process is that of a service, so that another supervisor finds it: a number alone may be another's by then.
type record struct {
	PID   int    `json:"pid"`
	Start uint64 `json:"start"` // in ticks since the kernel's boot
	Boot  string `json:"boot"`
}

// identify tells one process from all others of this boot.
func identify(root string, pid int) (record, error) {
	text, err := os.ReadFile(filepath.Join("/", root, "proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return record{}, err
	}
	start, ok := parseStart(text)
	if !ok {
		return record{}, fmt.Errorf("cannot tell since when process %d runs", pid)
	}
	return record{PID: pid, Start: start, Boot: boot(root)}, nil
}

// parseStart takes the start out of a line of /proc/PID/stat; false for one that has ended. The name may hold blanks and
// parentheses.
func parseStart(line []byte) (uint64, bool) {
	fields := strings.Fields(string(line[bytes.LastIndexByte(line, ')')+1:]))
	if len(fields) <= startTime || fields[0] == "Z" || fields[0] == "X" {
		return 0, false
	}
	start, err := strconv.ParseUint(fields[startTime], 10, 64)
	return start, err == nil
}

func boot(root string) string {
	id, err := os.ReadFile(filepath.Join("/", root, "proc/sys/kernel/random/boot_id"))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(id))
}

// alive reports whether the process still is the one that was recorded.
func (r record) alive(root string) bool {
	now, err := identify(root, r.PID)
	return err == nil && now == r
}

func (r record) write(path string) error {
	content, err := json.Marshal(r)
	if err == nil {
		err = atomicfile.Write(path, 0o600, append(content, '\n'))
	}
	return err
}

// readRecord returns the record of a process that lives and carries the mark of the service; false where there is none. Without
// the mark it is not touched: it would be somebody else's.
func readRecord(root, path, name string) (record, bool) {
	content, err := atomicfile.Read(path, maxRecord)
	if err != nil {
		return record{}, false
	}
	r, ok := parseRecord(content)
	return r, ok && r.alive(root) && carries(root, r.PID, name)
}

func parseRecord(content []byte) (record, bool) {
	var r record
	err := json.Unmarshal(content, &r)
	return r, err == nil && r.PID > 1 && r.Start > 0
}

// adopted is a process that an earlier supervisor has started.
type adopted struct {
	record
	process *os.Process // by its descriptor, where the kernel has those
	gone    <-chan struct{}
}

// adopt takes over the process. It is waited for until gone is closed.
func adopt(r record, gone <-chan struct{}) (process, error) {
	p, err := os.FindProcess(r.PID)
	if err != nil {
		return nil, fmt.Errorf("cannot take over process %d: %w", r.PID, err)
	}
	if !r.alive("") { // before it was opened
		return nil, errors.Join(fmt.Errorf("cannot take over process %d: it has ended", r.PID), p.Release())
	}
	return adopted{r, p, gone}, nil
}

func (a adopted) Number() int { return a.PID }

func (a adopted) Signal(s syscall.Signal) error {
	if !a.alive("") {
		return nil
	}
	if err := a.process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("cannot signal process %d: %w", a.PID, err)
	}
	return nil
}

// Wait cannot learn how it ended: only its parent can.
func (a adopted) Wait() command.Exit {
	defer func() { _ = a.process.Release() }()
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for a.alive("") {
		select {
		case <-a.gone:
			return command.Exit{Code: -1}
		case <-tick.C:
		}
	}
	return command.Exit{Code: -1}
}

// execLooks is how often the environment of a process is looked at that has none, once a millisecond.
const execLooks = 20

// carries reports whether a process has the mark of the service. One of the same name in a container of this machine is another. In the midst
// of execve(2) a process shows no environment, which nothing tells the end of: it is looked at again.
func carries(root string, pid int, name string) bool {
	if !unit.AtHome(filepath.Join("/", root), pid) {
		return false
	}
	proc := filepath.Join("/", root, "proc", strconv.Itoa(pid))
	for range execLooks {
		environ, err := environOf(proc)
		if err != nil {
			return false // it has just ended
		}
		if len(environ) > 0 {
			return slices.Contains(strings.Split(string(environ), "\x00"), ownMark+name)
		}
		if _, err := os.Readlink(filepath.Join(proc, "exe")); err != nil {
			return false // it is the kernel's, or has just ended
		}
		time.Sleep(time.Millisecond)
	}
	return false
}

func environOf(proc string) ([]byte, error) {
	f, err := os.Open(filepath.Join(proc, "environ"))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxEnviron))
}

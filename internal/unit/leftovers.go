package unit

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

const (
	// maxProcesses bounds what is read of a machine: pid_max is at most 4 million, a node has some thousand.
	maxProcesses = 1 << 18
	// maxStat bounds a line of /proc/PID/stat, in bytes.
	maxStat = 4 << 10
)

// StopAll stops the unit and then kills what it left: with KillMode=process the children of its main process, such as
// the shims of containers and what runs in these, live on. Nothing but the processes of the unit's cgroup and their
// descendants is touched.
func (m *Manager) StopAll(ctx context.Context, name string) error {
	state, err := m.State(ctx, name)
	if err != nil {
		return err
	}
	if err := m.Stop(ctx, name); err != nil {
		return err
	}
	if state.Cgroup == "" || state.Cgroup == "/" {
		return nil
	}
	return KillAll(ctx, state.Cgroup, func() ([]int, error) { return leftovers("/", state.Cgroup) })
}

// KillAll kills the processes that list returns, until it returns none. Of names what they belong to.
func KillAll(ctx context.Context, of string, list func() ([]int, error)) error {
	for range 20 { // what is killed may just be starting another
		pids, err := list()
		if err != nil || len(pids) == 0 {
			return err
		}
		for _, pid := range pids {
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
				return fmt.Errorf("cannot kill process %d: %w", pid, err)
			}
		}
		if err := gone(ctx, pids); err != nil {
			return err
		}
	}
	return fmt.Errorf("cannot kill the processes of %s: new ones keep coming", of)
}

// leftovers returns the processes in the cgroup, in those below it, and all their descendants.
func leftovers(root, cgroup string) ([]int, error) {
	found, err := Members(root, cgroup)
	if err != nil {
		return nil, err
	}
	return Descendants(root, found)
}

// Members returns the processes in the cgroup and in those below it; of a cgroup that is not there, none. Root is where
// /proc and /sys are.
func Members(root, cgroup string) (map[int]bool, error) {
	found := map[int]bool{}
	for _, hierarchy := range []string{"sys/fs/cgroup", "sys/fs/cgroup/systemd", "sys/fs/cgroup/unified"} {
		top := filepath.Join(root, hierarchy, cgroup)
		err := filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || d.Name() != "cgroup.procs" {
				return ignoreMissing(err)
			}
			pids, err := readPIDs(path)
			for _, pid := range pids {
				found[pid] = true
			}
			return ignoreMissing(err)
		})
		if err != nil {
			return nil, fmt.Errorf("cannot list the processes of %s: %w", cgroup, err)
		}
	}
	return found, nil
}

// Descendants returns these processes and all that they have started, but not this process.
func Descendants(root string, found map[int]bool) ([]int, error) {
	if len(found) == 0 {
		return nil, nil
	}
	parents, err := parents(root)
	if err != nil {
		return nil, err
	}
	var all []int
	for pid := range parents {
		at := pid
		for range len(parents) { // a number that was given anew while they were read may make a circle
			if at <= 1 {
				break
			}
			if found[at] {
				all = append(all, pid)
				break
			}
			at = parents[at]
		}
	}
	slices.Sort(all)
	return slices.DeleteFunc(all, func(pid int) bool { return pid == os.Getpid() }), nil
}

// parents maps each process to the one that started it. Dead processes that nobody has waited for are left out.
func parents(root string) (map[int]int, error) {
	dir, err := os.Open(filepath.Join(root, "proc"))
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	names, err := dir.Readdirnames(maxProcesses)
	if err != nil {
		return nil, err
	}
	out := map[int]int{}
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		if ppid, ok := parent(filepath.Join(root, "proc", name, "stat")); ok {
			out[pid] = ppid
		}
	}
	return out, nil
}

// AtHome reports whether a process has the root folder of this machine. That of a container has another, and what its program
// and its environment are called says nothing here: another node may run in it.
func AtHome(root string, pid int) bool {
	its, err := os.Stat(filepath.Join(root, "proc", strconv.Itoa(pid), "root"))
	if err != nil {
		return false // it has just ended
	}
	ours, err := os.Stat(filepath.Join("/", root))
	return err == nil && os.SameFile(its, ours)
}

// Alive reports whether there is a process of this id that has not ended.
func Alive(root string, pid int) bool {
	_, alive := parent(filepath.Join(root, "proc", strconv.Itoa(pid), "stat"))
	return alive
}

func parent(path string) (int, bool) {
	f, err := os.Open(path)
	if err != nil {
		return 0, false // it has just ended
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxStat))
	if err != nil {
		return 0, false
	}
	return parseStat(string(data))
}

// parseStat takes the parent out of "pid (name) state ppid ..."; the name may hold blanks and parentheses.
func parseStat(line string) (ppid int, alive bool) {
	rest := line[strings.LastIndexByte(line, ')')+1:]
	fields := strings.Fields(rest)
	if len(fields) < 2 || fields[0] == "Z" || fields[0] == "X" {
		return 0, false
	}
	ppid, err := strconv.Atoi(fields[1])
	return ppid, err == nil && ppid >= 0
}

func readPIDs(path string) ([]int, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var pids []int
	for s := bufio.NewScanner(f); s.Scan() && len(pids) < maxProcesses; {
		if pid, err := strconv.Atoi(s.Text()); err == nil && pid > 1 {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENODEV) {
		return nil
	}
	return err
}

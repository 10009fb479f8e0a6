package host

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
)

// Process is a running program.
type Process struct {
	PID  int
	Name string // its comm, of at most 15 bytes
}

// processIDs lists the processes that we can see, in ascending order.
func processIDs(s *System) ([]int, error) {
	entries, err := s.readDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("cannot list the processes: %w", err)
	}
	var ids []int
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil && pid > 0 {
			ids = append(ids, pid)
		}
	}
	slices.Sort(ids)
	return ids, nil
}

// processNames returns the names of the running programs; nil is unknown. A captured machine tells only those that
// matter here, and those that listen.
func processNames(ctx context.Context, s *System) ([]string, error) {
	if !s.Live() {
		snap := s.Snapshot()
		if snap.Processes == nil && snap.Listening == nil {
			return nil, nil
		}
		names := append([]string{}, snap.Processes...)
		for _, l := range snap.Listening {
			if name, _, _ := strings.Cut(l.Owner, " "); name != "" {
				names = append(names, name)
			}
		}
		return sorted(names), nil
	}
	ids, err := processIDs(s)
	if err != nil {
		return nil, err
	}
	names := []string{}
	for _, pid := range ids {
		if ctx.Err() != nil {
			return nil, fmt.Errorf("cannot list the processes: %w", ctx.Err())
		}
		if name := commOf(pid); name != "" {
			names = append(names, name)
		}
	}
	return sorted(names), nil
}

// commOf returns the name of a live process, or "" if it has ended. It is not recorded: the names of all programs are
// nobody's business.
func commOf(pid int) string {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/comm")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// socketOwners finds the processes that hold these sockets, by the links below /proc/PID/fd. It stops as soon as all are
// found or the time is over; what it has by then is returned with the error.
func socketOwners(ctx context.Context, s *System, sockets []socket) (map[uint64]Process, error) {
	missing := map[string]uint64{}
	for _, k := range sockets {
		if k.inode != 0 {
			missing["socket:["+strconv.FormatUint(k.inode, 10)+"]"] = k.inode
		}
	}
	owners := map[uint64]Process{}
	ids, err := processIDs(s)
	if err != nil {
		return owners, err
	}
	for _, pid := range ids {
		if len(missing) == 0 {
			break
		}
		if ctx.Err() != nil {
			return owners, fmt.Errorf("cannot find all owners of ports: %w", ctx.Err())
		}
		dir := "/proc/" + strconv.Itoa(pid) + "/fd"
		d, err := os.Open(dir)
		if err != nil { // ended, or not ours to look at
			continue
		}
		fds, _ := d.Readdirnames(-1)
		d.Close()
		for _, fd := range fds {
			link, err := os.Readlink(dir + "/" + fd)
			if err != nil {
				continue
			}
			if inode, ok := missing[link]; ok {
				owners[inode] = Process{PID: pid, Name: commOf(pid)}
				delete(missing, link)
			}
		}
	}
	return owners, nil
}

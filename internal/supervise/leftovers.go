package supervise

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"

	"github.com/pipeopshq/pipeops-agent/internal/unit"
)

const (
	// maxProcesses bounds what is read of a machine, as in package unit.
	maxProcesses = 1 << 18
	// maxEnviron bounds what is read of a process's environment, in bytes: the kernel's own limit of one string.
	maxEnviron = 128 << 10
)

// leftovers returns the processes that carry the mark of a service, and all that these have started: the shims of containers,
// and what runs in them.
func leftovers(root, name string) ([]int, error) {
	dir, err := os.Open(filepath.Join("/", root, "proc"))
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	names, err := dir.Readdirnames(maxProcesses)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	found := map[int]bool{}
	for _, entry := range names {
		if pid, err := strconv.Atoi(entry); err == nil && pid > 1 && pid != os.Getpid() && carries(root, pid, name) {
			found[pid] = true
		}
	}
	return unit.Descendants(filepath.Join("/", root), found)
}

// killLeftovers ends them, and nothing else.
func killLeftovers(ctx context.Context, root, name string) error {
	return unit.KillAll(ctx, "service "+name, func() ([]int, error) { return leftovers(root, name) })
}

package remains

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/unit"
)

const (
	// maxProcesses bounds what is read of a machine, as in package unit.
	maxProcesses = 1 << 18
	// killTimeout bounds how long processes may take to end that were killed: one that waits for a dead disk never does.
	killTimeout = time.Minute
)

// processes are those of k3s and of its containers. They are known by their program, which lies below the folder of k3s, or
// by an ancestor that is: the shims of containers outlive k3s, whoever has stopped it. Those of another container runtime have
// another program, and those of a k3s that runs in a container of this machine another root folder.
func (e Env) processes() Thing {
	return Thing{
		Kind: "k3s-processes", Title: "containers that run",
		List: func(context.Context) ([]string, error) { return nil, nil }, // none is ours before
		Remove: func(ctx context.Context, _ []string) ([]string, error) {
			ctx, cancel := context.WithTimeout(ctx, killTimeout)
			defer cancel()
			return nil, unit.KillAll(ctx, "k3s", e.ours)
		},
	}
}

// ours lists the processes whose program lies below the folder of k3s, and their descendants.
func (e Env) ours() ([]int, error) {
	dir, err := os.Open(e.path("/proc"))
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	names, err := dir.Readdirnames(maxProcesses)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	found := map[int]bool{}
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil || pid <= 1 {
			continue
		}
		program, err := os.Readlink(e.path(filepath.Join("/proc", name, "exe")))
		if err == nil && e.programs(program) && unit.AtHome(e.path("/"), pid) {
			found[pid] = true
		}
	}
	return unit.Descendants(e.path("/"), found)
}

// programs reports whether a path, as the kernel tells it, is one of the programs that k3s has unpacked.
func (e Env) programs(path string) bool {
	return slices.ContainsFunc(e.dataDirs(), func(dir string) bool { return strings.HasPrefix(path, dir+"/data/") })
}

package remains

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/backoff"
	"github.com/pipeopshq/pipeops-agent/internal/unit"
)

const cgroupRoot = "/sys/fs/cgroup"

// cgroupNames are the control groups in which the kubelet puts all pods: by the driver systemd, and by cgroupfs.
func cgroupNames() []string { return []string{"kubepods.slice", "kubepods"} }

// cgroups are the control groups of pods, in every hierarchy, by their paths.
func (e Env) cgroups() Thing {
	return Thing{
		Kind: "k3s-cgroups", Title: "control groups of pods",
		List: func(context.Context) ([]string, error) { return e.listCgroups() },
		Remove: func(ctx context.Context, before []string) ([]string, error) {
			now, err := e.listCgroups()
			ours := since(now, before)
			if err != nil || len(ours) == 0 {
				return nil, err
			}
			slice := func(path string) bool { return strings.HasSuffix(path, ".slice") }
			if e.Stop != nil && slices.ContainsFunc(ours, slice) && !slices.ContainsFunc(before, slice) {
				if err := e.killIn(ctx, ours); err != nil {
					return nil, err
				}
				if err := e.Stop(ctx, cgroupNames()[0]); err != nil {
					return nil, err
				}
			}
			return e.vacate(ctx, ours, removeCgroup)
		},
	}
}

// How long groups may stay busy after all in them was killed, and how often that is looked at.
const (
	busyTimeout = 10 * time.Second
	busyPoll    = 20 * time.Millisecond
)

// vacate kills what is in groups and removes them. What was killed leaves its group a moment after it is seen to be dead: its
// threads end one by one.
func (e Env) vacate(ctx context.Context, groups []string, remove func(path string) error) ([]string, error) {
	for began := time.Now(); ; {
		if err := e.killIn(ctx, groups); err != nil {
			return nil, err
		}
		var left []string
		busy := false
		for _, path := range groups {
			if err := remove(e.path(path)); err != nil {
				left = append(left, fmt.Sprintf("control group %s: %v", path, err))
				busy = busy || errors.Is(err, syscall.EBUSY)
			}
		}
		if !busy || time.Since(began) > busyTimeout {
			return left, nil
		}
		if err := backoff.Sleep(ctx, busyPoll); err != nil {
			return nil, err
		}
	}
}

// listCgroups looks at the top of each hierarchy. Where there is only the unified one, what lies a level below its top is in a
// group of somebody else, such as that of a container with a node of its own (lxc.payload.NAME).
func (e Env) listCgroups() ([]string, error) {
	tops := []string{cgroupRoot}
	if _, err := os.Stat(e.path(cgroupRoot + "/cgroup.controllers")); err != nil {
		tops = append(tops, cgroupRoot+"/*")
	}
	var all []string
	for _, name := range cgroupNames() {
		for _, top := range tops {
			pattern := top + "/" + name
			found, err := filepath.Glob(e.path(pattern))
			if err != nil {
				return nil, err
			}
			for _, path := range found {
				if st, err := os.Lstat(filepath.Dir(path)); err != nil || st.Mode()&fs.ModeSymlink != 0 { // cpu -> cpu,cpuacct
					continue
				}
				all = append(all, strings.TrimPrefix(path, strings.TrimSuffix(e.path("/"), "/")))
			}
		}
	}
	slices.Sort(all)
	return slices.Compact(all), nil
}

// killIn kills what is left in groups of pods.
func (e Env) killIn(ctx context.Context, groups []string) error {
	ctx, cancel := context.WithTimeout(ctx, killTimeout)
	defer cancel()
	return unit.KillAll(ctx, "pods", func() ([]int, error) {
		found := map[int]bool{}
		for _, path := range groups {
			members, err := unit.Members(e.path("/"), strings.TrimPrefix(path, cgroupRoot))
			if err != nil {
				return nil, err
			}
			maps.Copy(found, members)
		}
		return unit.Descendants(e.path("/"), found)
	})
}

// removeCgroup removes a group and those in it. Its files are the kernel's and go with it.
func removeCgroup(path string) error {
	entries, err := os.ReadDir(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if entry.IsDir() {
			if err := removeCgroup(filepath.Join(path, entry.Name())); err != nil {
				return err
			}
		}
	}
	if err := syscall.Rmdir(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

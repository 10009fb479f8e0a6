package trial

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
)

// cgroupCreate makes a control group and removes it: at the root of the v2 hierarchy, or in that of the v1 memory
// controller, where the kubelet makes its own.
func cgroupCreate() Trial {
	return Trial{Name: CgroupCreate, Title: "make a control group", Run: func(context.Context, Env) error {
		parent := "/sys/fs/cgroup"
		if _, err := os.Stat(filepath.Join(parent, "cgroup.controllers")); err != nil {
			parent = filepath.Join(parent, "memory")
		}
		dir := filepath.Join(parent, "pipeops-trial-"+strconv.Itoa(os.Getpid()))
		if err := os.Mkdir(dir, 0o755); err != nil {
			return fmt.Errorf("cannot %w", err)
		}
		_, made := os.Stat(filepath.Join(dir, "cgroup.procs"))
		if err := os.Remove(dir); err != nil {
			return fmt.Errorf("%w: %w", errNotUndone, err)
		}
		if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("%w: %s is still there", errNotUndone, dir)
		}
		if made != nil {
			return fmt.Errorf("cannot make a control group below %s: it holds no cgroup file system", parent)
		}
		return nil
	}}
}

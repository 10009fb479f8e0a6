package trial

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

const cgroupRoot = "/sys/fs/cgroup"

// cgroupCreate makes a control group as the kubelet and runc do, with rules for devices and frozen, and removes it. No
// process is put into it.
func cgroupCreate() Trial {
	return Trial{Name: CgroupCreate, Title: "make a control group", Run: func(ctx context.Context, _ Env) (Result, error) {
		name := "pipeops-trial-" + strconv.Itoa(os.Getpid())
		if _, err := os.Stat(filepath.Join(cgroupRoot, "cgroup.controllers")); err == nil {
			return Result{}, inGroup(filepath.Join(cgroupRoot, name), func(dir string) error { return useUnified(ctx, dir) })
		}
		if err := inGroup(filepath.Join(cgroupRoot, "memory", name), nothing); err != nil {
			return Result{}, err
		}
		if err := inGroup(filepath.Join(cgroupRoot, "devices", name), useDevices); err != nil {
			return Result{}, err
		}
		if _, err := os.Stat(filepath.Join(cgroupRoot, "freezer")); errors.Is(err, fs.ErrNotExist) {
			return Result{Detail: "there is no freezer"}, nil // runc does without
		}
		return Result{}, inGroup(filepath.Join(cgroupRoot, "freezer", name), func(dir string) error { return useFreezer(ctx, dir) })
	}}
}

func nothing(string) error { return nil }

// inGroup makes a control group, uses it, and removes it.
func inGroup(dir string, use func(dir string) error) error {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return fmt.Errorf("cannot %w", err)
	}
	used := use(dir)
	if _, err := os.Stat(filepath.Join(dir, "cgroup.procs")); err != nil {
		used = fmt.Errorf("cannot make a control group below %s: it holds no cgroup file system", filepath.Dir(dir))
	}
	if err := os.Remove(dir); err != nil {
		return fmt.Errorf("%w: %w", errNotUndone, err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: %s is still there", errNotUndone, dir)
	}
	return used
}

// useDevices denies all devices and allows /dev/null, as runc does for each container under cgroup v1.
func useDevices(dir string) error {
	if err := write(dir, "devices.deny", "a"); err != nil {
		return err
	}
	if err := write(dir, "devices.allow", "c 1:3 rwm"); err != nil {
		return err
	}
	b, err := os.ReadFile(filepath.Join(dir, "devices.list"))
	if err != nil {
		return fmt.Errorf("cannot %w", err)
	}
	if list := strings.TrimSpace(string(b)); list != "c 1:3 rwm" {
		return fmt.Errorf("cannot rule over devices: %s lists %q", dir, list)
	}
	return nil
}

// useFreezer freezes the empty group of cgroup v1 and thaws it.
func useFreezer(ctx context.Context, dir string) error {
	if err := write(dir, "freezer.state", "FROZEN"); err != nil {
		return err
	}
	frozen := await(ctx, dir, "freezer.state", "FROZEN")
	if err := write(dir, "freezer.state", "THAWED"); err != nil {
		return err
	}
	return frozen
}

// useUnified freezes a group of cgroup v2, gives it a program that judges devices, and hands its controllers on to a child.
func useUnified(ctx context.Context, dir string) error {
	if err := write(dir, "cgroup.freeze", "1"); err != nil {
		if !errors.Is(err, fs.ErrNotExist) { // Linux before 5.2; runc does without
			return err
		}
	} else {
		frozen := await(ctx, dir, "cgroup.events", "frozen 1")
		if err := errors.Join(frozen, write(dir, "cgroup.freeze", "0")); err != nil {
			return err
		}
	}
	if err := judgeDevices(dir); err != nil {
		return fmt.Errorf("cannot attach a program that judges devices: %w", err)
	}
	b, err := os.ReadFile(filepath.Join(dir, "cgroup.controllers"))
	if err != nil {
		return fmt.Errorf("cannot %w", err)
	}
	// those that the parent hands on; to change the parent is not for a trial
	controllers := slices.DeleteFunc(strings.Fields(string(b)), func(name string) bool {
		return !slices.Contains([]string{"cpu", "cpuset", "memory", "pids"}, name)
	})
	if len(controllers) == 0 {
		return nil
	}
	if err := write(dir, "cgroup.subtree_control", "+"+strings.Join(controllers, " +")); err != nil {
		return err
	}
	return inGroup(filepath.Join(dir, "child"), func(child string) error {
		b, err := os.ReadFile(filepath.Join(child, "cgroup.controllers"))
		if err != nil {
			return fmt.Errorf("cannot %w", err)
		}
		for _, name := range controllers {
			if !slices.Contains(strings.Fields(string(b)), name) {
				return fmt.Errorf("cannot hand the controller %s on to a control group", name)
			}
		}
		return nil
	})
}

// write writes one of the files that make up a control group, which must be there.
func write(dir, name, value string) error {
	f, err := os.OpenFile(filepath.Join(dir, name), os.O_WRONLY, 0)
	if err != nil {
		return fmt.Errorf("cannot %w", err)
	}
	_, err = f.WriteString(value)
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("cannot %w", err)
	}
	return nil
}

// await waits until one line of a file is as wanted.
func await(ctx context.Context, dir, name, line string) error {
	for {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return fmt.Errorf("cannot %w", err)
		}
		if slices.Contains(strings.Split(string(b), "\n"), line) {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("cannot freeze %s: it has %q", dir, strings.TrimSpace(string(b)))
		case <-time.After(time.Millisecond):
		}
	}
}

package trial

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// overlay mounts an overlay on the file system of the data directory, in a mount namespace of its own, and reads and
// writes through it. XFS without ftype, old ZFS, NFS and overlay on overlay fail only when tried.
func overlay() Trial {
	return Trial{Name: Overlay, Title: "mount an overlay for container images", Run: func(_ context.Context, e Env) (Result, error) {
		dir, err := os.MkdirTemp(e.nearest(), ".pipeops-trial-")
		if err != nil {
			return Result{}, fmt.Errorf("%w: %w", errNotTried, err)
		}
		tried := onThrowAwayThread(func() error { return mountOverlay(dir) })
		if err := os.RemoveAll(dir); err != nil {
			return Result{}, fmt.Errorf("%w: %w", errNotUndone, err)
		}
		if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
			return Result{}, fmt.Errorf("%w: %s is still there", errNotUndone, dir)
		}
		return Result{}, tried
	}}
}

// mountOverlay leaves its thread in a mount namespace that nothing else is in.
func mountOverlay(dir string) error {
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("cannot make a mount namespace: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("cannot make the mounts private: %w", err)
	}
	for _, name := range []string{"lower", "upper", "work", "merged"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o755); err != nil {
			return fmt.Errorf("%w: %w", errNotTried, err)
		}
	}
	lower, merged := filepath.Join(dir, "lower", "a"), filepath.Join(dir, "merged")
	if err := os.WriteFile(lower, []byte("lower"), 0o644); err != nil {
		return fmt.Errorf("%w: %w", errNotTried, err)
	}
	options := fmt.Sprintf("lowerdir=%s/lower,upperdir=%s/upper,workdir=%s/work", dir, dir, dir)
	if err := unix.Mount("overlay", merged, "overlay", 0, options); err != nil {
		return fmt.Errorf("cannot mount an overlay below %s: %w", filepath.Dir(dir), err)
	}
	used := useOverlay(merged, lower)
	if err := unix.Unmount(merged, unix.MNT_DETACH); err != nil {
		return fmt.Errorf("%w: cannot unmount %s: %w", errNotUndone, merged, err)
	}
	return used
}

// useOverlay changes a file of the lower layer and renames it, as unpacking an image does; the lower one must stay.
func useOverlay(merged, lower string) error {
	if err := os.WriteFile(filepath.Join(merged, "a"), []byte("upper"), 0o644); err != nil {
		return fmt.Errorf("cannot write through an overlay: %w", err)
	}
	if err := os.Rename(filepath.Join(merged, "a"), filepath.Join(merged, "b")); err != nil {
		return fmt.Errorf("cannot rename in an overlay: %w", err)
	}
	up, err := os.ReadFile(filepath.Join(merged, "b"))
	if err != nil {
		return fmt.Errorf("cannot read through an overlay: %w", err)
	}
	low, err := os.ReadFile(lower)
	if err != nil || string(up) != "upper" || string(low) != "lower" {
		return fmt.Errorf("cannot trust overlays here: a write went to the wrong layer")
	}
	return nil
}

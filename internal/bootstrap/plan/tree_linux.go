package plan

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/pipeopshq/pipeops-agent/internal/mounttable"
)

// empty deletes what is in the folder at path, a full path without links, except the entries that were there before.
func (r *removal) empty(ctx context.Context, path string, before func(name string) bool) error {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("cannot open %s: %w", path, err)
	}
	_, err = r.emptyAt(ctx, fd, path, before)
	return err
}

// emptyAt does so for an open folder, which it closes, and reports whether nothing is left in it. It goes down by open
// folders only, never by a path: a name that is exchanged for a link or a mount meanwhile leads nowhere.
func (r *removal) emptyAt(ctx context.Context, fd int, path string, before func(name string) bool) (empty bool, err error) {
	dir := os.NewFile(uintptr(fd), path)
	defer func() { err = errors.Join(err, dir.Close()) }()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return false, fmt.Errorf("cannot list %s: %w", path, err)
	}
	slices.Sort(names)
	empty = true
	for _, name := range names {
		if err := ctx.Err(); err != nil {
			return false, err
		}
		if before != nil && before(name) {
			empty = false
			continue
		}
		gone, err := r.removeAt(ctx, fd, name, filepath.Join(path, name))
		if err != nil {
			return false, err
		}
		empty = empty && gone
	}
	return empty, nil
}

// removeAt deletes one entry of an open folder, and reports whether it is gone.
func (r *removal) removeAt(ctx context.Context, fd int, name, path string) (bool, error) {
	if r.keep(path) {
		r.leave(path, "kept")
		return false, nil
	}
	if slices.ContainsFunc(r.mounts, func(m mounttable.Mount) bool { return m.Point == path }) {
		r.leave(path, "a file system is mounted there")
		return false, nil
	}
	err := unix.Unlinkat(fd, name, 0)
	switch {
	case err == nil, errors.Is(err, unix.ENOENT):
		return true, nil
	case errors.Is(err, unix.EBUSY): // a file is mounted on it
		r.leave(path, "something is mounted there")
		return false, nil
	case errors.Is(err, unix.EPERM) && !isDir(fd, name):
		r.leave(path, immutable)
		return false, nil
	case !errors.Is(err, unix.EISDIR) && !errors.Is(err, unix.EPERM): // POSIX says EPERM of a folder
		return false, fmt.Errorf("cannot delete %s: %w", path, err)
	}
	sub, err := openBelow(fd, name)
	switch {
	case errors.Is(err, unix.EXDEV):
		r.leave(path, "a file system is mounted there")
		return false, nil
	case errors.Is(err, unix.ENOENT):
		return true, nil
	case err != nil:
		return false, fmt.Errorf("cannot open %s: %w", path, err)
	}
	empty, err := r.emptyAt(ctx, sub, path, nil)
	if err != nil || !empty {
		return false, err
	}
	err = unix.Unlinkat(fd, name, unix.AT_REMOVEDIR)
	switch {
	case err == nil, errors.Is(err, unix.ENOENT):
		return true, nil
	case notEmpty(err):
		r.leave(path, "something was put there just now")
		return false, nil
	case errors.Is(err, unix.EPERM):
		r.leave(path, immutable)
		return false, nil
	}
	return false, fmt.Errorf("cannot delete %s: %w", path, err)
}

// immutable is why root may not delete something.
const immutable = "it may not be deleted: chattr -ia takes the attribute away"

func isDir(fd int, name string) bool {
	var st unix.Stat_t
	return unix.Fstatat(fd, name, &st, unix.AT_SYMLINK_NOFOLLOW) == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR
}

// openBelow opens a folder in an open folder. It does not follow links and does not go over to another mount, be it of the
// same file system: EXDEV. Kernels before 5.6 know mounts of other file systems only; the mount table tells of the rest.
func openBelow(fd int, name string) (int, error) {
	sub, err := unix.Openat2(fd, name, &unix.OpenHow{
		Flags:   unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_XDEV | unix.RESOLVE_NO_SYMLINKS,
	})
	if !errors.Is(err, unix.ENOSYS) && !errors.Is(err, unix.EPERM) { // a seccomp filter that knows it not says EPERM
		return sub, err
	}
	if sub, err = unix.Openat(fd, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0); err != nil {
		return -1, err
	}
	var above, below unix.Stat_t
	if err := errors.Join(unix.Fstat(fd, &above), unix.Fstat(sub, &below)); err != nil || above.Dev != below.Dev {
		return -1, errors.Join(err, unix.EXDEV, unix.Close(sub))
	}
	return sub, nil
}

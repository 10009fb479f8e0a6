package host

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"

	"golang.org/x/sys/unix"
)

// liveUname asks the kernel for its name.
func liveUname() (Uname, error) {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return Uname{}, fmt.Errorf("cannot ask for the kernel's name: %w", err)
	}
	return Uname{Machine: unix.ByteSliceToString(u.Machine[:]), Release: unix.ByteSliceToString(u.Release[:])}, nil
}

// liveStatfs asks for the file system that holds a path; its type is left to the mount table.
func liveStatfs(path string) (Statfs, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return Statfs{}, fmt.Errorf("cannot ask for the file system of %s: %w", path, err)
	}
	fs := Statfs{
		Total:    Is(st.Blocks * uint64(st.Bsize)),
		Free:     Is(st.Bavail * uint64(st.Bsize)),
		ReadOnly: Is(st.Flags&unix.ST_RDONLY != 0),
	}
	if st.Files != 0 { // btrfs and zfs make inodes as they need them
		fs.FreeInodes = Is(st.Ffree)
	}
	return fs, nil
}

// liveResolve follows the links of a path that exists.
func liveResolve(path string) string {
	if p, err := filepath.EvalSymlinks(path); err == nil {
		return p
	}
	return path
}

// liveCPUs is the number of CPUs that this process may run on.
func liveCPUs() int { return runtime.NumCPU() }

func livePageSize() int { return os.Getpagesize() }

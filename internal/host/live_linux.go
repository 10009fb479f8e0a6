package host

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// liveUname asks the kernel for its name.
func liveUname() (Uname, error) {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return Uname{}, fmt.Errorf("cannot ask for the kernel's name: %w", err)
	}
	return Uname{Sysname: unix.ByteSliceToString(u.Sysname[:]), Machine: unix.ByteSliceToString(u.Machine[:]), Release: unix.ByteSliceToString(u.Release[:])}, nil
}

// liveStatfs asks for the file system that holds a path; its type is left to the mount table.
func liveStatfs(path string) (Statfs, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return Statfs{}, fmt.Errorf("cannot ask for the file system of %s: %w", path, err)
	}
	f := Statfs{
		Total:    Is(st.Blocks * uint64(st.Bsize)),
		Free:     Is(st.Bavail * uint64(st.Bsize)),
		ReadOnly: Is(st.Flags&unix.ST_RDONLY != 0),
	}
	if st.Files != 0 { // btrfs and zfs make inodes as they need them
		f.FreeInodes = Is(st.Ffree)
	}
	return f, nil
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

// liveRandom tells whether random numbers can be had without waiting.
func liveRandom() Known[bool] {
	var b [1]byte
	_, err := unix.Getrandom(b[:], unix.GRND_NONBLOCK)
	switch {
	case err == nil:
		return Is(true)
	case errors.Is(err, unix.EAGAIN):
		return Is(false)
	}
	return Known[bool]{} // kernels before 3.17 cannot be asked
}

// liveDevice looks at a character device, and opens it if that has no effect.
func liveDevice(path string, major, minor uint32, open bool) Device {
	var st unix.Stat_t
	err := unix.Lstat(path, &st)
	switch {
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENOTDIR):
		return Device{Present: Is(false), Usable: Is(false)}
	case err != nil:
		return Device{}
	case st.Mode&unix.S_IFMT != unix.S_IFCHR || unix.Major(uint64(st.Rdev)) != major || unix.Minor(uint64(st.Rdev)) != minor:
		return Device{Present: Is(false), Usable: Is(false)}
	}
	d := Device{Present: Is(true)}
	if open {
		fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
		switch {
		case err == nil:
			d.Usable = Is(true)
			_ = unix.Close(fd) // only read from, and never so
		case unix.Geteuid() == 0 || !errors.Is(err, os.ErrPermission): // what is for root alone says nothing of root
			d.Usable = Is(false)
		}
	}
	return d
}

// liveWritable tells whether a kernel setting could be written; opening alone changes nothing.
func liveWritable(path string) bool {
	fd, err := unix.Open(path, unix.O_WRONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return false
	}
	_ = unix.Close(fd) // nothing was written that could be lost
	return true
}

// liveInode returns a file as /proc/locks names it.
func liveInode(path string) (lock, bool) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return lock{}, false
	}
	return lock{device: deviceNumber(uint64(unix.Major(uint64(st.Dev))), uint64(unix.Minor(uint64(st.Dev)))), inode: st.Ino}, true
}

// liveHolds tells whether a process has a file open: on btrfs and overlays stat shows another device than the locks.
func liveHolds(pid int, path string) Known[bool] {
	dir := "/proc/" + strconv.Itoa(pid) + "/fd"
	d, err := os.Open(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return Is(false)
	case err != nil: // not ours to look at
		return Known[bool]{}
	}
	defer d.Close()
	fds, _ := d.Readdirnames(maxDescriptors)
	path = liveResolve(path)
	for _, fd := range fds {
		if link, err := os.Readlink(dir + "/" + fd); err == nil && link == path {
			return Is(true)
		}
	}
	return Is(false)
}

// liveSynchronized asks the kernel whether somebody keeps its clock. Nothing is adjusted.
func liveSynchronized() Known[bool] {
	var t unix.Timex
	if _, err := unix.Adjtimex(&t); err != nil {
		return Known[bool]{}
	}
	return Is(t.Status&unix.STA_UNSYNC == 0)
}

// livePathMTU asks for the largest packet that the kernel sends over a connection, in bytes.
func livePathMTU(conn net.Conn) Known[int] {
	c, ok := conn.(syscall.Conn)
	if !ok {
		return Known[int]{}
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return Known[int]{}
	}
	var mtu Known[int]
	err = raw.Control(func(fd uintptr) {
		if info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO); err == nil && info.Pmtu > 0 {
			mtu = Is(int(info.Pmtu))
		}
	})
	if err != nil {
		return Known[int]{}
	}
	return mtu
}

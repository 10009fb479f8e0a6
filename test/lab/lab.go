// Package lab boots pristine Debian machines with a real systemd (or OpenRC), in about a second each, for the demo, the end-to-end
// tests and the benchmarks.
//
// A machine is a systemd-nspawn container in a network namespace of its own on the bridge pipelab0 (10.98.0.0/24; this
// side is 10.98.0.1, which the machines know as host.lab). Unless it is asked to be a plain container it gets what a
// virtual machine has (writable cgroups and sysctls, shared mounts, /dev/kmsg, all capabilities of this host), so that
// k3s, a kubelet and systemd work in it as on a separate host. There is no way from it to the internet: what it
// downloads comes from a server that the test starts with [Serve], and Debian's packages, for those who ask for them, through
// [Lab.ServeDebian]. A machine can have Debian's Docker:
//
//	go run ./test/lab/cmd/lab up d --docker
//	go run ./test/lab/cmd/lab up plain && go run ./test/lab/cmd/lab debian plain   # apt-get install docker.io works in it
//
// What k3d needs is built by test/k3d/build.sh, which names the files, and put into the mirror of a test by AddK3d of package rig.
// For kind, test/kind/build.sh and AddKind do the same; it takes an hour and more the first time, so only make kind runs it.
//
// It needs root, Linux namespaces and a Debian or Ubuntu host; [Open] says what is missing. This package and the other
// ones below test/ may start processes; the product itself has one door for that, internal/command.
package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// The network of the lab. Machine number n has the address 10.98.0.n.
const (
	HostAddress = "10.98.0.1" // of this side of the bridge
	HostName    = "host.lab"  // by which machines know it

	bridge  = "pipelab0"
	network = "10.98.0."
)

// DefaultDir is where images and the disks of machines are kept, unless LAB_DIR names another folder.
const DefaultDir = "/var/lib/pipeops-agent-lab"

// Lab is a folder of images and machines.
type Lab struct {
	Dir string               // see DefaultDir
	Log func(message string) // told what takes long; nil means nobody is
}

// Open checks that machines can be started here and returns the lab in the folder that LAB_DIR names.
func Open(ctx context.Context) (*Lab, error) {
	if os.Geteuid() != 0 {
		return nil, errors.New("cannot start lab machines: root is needed; run this again with sudo")
	}
	for tool, pkg := range map[string]string{
		"systemd-nspawn": "systemd-container", "ip": "iproute2", "nsenter": "util-linux", "unshare": "util-linux",
	} {
		if _, err := exec.LookPath(tool); err != nil {
			return nil, fmt.Errorf("cannot start lab machines: %s is missing; apt-get install %s, or run test/lab/setup.sh", tool, pkg)
		}
	}
	if _, err := run(ctx, "unshare", "--mount", "--net", "--pid", "--fork", "true"); err != nil {
		return nil, fmt.Errorf("cannot start lab machines: mount, network and pid namespaces are needed; use a virtual machine or a privileged container: %w", err)
	}
	dir := os.Getenv("LAB_DIR")
	if dir == "" {
		dir = DefaultDir
	}
	if !filepath.IsAbs(dir) {
		return nil, fmt.Errorf("cannot use LAB_DIR %q: want an absolute path", dir)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("cannot make the folder of the lab: %w", err)
	}
	spread(dir)
	return &Lab{Dir: dir}, nil
}

// spread asks ext4 to put every machine into a part of the disk of its own, as chattr +T does. Where machines were deleted
// within the last five minutes, ext4 steps over each of their inodes for every new file: a copy of the image then took 5 s
// instead of 0.4 s. Other file systems refuse, and do well without.
func spread(dir string) {
	const topdir = 0x20000 // FS_TOPDIR_FL of linux/fs.h
	f, err := os.Open(dir)
	if err != nil {
		return
	}
	defer f.Close()
	if flags, err := unix.IoctlGetInt(int(f.Fd()), unix.FS_IOC_GETFLAGS); err == nil {
		_ = unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, flags|topdir)
	}
}

func (l *Lab) logf(format string, args ...any) {
	if l.Log != nil {
		l.Log(fmt.Sprintf(format, args...))
	}
}

// lock takes the lock of that name for as long as it takes to change what machines share.
func (l *Lab) lock(name string) (unlock func(), err error) {
	f, err := os.OpenFile(filepath.Join(l.Dir, "."+name+".lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("cannot open the lock of the lab: %w", err)
	}
	for {
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("cannot take the lock of the lab: %w", err)
	}
	return func() { _ = f.Close() }, nil
}

// run starts a program of this side and returns its output without the last newline.
func run(ctx context.Context, argv ...string) (string, error) {
	out, err := exec.CommandContext(ctx, argv[0], argv[1:]...).CombinedOutput()
	text := strings.TrimSpace(string(out))
	if err != nil {
		return text, fmt.Errorf("cannot run %s: %w: %s", strings.Join(argv, " "), err, text)
	}
	return text, nil
}

// WaitFor asks again and again until the condition holds or ctx ends. What names the condition in the error.
func WaitFor(ctx context.Context, what string, holds func(context.Context) (bool, error)) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		ok, err := holds(ctx)
		if ok && err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("cannot see %s: %w", what, errors.Join(ctx.Err(), err))
		case <-tick.C:
		}
	}
}

//go:build linux

package host

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// TestLockHolder takes locks of both kinds and finds itself.
func TestLockHolder(t *testing.T) {
	if _, err := os.Stat("/proc/locks"); err != nil {
		t.Skip(err)
	}
	self := commOf(os.Getpid())
	for name, take := range map[string]func(fd uintptr) error{
		"flock": func(fd uintptr) error { return unix.Flock(int(fd), unix.LOCK_EX) },
		"posix": func(fd uintptr) error {
			return unix.FcntlFlock(fd, unix.F_SETLK, &unix.Flock_t{Type: unix.F_WRLCK})
		},
	} {
		path := filepath.Join(t.TempDir(), "lock")
		f, err := os.Create(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if held, by, pid, err := lockHolder(t.Context(), Live(), []string{"/none", path}); held != Is(false) || by != "" || pid != 0 || err != nil {
			t.Errorf("%s: before: %v, %q, %v", name, held, by, err)
		}
		if err := take(f.Fd()); err != nil {
			t.Fatal(err)
		}
		if held, by, pid, err := lockHolder(t.Context(), Live(), []string{"/none", path}); held != Is(true) || by != self || pid != os.Getpid() || err != nil {
			t.Errorf("%s: held: %v, %q, %v", name, held, by, err)
		}
	}
}

func TestCountInotify(t *testing.T) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC)
	if err != nil {
		t.Skip(err)
	}
	defer unix.Close(fd)
	n, err := countInotify(t.Context(), Live())
	if !n.OK && err == nil && os.Geteuid() != 0 {
		t.Skip("only root may look at all processes")
	}
	if err != nil || n.Value < 1 {
		t.Errorf("%v, %v", n, err)
	}
}

func TestLiveDevice(t *testing.T) {
	link := filepath.Join(t.TempDir(), "kmsg")
	if err := os.Symlink("/dev/null", link); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, path   string
		major, minor uint32
		open         bool
		want         Device
	}{
		{"there", "/dev/null", 1, 3, true, Device{Is(true), Is(true)}},
		{"not opened", "/dev/null", 1, 3, false, Device{Present: Is(true)}},
		{"another", "/dev/null", majorMem, minorKmsg, true, Device{Is(false), Is(false)}},
		{"link", link, 1, 3, true, Device{Is(false), Is(false)}},
		{"not there", "/dev/none", 1, 3, true, Device{Is(false), Is(false)}},
	} {
		if got := liveDevice(c.path, c.major, c.minor, c.open); got != c.want {
			t.Errorf("%s: %+v", c.name, got)
		}
	}
}

// TestLiveDeviceForRootAlone: that others may not open a device says nothing of root.
func TestLiveDeviceForRootAlone(t *testing.T) {
	const path, major, minor = "/dev/console", 5, 1
	if err := unix.Access(path, unix.R_OK); os.Geteuid() == 0 || !errors.Is(err, os.ErrPermission) {
		t.Skip("whoever runs this may open " + path)
	}
	if got := liveDevice(path, major, minor, true); got != (Device{Present: Is(true)}) {
		t.Errorf("%+v", got)
	}
}

// TestSystemFactsOutliveCapture: what the probes found on the machine that runs the test, they find in its capture, and
// the capture holds no more than that.
func TestSystemFactsOutliveCapture(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "machine")
	live := whole(t, func() Facts {
		f, err := Capture(t.Context(), dir, nil)
		if err != nil {
			t.Fatal(err)
		}
		return f
	})
	if live.Sysctl.Values == nil || live.Sysctl.Writable == nil || !live.Limits.PIDMax.OK || !live.Clock.Year.OK || !live.Devices.Kmsg.Present.OK ||
		live.Roots.ReadOnly == nil || !live.Inotify.MaxInstances.OK || live.Boot.Cgroup == nil || !live.Modules.Present.OK || live.Packages.Manager == "" {
		t.Errorf("facts are missing:\n%+v", live)
	}
	replayed := Collect(t.Context(), load(t, dir))
	for _, c := range []struct {
		name string
		of   func(Facts) any
	}{
		{"os", func(f Facts) any { return f.OS }}, {"hardware", func(f Facts) any { return f.Hardware }}, {"arch", func(f Facts) any { return f.Arch }},
		{"modules", func(f Facts) any { return f.Modules }}, {"kernel config", func(f Facts) any { return f.KernelConfig }}, {"lsm", func(f Facts) any { return f.LSM }},
		{"keyring", func(f Facts) any { return f.Keyring }}, {"inotify", func(f Facts) any { return f.Inotify }}, {"swap", func(f Facts) any { return f.Swap }},
		{"limits", func(f Facts) any { return f.Limits }}, {"entropy", func(f Facts) any { return f.Entropy }}, {"devices", func(f Facts) any { return f.Devices }},
		{"sysctl", func(f Facts) any { return f.Sysctl }}, {"roots", func(f Facts) any { return f.Roots }}, {"packages", func(f Facts) any { return f.Packages }},
		{"clock", func(f Facts) any { return f.Clock }}, {"boot", func(f Facts) any { return f.Boot }},
	} {
		if diff := cmp.Diff(c.of(live), c.of(replayed)); diff != "" {
			t.Errorf("%s, live and replayed:\n%s", c.name, diff)
		}
	}
	size := int64(0)
	err := filepath.Walk(dir, func(path string, info os.FileInfo, err error) error {
		if err != nil || info.IsDir() {
			return err
		}
		size += info.Size()
		if info.Size() > 512<<10 {
			t.Errorf("%s has %d bytes", path, info.Size())
		}
		return nil
	})
	if err != nil || size > 2<<20 {
		t.Errorf("the capture has %d bytes, %v", size, err)
	}
	if b, err := os.ReadFile(filepath.Join(dir, "proc/cmdline")); err != nil || bytes.ContainsAny(bytes.ReplaceAll(b, []byte(strings.Join(live.Boot.Cgroup, " ")), nil), "=/") {
		t.Errorf("the capture holds the kernel's command line: %q, %v", b, err)
	}
}

package trial

import (
	"errors"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// TestThrowAwayThread: what happens to that thread happens to no other, and never to the first one.
func TestThrowAwayThread(t *testing.T) {
	for range 20 {
		var tid int
		if err := onThrowAwayThread(func() error { tid = unix.Gettid(); return nil }); err != nil {
			t.Fatal(err)
		}
		if tid == os.Getpid() || tid == 0 {
			t.Fatalf("ran on thread %d of process %d", tid, os.Getpid())
		}
	}
	if os.Geteuid() != 0 {
		t.Skip("a mount namespace takes root")
	}
	own, _ := os.Readlink("/proc/self/ns/mnt")
	err := onThrowAwayThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
			return nil //nolint:nilerr // this machine does not allow it, which is not what is tested
		}
		if other, _ := os.Readlink("/proc/thread-self/ns/mnt"); other == own {
			return errors.New("no namespace of its own")
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	if now, _ := os.Readlink("/proc/self/ns/mnt"); now != own {
		t.Error("the process has changed its mount namespace")
	}
}

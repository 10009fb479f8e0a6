//go:build linux

package plan

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

// TestALockThatWasDeletedIsNone has an uninstall delete the folder, with the lock that others wait for: they must not take the
// file that nobody can find any more, while another makes a new one.
func TestALockThatWasDeletedIsNone(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	gone, err := Open(dir, "")
	if err != nil {
		t.Fatal(err)
	}
	user := make(chan opened, 1)
	go func() {
		s, err := openWait(t.Context(), dir, "", "")
		user <- opened{s, err}
	}()
	waits(t, filepath.Join(dir, lockFile), 1)
	if err := errors.Join(Discard(t.Context(), dir), gone.Close()); err != nil {
		t.Fatal(err)
	}
	o := <-user
	if o.err != nil {
		t.Fatal(o.err)
	}
	if _, err := Open(dir, ""); !reason.Is(err, reason.Busy) {
		t.Errorf("two have the lock: %v", err)
	}
	alone := waiting(t.Context(), dir)
	waits(t, filepath.Join(dir, lockFile), 1)
	if err := errors.Join(Discard(t.Context(), dir), o.s.Close()); err != nil {
		t.Fatal(err)
	}
	if o := <-alone; !errors.Is(o.err, fs.ErrNotExist) {
		t.Errorf("where nothing is left to do: %v", o.err)
	}
	if _, err := os.Lstat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("who works in the background has made the folder again: %v", err)
	}
}

// waits returns once so many others wait in the kernel for the lock of a file.
func waits(t *testing.T, path string, n int) {
	t.Helper()
	st, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	inode := fmt.Sprintf(":%d 0 EOF", st.Sys().(*syscall.Stat_t).Ino)
	for {
		table, err := os.ReadFile("/proc/locks")
		if err != nil {
			t.Skip(err)
		}
		found := 0
		for line := range strings.Lines(string(table)) {
			if strings.Contains(line, "-> FLOCK") && strings.Contains(line, inode) {
				found++
			}
		}
		if found == n {
			return
		}
		time.Sleep(time.Millisecond)
	}
}

// TestTakeOverOfALockThatIsNotSignedYet is the moment in which the one who works in the background has just got the lock.
func TestTakeOverOfALockThatIsNotSignedYet(t *testing.T) {
	dir := t.TempDir()
	f, err := os.Create(filepath.Join(dir, lockFile))
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := TakeOver(ctx, dir, ""); !reason.Is(err, reason.Busy) {
		t.Errorf("held by nobody who can be seen: %v", err)
	}
	time.AfterFunc(unsigned/2, func() { _ = f.Close() })
	s, took, err := TakeOver(t.Context(), dir, "")
	if err != nil || took {
		t.Fatalf("%v, took %v", err, took)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

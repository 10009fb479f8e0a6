package trial

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/pipeopshq/pipeops-agent/internal/host"
)

func TestTrialsAreNamed(t *testing.T) {
	var seen []string
	for _, tr := range All() {
		if tr.Name == "" || tr.Title == "" || tr.Run == nil || slices.Contains(seen, tr.Name) {
			t.Errorf("trial %+v lacks a name of its own, a title or Run", tr)
		}
		seen = append(seen, tr.Name)
	}
}

func TestResult(t *testing.T) {
	for _, c := range []struct {
		err    error
		want   host.Known[bool]
		detail string
	}{
		{nil, host.Is(true), ""},
		{errors.New("cannot do it"), host.Is(false), "cannot do it"},
		{fmt.Errorf("%w: no tool", errNotTried), host.Known[bool]{}, "not tried: no tool"},
		{fmt.Errorf("%w: /x", errNotUndone), host.Known[bool]{}, "not undone: /x"},
	} {
		if got := result(c.err); got.OK != c.want || got.Detail != c.detail {
			t.Errorf("%v: %+v", c.err, got)
		}
	}
	if (Results{}).OK(Overlay).OK {
		t.Error("a trial that was not run has an outcome")
	}
}

// TestRunLeavesNothing runs all trials on this machine, whatever it allows, and looks at what they touch before and after.
func TestRunLeavesNothing(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "not", "there")
	look := func() string {
		var s strings.Builder
		for _, path := range []string{"/proc/self/oom_score_adj", "/proc/self/mountinfo", "/proc/sys/vm/overcommit_memory", "/proc/sys/kernel/panic"} {
			b, err := os.ReadFile(path)
			fmt.Fprintln(&s, path, string(b), err)
		}
		for _, path := range []string{filepath.Dir(filepath.Dir(dir)), "/sys/fs/cgroup", "/sys/fs/cgroup/memory"} {
			entries, err := os.ReadDir(path)
			for _, e := range entries {
				if strings.Contains(e.Name(), "pipeops-trial") || strings.HasPrefix(path, filepath.Dir(filepath.Dir(dir))) {
					fmt.Fprintln(&s, path, e.Name())
				}
			}
			fmt.Fprintln(&s, path, err != nil)
		}
		return s.String()
	}
	before := look()
	results, err := Run(t.Context(), Env{DataDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if after := look(); after != before {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
	for _, tr := range All() {
		r, ok := results[tr.Name]
		if !ok {
			t.Errorf("%s was not run", tr.Name)
		}
		if os.Geteuid() != 0 && r.OK.OK {
			t.Errorf("%s has an outcome without root: %+v", tr.Name, r)
		}
		if ok, known := r.OK.Get(); (!known || !ok) && r.Detail == "" {
			t.Errorf("%s gives no reason", tr.Name)
		}
		t.Logf("%s: %v %s", tr.Name, r.OK, r.Detail)
	}
}

func TestRunStopsInTime(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	results, err := Run(ctx, Env{})
	if err != nil {
		t.Fatal(err)
	}
	for name, r := range results {
		if r.OK.OK || !strings.Contains(r.Detail, "not tried") {
			t.Errorf("%s: %+v", name, r)
		}
	}
}

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

func TestOfCapturedMachine(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, host.SnapshotFile), []byte(`{"trials":{"nft":{"ok":false,"detail":"no"},"kmsg":{"ok":true}}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := host.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	r := Of(s)
	if r.OK("nft") != host.Is(false) || r.OK(Kmsg) != host.Is(true) || r.OK(Overlay).OK {
		t.Errorf("%+v", r)
	}
}

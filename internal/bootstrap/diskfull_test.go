//go:build linux

package bootstrap

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pipeopshq/pipeops-agent/internal/bootstrap/plan"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

const page = 4 << 10 // a file system in memory hands out pages

// smallDisk mounts a file system of so many pages, in a folder of its own.
func smallDisk(t *testing.T, pages int) string {
	t.Helper()
	dir := t.TempDir()
	err := syscall.Mount("tmpfs", dir, "tmpfs", 0, diskSize(pages))
	if errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.EACCES) {
		t.Skip("only root can mount")
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func diskSize(pages int) string { return "mode=755,size=" + strconv.Itoa(pages*page) }

// contents lists what is below a folder, with the contents of files.
func contents(t *testing.T, dir string) string {
	t.Helper()
	var out strings.Builder
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		st, err := d.Info()
		if err != nil {
			return err
		}
		text := ""
		if st.Mode().IsRegular() {
			content, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			text = fmt.Sprintf("%x", sha256.Sum256(content))
		}
		fmt.Fprintf(&out, "%s %v %s\n", strings.TrimPrefix(path, dir), st.Mode(), text)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// TestDiskFullAtEveryStep runs an install on disks that grow by a page, so that it fails in each step in turn: once the disk of
// the machine is the small one, once that of the state folder. Each failure is one named error that tells of the space, what
// the step had changed is undone, and with more space the same install ends as one that never failed.
func TestDiskFullAtEveryStep(t *testing.T) {
	mirror := serveK3s(t, 5*page-100)
	clean := newFolder(t, t.TempDir(), t.TempDir(), mirror)
	if _, err := clean.run(nil); err != nil {
		t.Fatal(err)
	}
	want := contents(t, clean.root)
	for disk, steps := range map[string][]string{
		"machine": {"k3s-download", "k3s-binary", "k3s-images", "sysctl", "k3s-config", "k3s-unit", "agent-config", "agent-unit", "credential-unit"},
		"state":   {"", "k3s-download"}, // "" is before the first one
	} {
		t.Run(disk, func(t *testing.T) {
			failed := map[string]int{}
			for pages := 1; ; pages++ {
				step, ended := installOnSmallDisk(t, disk, pages, mirror, want)
				if ended {
					break
				}
				failed[step]++
				if pages > 100 {
					t.Fatalf("no end: %v", failed)
				}
			}
			t.Logf("failed in %v", failed)
			for _, step := range steps {
				if failed[step] == 0 {
					t.Errorf("no disk was full in step %q, only in %v", step, slices.Sorted(maps.Keys(failed)))
				}
			}
		})
	}
}

// installOnSmallDisk returns in which step the install failed, or that it did not.
func installOnSmallDisk(t *testing.T, disk string, pages int, mirror k3sMirror, want string) (failed string, ended bool) {
	t.Helper()
	root, state := t.TempDir(), t.TempDir()
	var small string
	if disk == "machine" {
		small = smallDisk(t, pages+3) // the three files that are there before
		root = small
	} else {
		small = smallDisk(t, pages)
		state = small
	}
	f := newFolder(t, root, state, mirror)
	if pages > 1 { // else the space is found out before anything is downloaded; here somebody else takes it in the meantime
		f.o.Install.Fetcher.Free = func(string) (int64, uint64, error) { return 1 << 40, 0, nil }
	}
	before := ""
	_, err := f.run(func(e plan.Event) {
		switch e.State {
		case plan.Started:
			before = contents(t, root)
		case plan.Failed:
			failed = e.Step
		}
	})
	if err == nil {
		return "", true
	}
	var known *reason.Error
	if !errors.As(err, &known) || !slices.Contains([]reason.Code{reason.DownloadNoSpace, reason.HostDiskLow, reason.StepFailed}, known.Code) {
		t.Errorf("%d pages, step %q: %v", pages, failed, err)
	}
	if text := err.Error(); !strings.Contains(text, "space") {
		t.Errorf("%d pages, step %q: the error does not tell of the space: %v", pages, failed, err)
	}
	if after := contents(t, root); before != "" && after != before {
		t.Errorf("%d pages, step %q is not undone: %s", pages, failed, cmp.Diff(before, after))
	}
	if err := syscall.Mount("tmpfs", small, "tmpfs", syscall.MS_REMOUNT, diskSize(10000)); err != nil {
		t.Fatal(err)
	}
	if _, err := f.run(nil); err != nil {
		t.Errorf("%d pages, after step %q, with more space: %v", pages, failed, err)
	}
	if got := contents(t, root); got != want {
		t.Errorf("%d pages, after step %q: another end: %s", pages, failed, cmp.Diff(want, got))
	}
	return failed, false
}

// TestStateFolderFullFromAStepOn takes all space of the state folder when a step has started: its journal, its ledger and the
// copies of files cannot be written any more.
func TestStateFolderFullFromAStepOn(t *testing.T) {
	mirror := serveK3s(t, 5*page-100)
	clean := newFolder(t, t.TempDir(), t.TempDir(), mirror)
	var steps []string
	if _, err := clean.run(func(e plan.Event) {
		if e.State == plan.Started {
			steps = append(steps, e.Step)
		}
	}); err != nil {
		t.Fatal(err)
	}
	want := contents(t, clean.root)
	for _, step := range steps {
		t.Run(step, func(t *testing.T) {
			state := smallDisk(t, 1000)
			f := newFolder(t, t.TempDir(), state, mirror)
			f.o.Install.Fetcher.Free = func(string) (int64, uint64, error) { return 1 << 40, 0, nil }
			var before string // as the step that fails has found it
			full := false
			_, err := f.run(func(e plan.Event) {
				if e.State == plan.Started {
					before = contents(t, f.root)
				}
				if full = full || e.Step == step; full && e.State != plan.Progress { // again and again: a download that was placed makes room
					fill(t, state)
				}
			})
			var known *reason.Error
			if !errors.As(err, &known) || known.Code == reason.StepNotRolledBack || !strings.Contains(err.Error(), "space") {
				t.Errorf("%v", err)
			}
			if after := contents(t, f.root); after != before {
				t.Errorf("not undone: %s", cmp.Diff(before, after))
			}
			if err := os.Remove(filepath.Join(state, "filler")); err != nil {
				t.Fatal(err)
			}
			if _, err := f.run(nil); err != nil {
				t.Errorf("with more space: %v", err)
			}
			if got := contents(t, f.root); got != want {
				t.Errorf("another end: %s", cmp.Diff(want, got))
			}
		})
	}
}

// fill takes all the space that is left, down to the last page and to the ends of those that are in use.
func fill(t *testing.T, dir string) {
	t.Helper()
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(filepath.Join(dir, "filler"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err == nil {
		_, err = f.Write(make([]byte, st.Bfree*page))
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestAStateFolderThatStaysHasACode has a file system mounted in the state folder.
func TestAStateFolderThatStaysHasACode(t *testing.T) {
	o, _ := removal(t)
	o.StateDir = smallDisk(t, 100)
	store, err := plan.Open(o.StateDir, "")
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	if err := Uninstall(t.Context(), o); !reason.Is(err, reason.UninstallIncomplete) || !strings.Contains(err.Error(), "mounted there") {
		t.Errorf("%v", err)
	}
}

// TestAnUninstallOnAFullDiskIsNamed cannot even write down with what it begins.
func TestAnUninstallOnAFullDiskIsNamed(t *testing.T) {
	o, _ := removal(t)
	disk := smallDisk(t, 100)
	o.StateDir = filepath.Join(disk, "state")
	store, err := plan.Open(o.StateDir, "")
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	fill(t, disk)
	if err := Uninstall(t.Context(), o); !reason.Is(err, reason.HostDiskLow) {
		t.Errorf("%v", err)
	}
}

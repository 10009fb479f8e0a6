//go:build linux

package plan

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/pipeopshq/pipeops-agent/internal/command"
	"github.com/pipeopshq/pipeops-agent/internal/mounttable"
)

// privateMounts gives the test a mount table of its own, which ends with its thread.
func privateMounts(t *testing.T) {
	t.Helper()
	runtime.LockOSThread() // never unlocked: the thread ends with the goroutine, and the mounts with it
	err := unix.Unshare(unix.CLONE_NEWNS | unix.CLONE_FS)
	if err == nil {
		err = unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")
	}
	if errors.Is(err, unix.EPERM) {
		t.Skip("mounts need root; the e2e tests run this as root")
	}
	if err != nil {
		t.Fatal(err)
	}
}

func fill(t *testing.T, paths ...string) {
	t.Helper()
	for _, p := range paths {
		if err := errors.Join(os.MkdirAll(filepath.Dir(p), 0o755), os.WriteFile(p, []byte("x"), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
}

func names(t *testing.T, dir string) (out []string) {
	t.Helper()
	err := filepath.Walk(dir, func(path string, _ os.FileInfo, err error) error {
		out = append(out, "."+strings.TrimPrefix(path, dir))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestTreeIsRemovedButNotWhatIsMountedInIt(t *testing.T) {
	privateMounts(t)
	// "user" is what a user mounts: a disk, a folder of the same file system, a file
	for name, mounted := range map[string]func(dir, elsewhere string) error{
		"another file system": func(dir, _ string) error { return unix.Mount("tmpfs", dir, "tmpfs", 0, "") },
		"a bind mount of the same file system": func(dir, elsewhere string) error {
			return unix.Mount(elsewhere, dir, "", unix.MS_BIND, "")
		},
	} {
		t.Run(name, func(t *testing.T) {
			top := t.TempDir()
			tree, elsewhere := filepath.Join(top, "tree"), filepath.Join(top, "elsewhere")
			fill(t, tree+"/server/db", tree+"/storage/disk/placeholder", elsewhere+"/precious")
			if err := os.Remove(tree + "/storage/disk/placeholder"); err != nil {
				t.Fatal(err)
			}
			if err := mounted(tree+"/storage/disk", elsewhere); err != nil {
				t.Fatal(err)
			}
			defer func() {
				if err := unix.Unmount(tree+"/storage/disk", unix.MNT_DETACH); err != nil {
					t.Error(err)
				}
			}()
			fill(t, tree+"/storage/disk/of the user")
			table, err := mounttable.Read()
			if err != nil {
				t.Fatal(err)
			}
			for _, blind := range []bool{false, true} { // blind: as if it had been mounted just now, after the table was read
				r := &removal{keep: func(string) bool { return false }, mounts: table}
				if blind {
					fill(t, tree+"/server/db")
					r.mounts = nil
				}
				if err := r.empty(t.Context(), tree, nil); err != nil {
					t.Fatal(err)
				}
				if want := []string{tree + "/storage/disk: a file system is mounted there"}; !cmp.Equal(want, r.left) {
					t.Error(cmp.Diff(want, r.left))
				}
				if _, err := os.Stat(tree + "/storage/disk/of the user"); err != nil {
					t.Error(err)
				}
				if _, err := os.Stat(tree + "/server"); !errors.Is(err, os.ErrNotExist) {
					t.Error(err)
				}
			}
		})
	}
}

func TestTreeLeavesWhatWasThereAndFollowsNoLink(t *testing.T) {
	top := t.TempDir()
	tree, outside := filepath.Join(top, "tree"), filepath.Join(top, "outside")
	fill(t, tree+"/theirs/a", tree+"/mine", outside+"/precious")
	before, err := lookTree(tree)
	if err != nil {
		t.Fatal(err)
	}
	fill(t, tree+"/pods/1/x", tree+"/theirs/later")
	if err := errors.Join(os.Symlink(outside, tree+"/pods/link"), os.Symlink(outside, tree+"/link"), os.Chmod(tree+"/pods/1", 0o500)); err != nil {
		t.Fatal(err)
	}
	left, err := removeTree(t.Context(), tree, before, nil)
	if err != nil || len(left) != 0 {
		t.Fatal(left, err)
	}
	if want := []string{".", "./mine", "./theirs", "./theirs/a", "./theirs/later"}; !cmp.Equal(want, names(t, tree)) {
		t.Error(cmp.Diff(want, names(t, tree)))
	}
	if _, err := os.Stat(outside + "/precious"); err != nil {
		t.Error(err)
	}
	// a link to the folder is the folder, and stays
	linked := filepath.Join(top, "linked")
	if err := os.Symlink(outside, linked); err != nil {
		t.Fatal(err)
	}
	if before, err = lookTree(linked); err != nil {
		t.Fatal(err)
	}
	fill(t, linked+"/ours")
	if left, err := removeTree(t.Context(), linked, before, nil); err != nil || len(left) != 0 {
		t.Fatal(left, err)
	}
	if want := []string{".", "./precious"}; !cmp.Equal(want, names(t, outside)) {
		t.Error(cmp.Diff(want, names(t, outside)))
	}
	if _, err := os.Readlink(linked); err != nil {
		t.Error(err)
	}
}

func TestTreeThatIsGoneIsUndone(t *testing.T) {
	if left, err := removeTree(t.Context(), filepath.Join(t.TempDir(), "gone"), Image{Type: "absent"}, nil); err != nil || len(left) != 0 {
		t.Error(left, err)
	}
}

// TestATreeThatLeadsElsewhereByNowIsLeft has somebody put a link in the place of the folder, or above it: what is behind it is theirs.
func TestATreeThatLeadsElsewhereByNowIsLeft(t *testing.T) {
	for _, link := range []string{"lib", "lib/k3s"} {
		for _, there := range []bool{false, true} {
			top := t.TempDir()
			tree, disk := filepath.Join(top, "lib/k3s"), filepath.Join(top, "disk")
			if there {
				fill(t, tree+"/before")
			}
			before, err := lookTree(tree)
			if err != nil {
				t.Fatal(err)
			}
			fill(t, tree+"/ours", disk+"/precious", disk+"/k3s/precious")
			moved := filepath.Join(top, link)
			if err := errors.Join(os.RemoveAll(moved), os.Symlink(disk, moved)); err != nil {
				t.Fatal(err)
			}
			left, err := removeTree(t.Context(), tree, before, nil)
			if err != nil || len(left) != 1 || !strings.Contains(left[0], "leads to "+disk) {
				t.Errorf("%s, there %v: left %q, %v", link, there, left, err)
			}
			if _, err := os.Stat(tree + "/precious"); err != nil {
				t.Errorf("%s, there %v: %v", link, there, err)
			}
		}
	}
}

func TestATreeThatIsAFileByNowIsLeft(t *testing.T) {
	tree := filepath.Join(t.TempDir(), "tree")
	fill(t, tree)
	if left, err := removeTree(t.Context(), tree, Image{Type: "absent"}, nil); err != nil || len(left) != 1 {
		t.Errorf("%q, %v", left, err)
	}
	if _, err := os.Stat(tree); err != nil {
		t.Error(err)
	}
}

func TestAFolderThatMayNotBeDeletedIsLeft(t *testing.T) {
	tree := t.TempDir()
	fill(t, tree+"/a/x", tree+"/b/x")
	if err := exec(t, "chattr", "+i", tree+"/a"); err != nil {
		t.Skip(err)
	}
	defer exec(t, "chattr", "-i", tree+"/a")
	left, err := removeTree(t.Context(), tree, Image{Type: "absent"}, nil)
	if err != nil || len(left) == 0 {
		t.Errorf("%q, %v", left, err)
	}
	if _, err := os.Stat(tree + "/b"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the rest stays too: %v", err)
	}
}

func exec(t *testing.T, argv ...string) error {
	t.Helper()
	_, err := command.Run(t.Context(), time.Minute, argv...)
	return err
}

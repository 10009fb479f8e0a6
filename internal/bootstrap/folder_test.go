package bootstrap

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/pipeopshq/pipeops-agent/internal/bootstrap/plan"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

// TestAFolderOfOthersIsNoStateFolder wants an uninstall, which deletes its folder, never to take one that others use.
func TestAFolderOfOthersIsNoStateFolder(t *testing.T) {
	o, _ := removal(t)
	theirs := filepath.Join(o.StateDir, "theirs")
	if err := errors.Join(os.MkdirAll(theirs, 0o755), os.MkdirAll(filepath.Join(o.StateDir, "lost+found"), 0o700)); err != nil {
		t.Fatal(err)
	}
	_, dry := WouldUninstall(t.Context(), o)
	_, _, took := Options{StateDir: o.StateDir, Events: o.Events}.takeOver(t.Context())
	for what, err := range map[string]error{"uninstall": Uninstall(t.Context(), o), "dry run": dry, "install": took} {
		if !reason.Is(err, reason.Usage) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if entries, err := os.ReadDir(o.StateDir); err != nil || len(entries) != 2 {
		t.Errorf("there is %v, %v", entries, err)
	}
	if err := os.Remove(theirs); err != nil {
		t.Fatal(err)
	}
	if err := Uninstall(t.Context(), o); err != nil { // a disk of its own, of which nothing was used yet
		t.Error(err)
	}
}

// TestAFolderWithAnythingOfOursIsOurs has it half deleted, in any order.
func TestAFolderWithAnythingOfOursIsOurs(t *testing.T) {
	whole := t.TempDir()
	store, err := plan.Open(whole, "")
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(whole)
	if err != nil || len(entries) < 4 {
		t.Fatalf("%v, %v", entries, err)
	}
	for _, e := range entries {
		dir := t.TempDir()
		if err := errors.Join(os.Mkdir(filepath.Join(dir, e.Name()), 0o700), os.Mkdir(filepath.Join(dir, "more"), 0o700)); err != nil {
			t.Fatal(err)
		}
		if err := ownFolder(dir); err != nil {
			t.Errorf("%s: %v", e.Name(), err)
		}
	}
}

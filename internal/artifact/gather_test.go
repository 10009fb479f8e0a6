package artifact

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/pipeopshq/pipeops-agent/internal/artifact/manifest"
)

// A bundle is often opened where nothing can be fetched any more: what is put into it has been verified.
func TestGatherTakesNoBadRotation(t *testing.T) {
	a, b, bad, good := newSigner(t), newSigner(t), newPage(t), newPage(t)
	bad.rotation(2, rotated(t, trustIn(2, newSigner(t)), b))
	right := rotated(t, trustIn(2, b), a, b)
	good.rotation(2, right)
	good.put(manifest.Path, numbered(t, 5, b))
	s := newShelf(t, trustIn(1, a), bad, good)
	none := func(manifest.Manifest) ([]manifest.File, error) { return nil, nil }
	made, err := Gather(t.Context(), s.f, s.Manifests, t.TempDir(), none, nil)
	if err != nil || len(made.Rotations) != 1 {
		t.Fatalf("%d rotations, %v", len(made.Rotations), err)
	}
	for path, data := range made.Rotations {
		if string(data) != string(right) {
			t.Errorf("%s is not the one that leads on", path)
		}
	}
	good.rotation(2, nil)
	if _, err := Gather(t.Context(), s.f, s.Manifests, t.TempDir(), none, nil); err == nil {
		t.Error("a bundle without the rotation that it needs")
	}
}

func TestOwnDir(t *testing.T) {
	base := t.TempDir()
	dir := filepath.Join(base, "new")
	for range 2 {
		if err := OwnDir(dir); err != nil {
			t.Fatal(err)
		}
	}
	if st, err := os.Stat(dir); err != nil || st.Mode().Perm() != 0o700 {
		t.Errorf("%v, %v", st, err)
	}
	for name, make := range map[string]func(path string) error{
		"link":     func(path string) error { return os.Symlink(dir, path) },
		"file":     func(path string) error { return os.WriteFile(path, nil, 0o600) },
		"writable": func(path string) error { return os.Mkdir(path, 0o700) },
		"foreign":  func(path string) error { return os.Mkdir(path, 0o700) },
	} {
		path := filepath.Join(base, name)
		err := make(path)
		switch {
		case err == nil && name == "writable":
			err = os.Chmod(path, 0o770)
		case err == nil && name == "foreign":
			if os.Geteuid() != 0 {
				continue
			}
			err = os.Chown(path, 12345, 0)
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := OwnDir(path); err == nil {
			t.Errorf("a %s is taken", name)
		}
	}
}

func TestForget(t *testing.T) {
	k, p := newSigner(t), newPage(t)
	p.put(manifest.Path, numbered(t, 5, k))
	s := newShelf(t, trustIn(1, k), p)
	s.want(5)
	mine := filepath.Join(s.Dir, "mine")
	if err := os.WriteFile(mine, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.Forget(); err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(s.Dir); err != nil || len(left) != 1 {
		t.Errorf("left: %v, %v", left, err)
	}
	if err := os.Remove(mine); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := s.Forget(); err != nil {
			t.Error(err)
		}
	}
	if _, err := os.Stat(s.Dir); !os.IsNotExist(err) {
		t.Errorf("the folder is left: %v", err)
	}
}

package atomicfile

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
)

func TestWriteSetsContentAndMode(t *testing.T) {
	path := filepath.Join(t.TempDir(), "k3s.service")
	for _, want := range []string{"one", "two, longer", "3"} {
		if err := Write(path, 0o644, []byte(want)); err != nil {
			t.Fatal(err)
		}
		check(t, path, want, 0o644)
	}
	if err := Write(path, 0o755, []byte("x")); err != nil {
		t.Fatal(err)
	}
	check(t, path, "x", 0o755)
	noStrays(t, path)
}

func TestWriteOverRemainsOfAKilledWriter(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(Temp(path), []byte("half-writ, and rather longer than the new content"), 0o640); err != nil {
		t.Fatal(err)
	}
	if err := Write(path, 0o600, []byte("whole")); err != nil {
		t.Fatal(err)
	}
	check(t, path, "whole", 0o600)
	noStrays(t, path)
}

func TestWriteDoesNotFollowALinkInItsWay(t *testing.T) {
	dir := t.TempDir()
	victim, path := filepath.Join(dir, "victim"), filepath.Join(dir, "f")
	if err := os.WriteFile(victim, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(victim, Temp(path)); err != nil { // planted, or left by a Symlink that was killed
		t.Fatal(err)
	}
	if err := Write(path, 0o600, []byte("new")); err != nil {
		t.Error(err)
	}
	check(t, victim, "mine", 0o600)
	check(t, path, "new", 0o600)
	noStrays(t, path)
}

// What lies at the temporary name may be somebody else's, or be open to all: a secret goes into a file of ours.
func TestWriteUsesNoFileOfAnybodyElse(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(Temp(path), []byte("left"), 0o644); err != nil {
		t.Fatal(err)
	}
	reader, err := os.Open(Temp(path))
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	during := fs.FileMode(0)
	err = Copy(path, 0o600, io.MultiReader(strings.NewReader("secret"), readerFunc(func([]byte) (int, error) {
		st, err := os.Stat(Temp(path))
		if err != nil {
			return 0, err
		}
		during = st.Mode().Perm()
		return 0, io.EOF
	})))
	if err != nil || during != 0o600 {
		t.Errorf("%v, mode %v while it was written", err, during)
	}
	check(t, path, "secret", 0o600)
	if seen, err := io.ReadAll(reader); err != nil || strings.Contains(string(seen), "secret") {
		t.Errorf("who had the file open reads %q, %v", seen, err)
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

func TestFailedCopyKeepsTheOldContent(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	if err := Write(path, 0o600, []byte("old")); err != nil {
		t.Fatal(err)
	}
	cut := errors.New("cut")
	err := Copy(path, 0o600, io.MultiReader(iotest.OneByteReader(iotest.ErrReader(cut))))
	if !errors.Is(err, cut) {
		t.Fatalf("err = %v", err)
	}
	check(t, path, "old", 0o600)
	noStrays(t, path)
}

func TestPlaceMoves(t *testing.T) {
	dir := t.TempDir()
	from, to := filepath.Join(dir, "download"), filepath.Join(dir, "k3s")
	if err := os.WriteFile(from, []byte("elf"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Place(to, 0o755, from); err != nil {
		t.Fatal(err)
	}
	check(t, to, "elf", 0o755)
	if _, err := os.Stat(from); !os.IsNotExist(err) {
		t.Errorf("the source is still there: %v", err)
	}
}

func TestPlaceAcrossFileSystems(t *testing.T) {
	shm, err := os.MkdirTemp("/dev/shm", "atomicfile")
	if err != nil {
		t.Skip("no second file system here")
	}
	t.Cleanup(func() { os.RemoveAll(shm) })
	from, to := filepath.Join(shm, "download"), filepath.Join(t.TempDir(), "k3s")
	if err := os.WriteFile(from, []byte("elf"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Place(to, 0o755, from); err != nil {
		t.Fatal(err)
	}
	check(t, to, "elf", 0o755)
	noStrays(t, to)
}

func TestSymlinkReplacesAndRemoveIsIdempotent(t *testing.T) {
	path := filepath.Join(t.TempDir(), "kubectl")
	for _, want := range []string{"k3s", "other"} {
		if err := Symlink(path, want); err != nil {
			t.Fatal(err)
		}
		if got, err := os.Readlink(path); err != nil || got != want {
			t.Errorf("link = %q, %v", got, err)
		}
	}
	for range 2 {
		if err := Remove(path); err != nil {
			t.Error(err)
		}
	}
}

func check(t *testing.T, path, content string, perm os.FileMode) {
	t.Helper()
	got, err := os.ReadFile(path)
	if err != nil || string(got) != content {
		t.Errorf("%s = %q, %v; want %q", path, got, err, content)
	}
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != perm {
		t.Errorf("mode of %s = %v, %v; want %v", path, st.Mode(), err, perm)
	}
}

func noStrays(t *testing.T, path string) {
	t.Helper()
	if _, err := os.Lstat(Temp(path)); !os.IsNotExist(err) {
		t.Errorf("a temporary file is left: %v", err)
	}
}

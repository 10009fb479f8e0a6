package host

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

func write(t *testing.T, dir, path, content string) {
	t.Helper()
	to := filepath.Join(dir, path)
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestRootIsNotLeft(t *testing.T) {
	outside, dir := t.TempDir(), t.TempDir()
	write(t, outside, "secret", "x")
	write(t, dir, "usr/lib/os-release", "ID=inside\n")
	if err := os.Symlink(filepath.Join(outside, "secret"), filepath.Join(dir, "leak")); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "etc"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("../usr/lib/os-release", filepath.Join(dir, "etc/os-release")); err != nil {
		t.Fatal(err)
	}
	s := load(t, dir)
	if b, err := s.ReadFile("/leak"); err == nil {
		t.Errorf("read %q through a link that leaves the root", b)
	}
	if b, err := s.ReadFile("/../" + filepath.Base(outside) + "/secret"); err == nil {
		t.Errorf("read %q above the root", b)
	}
	if f := Collect(t.Context(), s); f.OS.ID != "inside" {
		t.Errorf("os: %+v", f.OS)
	}
	if s.Live() || !Live().Live() {
		t.Error("a captured machine is taken for this one")
	}
}

func TestFifoDoesNotHang(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "etc"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(filepath.Join(dir, "etc/os-release"), 0o644); err != nil {
		t.Skip(err)
	}
	if _, err := load(t, dir).ReadFile("/etc/os-release"); err == nil {
		t.Error("read a fifo")
	}
}

func TestLoadRefuses(t *testing.T) {
	dir := t.TempDir()
	if _, err := Load(filepath.Join(dir, "none")); err == nil {
		t.Error("a missing folder was loaded")
	}
	write(t, dir, SnapshotFile, `{"uid": "root"}`)
	if _, err := Load(dir); err == nil {
		t.Error("a wrong host.json was loaded")
	}
	if _, err := Load(filepath.Join(dir, SnapshotFile)); err == nil {
		t.Error("a file was loaded as a folder")
	}
}

// TestNearestParent: the file system of a directory that is not there yet is that of its parent, of the nearest one
// that a capture knows.
func TestNearestParent(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, SnapshotFile, `{"statfs":{"/":{"type":"ext4","free_bytes":1},"/var":{"type":"xfs","free_bytes":2}}}`)
	f := Collect(t.Context(), load(t, dir))
	for path, want := range map[string]string{ClusterDir: "/var xfs", BinaryDir: "/ ext4"} {
		if d, _ := f.DiskOf(path); d.At+" "+d.Type != want {
			t.Errorf("%s is at %q of type %q, want %q", path, d.At, d.Type, want)
		}
	}
}

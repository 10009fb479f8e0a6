package artifact

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pipeopshq/pipeops-agent/internal/artifact/manifest"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

// Downloads that run at the same time share the space: each for itself would fit, and together they would fill the disk.
func TestSpaceForSeveralDownloads(t *testing.T) {
	base := t.TempDir()
	free := map[string]int64{"downloads": 0, "bin": 0}
	f := &Fetcher{Free: func(dir string) (int64, uint64, error) {
		if strings.HasSuffix(dir, "bin") {
			return free["bin"], 2, nil
		}
		return free["downloads"], 1, nil
	}}
	dir, bin := filepath.Join(base, "downloads"), filepath.Join(base, "bin")
	if err := os.Mkdir(bin, 0o700); err != nil {
		t.Fatal(err)
	}
	part, done := sum([]byte("part")), sum([]byte("done"))
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, size := range map[string]int{part + ".part": 3000, done: 5000} {
		if err := os.WriteFile(filepath.Join(dir, name), make([]byte, size), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	all := []Download{
		{SHA256: sum([]byte("new")), Bytes: 10_000, Dir: dir, Dest: dir},
		{SHA256: part, Bytes: 10_000, Dir: dir, Dest: bin},
		{SHA256: done, Bytes: 5000, Dir: dir, Dest: bin},
	}
	for _, c := range []struct {
		downloads, bin int64
		want           string // what is named, "" if all fit
	}{
		{reserve + 17_000, reserve + 15_000, ""},
		{reserve + 16_999, reserve + 15_000, dir},
		{reserve + 17_000, reserve + 14_999, bin},
	} {
		free["downloads"], free["bin"] = c.downloads, c.bin
		err := f.Fits(all...)
		if c.want == "" && err != nil || c.want != "" && (!reason.Is(err, reason.DownloadNoSpace) || !strings.Contains(err.Error(), c.want+" ")) {
			t.Errorf("%d and %d bytes free: %v, want %q", c.downloads, c.bin, err, c.want)
		}
	}
}

func TestGatherLooksAtTheSpaceForAll(t *testing.T) {
	k, p := newSigner(t), newPage(t)
	p.put(manifest.Path, numbered(t, 5, k))
	s := newShelf(t, trustIn(1, k), p)
	s.f.Free = func(string) (int64, uint64, error) { return reserve + 1500, 1, nil }
	asked := 0
	_, err := Gather(t.Context(), s.f, s.Manifests, t.TempDir(), func(manifest.Manifest) ([]manifest.File, error) {
		asked = p.asked()
		return []manifest.File{{Path: "a", SHA256: sum([]byte("a")), Bytes: 1000}, {Path: "b", SHA256: sum([]byte("b")), Bytes: 1000}}, nil
	}, nil)
	if !reason.Is(err, reason.DownloadNoSpace) || p.asked() != asked {
		t.Errorf("%v, %d requests", err, p.asked()-asked)
	}
}

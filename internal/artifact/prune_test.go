package artifact

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestPruneRemovesDownloadsOnly(t *testing.T) {
	dir := t.TempDir()
	sum := strings.Repeat("a", 64)
	others := []string{"notes", sum + ".partial", strings.Repeat("b", 63)}
	for _, name := range append([]string{sum, sum + ".part"}, others...) {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := Prune(dir); err != nil {
		t.Fatal(err)
	}
	left, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range left {
		names = append(names, e.Name())
	}
	slices.Sort(others)
	if !slices.Equal(names, others) {
		t.Errorf("left: %v", names)
	}
	if err := Prune(filepath.Join(dir, "gone")); err != nil {
		t.Error(err)
	}
}

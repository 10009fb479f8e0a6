package atomicfile

import (
	"errors"
	"io/fs"
	"path/filepath"
	"testing"
)

func TestReadIsBounded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if _, err := Read(path, 4); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("err = %v", err)
	}
	if err := Write(path, 0o600, []byte("four")); err != nil {
		t.Fatal(err)
	}
	if got, err := Read(path, 4); err != nil || string(got) != "four" {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := Read(path, 3); err == nil {
		t.Error("it is larger and was read")
	}
}

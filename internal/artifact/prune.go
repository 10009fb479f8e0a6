package artifact

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
)

// Prune removes the downloads that lie in a folder, finished or not. What else is in it stays; a folder that is not there is
// no error.
func Prune(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("cannot list the downloads: %w", err)
	}
	ours := regexp.MustCompile(`^[0-9a-f]{64}(\.part)?$`)
	var errs []error
	for _, e := range entries {
		if ours.MatchString(e.Name()) && e.Type().IsRegular() {
			errs = append(errs, os.Remove(filepath.Join(dir, e.Name())))
		}
	}
	return errors.Join(errs...)
}

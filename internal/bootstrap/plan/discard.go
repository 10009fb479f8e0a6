package plan

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
)

// Discard deletes the folder of a store, as a tree is deleted: what is mounted in it stays. The files that last names go
// after all others, so that a call after a crash still finds them, and then the lock, so that nobody makes a new one meanwhile.
func Discard(ctx context.Context, dir string, last ...string) error {
	resolved, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return fmt.Errorf("cannot remove %s: %w", dir, err)
	}
	for _, later := range [][]string{append(last, lockFile), {lockFile}, nil} {
		keep := func(path string) bool {
			return filepath.Dir(path) == resolved && slices.Contains(later, filepath.Base(path))
		}
		left, err := removeTree(ctx, dir, Image{Type: "absent"}, keep)
		left = slices.DeleteFunc(left, func(l string) bool { return strings.HasSuffix(l, ": kept") })
		if err == nil && len(left) > 0 {
			err = errors.New(strings.Join(left, "; "))
		}
		if err != nil {
			return fmt.Errorf("cannot remove %s: %w", dir, err)
		}
	}
	return nil
}

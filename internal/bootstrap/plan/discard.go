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
// after all others, and the lock with them, so that a call after a crash still finds them.
func Discard(ctx context.Context, dir string, last ...string) error {
	resolved, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return fmt.Errorf("cannot remove %s: %w", dir, err)
	}
	last = append(last, "lock")
	keep := func(path string) bool {
		return filepath.Dir(path) == resolved && slices.Contains(last, filepath.Base(path))
	}
	left, err := removeTree(ctx, dir, Image{Type: "absent"}, keep)
	left = slices.DeleteFunc(left, func(l string) bool { return strings.HasSuffix(l, ": kept") })
	if err == nil && len(left) == 0 {
		left, err = removeTree(ctx, dir, Image{Type: "absent"}, nil)
	}
	if err == nil && len(left) > 0 {
		err = errors.New(strings.Join(left, "; "))
	}
	if err != nil {
		return fmt.Errorf("cannot remove %s: %w", dir, err)
	}
	return nil
}

package plan

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/pipeopshq/pipeops-agent/internal/mounttable"
)

// maxNames bounds the entries of a folder that become a before-image.
const maxNames = 10000

// lookTree returns the image of a folder that a service is about to fill. A link to a folder counts as the folder.
func lookTree(path string) (Image, error) {
	resolved, err := place(path)
	if err != nil {
		return Image{}, err
	}
	dir, err := os.Open(resolved)
	if errors.Is(err, fs.ErrNotExist) {
		return Image{Type: "absent", Value: resolved}, nil
	}
	if err != nil {
		return Image{}, err
	}
	defer dir.Close()
	st, err := dir.Stat()
	if err != nil {
		return Image{}, err
	}
	if !st.IsDir() {
		return Image{}, errors.New("it is not a folder")
	}
	names, err := dir.Readdirnames(maxNames + 1)
	if err != nil && !errors.Is(err, io.EOF) {
		return Image{}, err
	}
	if len(names) > maxNames {
		return Image{}, fmt.Errorf("it holds more than %d entries", maxNames)
	}
	slices.Sort(names)
	all, err := mounttable.Read()
	if err != nil {
		return Image{}, err
	}
	m, _ := mounttable.On(all, resolved)
	return Image{Type: "dir", Mode: st.Mode().Perm(), Value: resolved, Names: names, Mount: m.Point == resolved}, nil
}

// place is where a path leads behind all links, as far as it is there.
func place(path string) (string, error) {
	resolved, err := filepath.EvalSymlinks(path)
	if above := filepath.Dir(path); errors.Is(err, fs.ErrNotExist) && above != path {
		above, err = place(above)
		return filepath.Join(above, filepath.Base(path)), err
	}
	return resolved, err
}

// removal is the deletion of one tree.
type removal struct {
	keep   func(path string) bool
	mounts []mounttable.Mount
	left   []string
}

func (r *removal) leave(path, why string) { r.left = append(r.left, path+": "+why) }

// removeTree deletes a tree but for what was in it before, what keep names, and what is mounted in it, and returns what is
// left, with the reasons. Nothing is deleted on a file system of another machine, or where a file system has been mounted
// on the tree since, or where its path leads elsewhere than it did.
func removeTree(ctx context.Context, path string, before Image, keep func(path string) bool) ([]string, error) {
	if keep == nil {
		keep = func(string) bool { return false }
	}
	resolved, err := filepath.EvalSymlinks(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	st, err := os.Lstat(resolved)
	switch {
	case err != nil:
		return nil, err
	case before.Value != "" && before.Value != resolved:
		return []string{path + ": it leads to " + resolved + " by now, which others may use"}, nil
	case !st.IsDir():
		return []string{path + ": it is no folder any more"}, nil
	}
	r := &removal{keep: keep}
	if r.mounts, err = mounttable.Read(); err != nil {
		return nil, err
	}
	m, found := mounttable.On(r.mounts, resolved)
	switch {
	case found && mounttable.OverNetwork(m.Type):
		return []string{path + ": it lies on a network file system (" + m.Type + " at " + m.Point + "), which others may use"}, nil
	case found && m.Point == resolved && !before.Mount:
		return []string{path + ": a file system is mounted there"}, nil
	case keep(resolved):
		return []string{path + ": kept"}, nil
	}
	if err := r.empty(ctx, resolved, func(name string) bool { return slices.Contains(before.Names, name) }); err != nil {
		return r.left, err
	}
	if before.Type != "absent" || len(r.left) > 0 {
		return r.left, nil
	}
	if err := os.Remove(resolved); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return nil, nil
}

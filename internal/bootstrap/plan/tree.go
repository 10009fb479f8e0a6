package plan

import (
	"context"
	"errors"
	"fmt"
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
	st, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return Image{Type: "absent"}, nil
	}
	if err != nil {
		return Image{}, err
	}
	if !st.IsDir() {
		return Image{}, errors.New("it is not a folder")
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return Image{}, err
	}
	if len(entries) > maxNames {
		return Image{}, fmt.Errorf("it holds %d entries, more than %d", len(entries), maxNames)
	}
	img := Image{Type: "dir", Mode: st.Mode().Perm()}
	for _, e := range entries {
		img.Names = append(img.Names, e.Name())
	}
	resolved, err := filepath.EvalSymlinks(path)
	if err != nil {
		return Image{}, err
	}
	all, err := mounttable.Read()
	if err != nil {
		return Image{}, err
	}
	m, _ := mounttable.On(all, resolved)
	img.Mount = m.Point == resolved
	return img, nil
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
// on the tree since.
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

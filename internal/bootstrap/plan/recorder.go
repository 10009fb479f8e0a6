package plan

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/atomicfile"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

// Recorder is what a step makes its changes with. A change that the target does not need is not made and not recorded;
// any other is in the ledger, with the image before it, before it is made. Targets are absolute paths on the machine;
// folders that are missing above a file are made with mode 0755.
type Recorder struct {
	store *Store
	step  string
	title string
	since int // length of the journal when the step started
	now   func() time.Time
}

// WriteFile makes target a regular file with this content and mode.
func (r *Recorder) WriteFile(target string, mode fs.FileMode, content []byte) error {
	sum := sha256.Sum256(content)
	after := Image{Type: "file", SHA256: hex.EncodeToString(sum[:]), Mode: mode}
	return r.change(File, target, after, func(path string) error { return atomicfile.Write(path, mode, content) })
}

// PlaceFile makes target the file that was prepared at from, a full path outside the root, best on the same file system.
// Its content must have the given SHA-256, in hexadecimal, and must have been synced; from is gone afterwards, and need
// not be there if target is so already.
func (r *Recorder) PlaceFile(target string, mode fs.FileMode, from, sum string) error {
	after := Image{Type: "file", SHA256: sum, Mode: mode}
	if _, err := os.Stat(from); errors.Is(err, fs.ErrNotExist) {
		if present, err := look(File, r.store.path(target)); err == nil && present.same(after) {
			return nil
		}
	}
	got, err := Digest(from)
	if err != nil {
		return fmt.Errorf("cannot place %s: %w", target, err)
	}
	if got != sum {
		return reason.Newf(reason.DownloadDigest, "%s has SHA-256 %s, not %s", from, got, sum)
	}
	if err := r.change(File, target, after, func(path string) error { return atomicfile.Place(path, mode, from) }); err != nil {
		return err
	}
	return atomicfile.Remove(from) // where target already was so
}

// Symlink makes target a symbolic link to the given path.
func (r *Recorder) Symlink(target, to string) error {
	after := Image{Type: "link", Value: to}
	return r.change(File, target, after, func(path string) error { return atomicfile.Symlink(path, to) })
}

// Remove deletes the file or link at target.
func (r *Recorder) Remove(target string) error {
	return r.change(File, target, Image{Type: "absent"}, atomicfile.Remove)
}

// MkdirAll makes the folder and those above it that are missing, with this mode. The mode of folders that are there stays.
func (r *Recorder) MkdirAll(target string, mode fs.FileMode) error {
	if parent := filepath.Dir(target); parent != target {
		if _, err := os.Stat(r.store.path(parent)); err != nil {
			if err := r.MkdirAll(parent, mode); err != nil {
				return err
			}
		}
	}
	if st, err := os.Stat(r.store.path(target)); err == nil && st.IsDir() {
		return nil // also where a link leads to one
	}
	return r.change(Dir, target, Image{Type: "dir", Mode: mode}, func(path string) error {
		if err := os.Mkdir(path, mode); err != nil {
			return err
		}
		if err := os.Chmod(path, mode); err != nil {
			return err
		}
		return atomicfile.SyncDir(filepath.Dir(path))
	})
}

// SetValue writes a value of the kernel, such as /proc/sys/fs/inotify/max_user_watches.
func (r *Recorder) SetValue(target, value string) error {
	return r.change(Value, target, Image{Type: "value", Value: value}, func(path string) error { return writeValue(path, value) })
}

// Own makes the folder at target part of the installation, with all that a service of ours will put into it from now on.
// What is in it by now is not ours. The folder need not be there yet. As long as one of the files unless is there, such as
// the program that fills the folder and that somebody has kept, the folder stays.
func (r *Recorder) Own(target string, unless ...string) error {
	for _, c := range r.store.Ledger.Changes() {
		if c.Kind == Tree && c.Target == target { // since an earlier run; what came since then is ours
			return nil
		}
	}
	if !filepath.IsAbs(target) {
		return fmt.Errorf("cannot own %s: not an absolute path", target)
	}
	before, err := lookTree(r.store.path(target))
	if err != nil {
		return fmt.Errorf("cannot own %s: %w", target, err)
	}
	return r.record(Record{Kind: Tree, Target: target, Before: &before, After: &Image{Type: "tree"}, Unless: unless}, func() error { return nil })
}

// Settled reports whether an earlier run of the plan has made a change and brought its step to an end.
func (r *Recorder) Settled(kind Kind, target string) bool {
	is := func(c Record) bool { return c.Kind == kind && c.Target == target }
	return slices.ContainsFunc(r.store.Ledger.Changes(), is) && !slices.ContainsFunc(r.store.Ledger.open(r.store.Journal, r.step), is)
}

// Note makes a change that has no file, such as the start of a unit, and records it unless it only brings about what was
// there before. [Store.Undo] reverses it if it knows the kind, or else the step's Undo.
func (r *Recorder) Note(kind Kind, target, before, after string, do func() error) error {
	if before == after {
		return do()
	}
	c := Record{Kind: kind, Target: target, Before: &Image{Type: "note", Value: before}, After: &Image{Type: "note", Value: after}}
	return r.record(c, do)
}

func (r *Recorder) change(kind Kind, target string, after Image, do func(path string) error) error {
	if !filepath.IsAbs(target) {
		return fmt.Errorf("cannot change %s: not an absolute path", target)
	}
	path := r.store.path(target)
	before, err := look(kind, path)
	if err != nil {
		return fmt.Errorf("cannot change %s: %w", target, err)
	}
	if before.same(after) {
		return nil
	}
	if kind == File {
		if err := r.MkdirAll(filepath.Dir(target), 0o755); err != nil {
			return err
		}
	}
	if before.Type == "dir" {
		return fmt.Errorf("cannot change %s: it is a folder", target)
	}
	if before.Type == "file" {
		if err := r.store.keep(path, before); err != nil {
			return fmt.Errorf("cannot keep a copy of %s: %w", target, err)
		}
	}
	return r.record(Record{Kind: kind, Target: target, Before: &before, After: &after}, func() error { return do(path) })
}

// record writes the change to the ledger, unless a run that was stopped has already done so, and makes it.
func (r *Recorder) record(c Record, do func() error) error {
	id := 0
	for _, open := range r.store.Ledger.open(r.store.Journal, r.step) {
		if open.covers(c) {
			id = open.ID
			break
		}
	}
	if id == 0 {
		id = len(r.store.Ledger.changes) + 1
		c.Op, c.ID, c.Step, c.Title, c.Since, c.Time = Change, id, r.step, r.title, r.since, r.now()
		if err := r.store.Ledger.add(c); err != nil {
			return err
		}
	}
	if err := do(); err != nil {
		return err
	}
	return r.store.Ledger.add(Record{Time: r.now(), Op: Made, ID: id})
}

// covers reports whether the record stands for the change too. What a note found before it was made is gone once it is
// made, so there the first record counts.
func (c Record) covers(o Record) bool {
	if c.Kind != o.Kind || c.Target != o.Target || !c.After.same(*o.After) {
		return false
	}
	return c.Before.Type == "note" || c.Kind == Tree || c.Before.same(*o.Before)
}

package plan

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/pipeopshq/pipeops-agent/internal/atomicfile"
)

// maxValue bounds what is read of a kernel's value, in bytes.
const maxValue = 4 << 10

// Image is the state of a target at one moment.
type Image struct {
	Type   string      `json:"type"`             // absent, file, link, dir, value, tree, note
	SHA256 string      `json:"sha256,omitempty"` // of a file, whose content is in blobs if it is a before-image
	Mode   fs.FileMode `json:"mode,omitempty"`   // permission bits of a file or folder
	UID    int         `json:"uid,omitempty"`
	GID    int         `json:"gid,omitempty"`
	Value  string      `json:"value,omitempty"` // where a link points, what a value says, where a tree is behind all links
	Names  []string    `json:"names,omitempty"` // of a tree: what was in it, and is not ours
	Mount  bool        `json:"mount,omitempty"` // of a tree: a file system was mounted on it
}

// same ignores the owner: a file that only changed hands is still ours.
func (i Image) same(o Image) bool {
	if i.Type == "dir" && o.Type == "dir" {
		return true
	}
	return i.Type == o.Type && i.SHA256 == o.SHA256 && i.Mode == o.Mode && i.Value == o.Value
}

// look returns the present state of a target at a full path.
func look(kind Kind, path string) (Image, error) {
	st, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return Image{Type: "absent"}, nil
	}
	if err != nil {
		return Image{}, err
	}
	img := Image{Mode: st.Mode().Perm()}
	if sys, ok := st.Sys().(*syscall.Stat_t); ok {
		img.UID, img.GID = int(sys.Uid), int(sys.Gid)
	}
	switch {
	case kind == Value:
		text, err := readValue(path)
		return Image{Type: "value", Value: text}, err
	case st.Mode().IsDir():
		img.Type = "dir"
	case st.Mode()&fs.ModeSymlink != 0:
		img.Type, img.Mode = "link", 0
		img.Value, err = os.Readlink(path)
	case st.Mode().IsRegular():
		img.Type = "file"
		img.SHA256, err = Digest(path)
	default:
		err = fmt.Errorf("%s is neither file, link nor folder", path)
	}
	return img, err
}

// Digest returns the SHA-256 of a file in hexadecimal.
func Digest(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.CopyBuffer(struct{ io.Writer }{h}, f, make([]byte, 1<<20)); err != nil {
		return "", fmt.Errorf("cannot read %s: %w", path, err)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

func readValue(path string) (string, error) {
	data, err := atomicfile.Read(path, maxValue)
	return strings.TrimSpace(string(data)), err
}

// writeValue writes in place: the kernel's files cannot be renamed over.
func writeValue(path, value string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_TRUNC, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(value + "\n")
	return errors.Join(err, f.Close())
}

// keep copies a file that is about to be replaced into the blobs folder, once per content, and looks that the copy is whole.
func (s *Store) keep(path string, img Image) error {
	if s.whole(img) == nil {
		return nil
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := atomicfile.Copy(s.blob(img), 0o600, f); err != nil {
		return err
	}
	return s.whole(img)
}

// damagedError tells that the copy of a file is not what it was, so that the file cannot be restored.
type damagedError struct {
	blob string
	err  error // nil: it has another content
}

func (d *damagedError) Error() string {
	if d.err != nil {
		return fmt.Sprintf("its copy is damaged: %v", d.err)
	}
	return "its copy " + d.blob + " is damaged"
}

func (d *damagedError) Unwrap() error { return d.err }

// whole returns nil if the copy of a file has its content.
func (s *Store) whole(img Image) error {
	sum, err := Digest(s.blob(img))
	if err != nil || sum != img.SHA256 {
		return &damagedError{s.blob(img), err}
	}
	return nil
}

func (s *Store) blob(img Image) string { return filepath.Join(s.dir, "blobs", img.SHA256) }

// notEmpty tells of a folder that cannot be removed because something is in it, or mounted on it.
func notEmpty(err error) bool {
	return errors.Is(err, syscall.ENOTEMPTY) || errors.Is(err, syscall.EBUSY)
}

// restore makes the target what the image says.
func (s *Store) restore(path string, img Image) error {
	switch img.Type {
	case "absent":
		return atomicfile.Remove(path)
	case "link":
		return atomicfile.Symlink(path, img.Value)
	case "value":
		return writeValue(path, img.Value)
	case "file":
		if err := s.whole(img); err != nil {
			return err
		}
		f, err := os.Open(s.blob(img))
		if err != nil {
			return err
		}
		defer f.Close()
		if os.Geteuid() != 0 {
			return atomicfile.Copy(path, img.Mode, f)
		}
		return atomicfile.CopyOwned(path, img.Mode, img.UID, img.GID, f) // at once: where only the owner differs, all is as before
	}
	return nil
}

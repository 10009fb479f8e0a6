// Package atomicfile replaces files so that a reader, or a machine that loses power, sees the old content or the new one
// and nothing between: temporary file in the same folder, fsync, rename, fsync of the folder.
//
// The temporary name follows from the target, where a library would draw a random one: what a killed process leaves
// behind is then removed by the next attempt and does not pile up in folders such as /etc/systemd/system. The price
// is that a path has one writer at a time, which callers see to by the lock of the plan or of the agent.
package atomicfile

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// Temp returns the name under which a new content of path is prepared.
func Temp(path string) string {
	return filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".pipeops-tmp")
}

// Write replaces the content of path. perm is set exactly, whatever the umask.
func Write(path string, perm fs.FileMode, data []byte) error {
	return fill(path, perm, func(f *os.File) error {
		_, err := f.Write(data)
		return err
	})
}

// Copy replaces the content of path with that of r.
func Copy(path string, perm fs.FileMode, r io.Reader) error {
	return fill(path, perm, func(f *os.File) error {
		_, err := io.Copy(f, r)
		return err
	})
}

// CopyOwned is Copy for a file that somebody else owns: nobody sees it as root's.
func CopyOwned(path string, perm fs.FileMode, uid, gid int, r io.Reader) error {
	return fill(path, perm, func(f *os.File) error {
		if _, err := io.Copy(f, r); err != nil {
			return err
		}
		return f.Chown(uid, gid)
	})
}

func fill(path string, perm fs.FileMode, write func(*os.File) error) (err error) {
	temp := Temp(path)
	if err := os.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("cannot write %s: %w", path, err)
	}
	// always a file of our own: what lay there may be somebody else's, be open to all, or lead elsewhere
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("cannot write %s: %w", path, err)
	}
	defer func() {
		if err != nil {
			_ = os.Remove(temp)
			err = fmt.Errorf("cannot write %s: %w", path, err)
		}
	}()
	err = write(f)
	if err == nil {
		err = f.Chmod(perm)
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return rename(temp, path)
}

// Place moves the finished file from to path, by rename where both are on one file system and by a copy where they are
// not. The content of from must have been synced by its writer; from is gone afterwards.
func Place(path string, perm fs.FileMode, from string) error {
	if err := os.Chmod(from, perm); err != nil {
		return fmt.Errorf("cannot place %s: %w", path, err)
	}
	err := rename(from, path)
	if !errors.Is(err, syscall.EXDEV) {
		if err != nil {
			return fmt.Errorf("cannot place %s: %w", path, err)
		}
		return nil
	}
	f, err := os.Open(from)
	if err != nil {
		return fmt.Errorf("cannot place %s: %w", path, err)
	}
	defer f.Close()
	if err := Copy(path, perm, f); err != nil {
		return err
	}
	return os.Remove(from)
}

// Symlink makes path a symbolic link to target, in place of whatever file was there.
func Symlink(path, target string) error {
	temp := Temp(path)
	if err := os.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("cannot link %s: %w", path, err)
	}
	if err := os.Symlink(target, temp); err != nil {
		return fmt.Errorf("cannot link %s: %w", path, err)
	}
	if err := rename(temp, path); err != nil {
		_ = os.Remove(temp)
		return fmt.Errorf("cannot link %s: %w", path, err)
	}
	return nil
}

// Remove deletes path and makes the deletion durable. A path that is not there is no error.
func Remove(path string) error {
	err := os.Remove(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("cannot remove %s: %w", path, err)
	}
	return SyncDir(filepath.Dir(path))
}

func rename(from, to string) error {
	if err := os.Rename(from, to); err != nil {
		return err
	}
	return SyncDir(filepath.Dir(to))
}

// SyncDir makes the names in a folder durable.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("cannot sync %s: %w", dir, err)
	}
	defer d.Close()
	if err := d.Sync(); err != nil && !errors.Is(err, syscall.EINVAL) { // some file systems have no fsync for folders
		return fmt.Errorf("cannot sync %s: %w", dir, err)
	}
	return nil
}

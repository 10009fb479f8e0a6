package supervise

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"
)

const (
	// maxLog is how long a log may get before it is put aside, in bytes; k3s writes some 2 MB at its first start, and as much in a day.
	maxLog = 16 << 20
	// keptLogs is how many of those are kept: at most 64 MiB for a service.
	keptLogs = 3
)

// openLog opens the log of a service at its end. The service writes to it itself, not through us: it lives on when we do not,
// and must not hang on a pipe that nobody reads.
func openLog(path string, private bool) (*os.File, error) {
	mode := fs.FileMode(0o640)
	if private {
		mode = 0o600
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, mode)
	if err != nil {
		return nil, fmt.Errorf("cannot open the log: %w", err)
	}
	st, err := f.Stat()
	if err != nil || !st.Mode().IsRegular() {
		return nil, errors.Join(fmt.Errorf("cannot log to %s: it is no file", path), err, f.Close())
	}
	if perm := st.Mode().Perm(); perm&0o007 != 0 { // it was there before
		if err := f.Chmod(perm &^ 0o007); err != nil {
			return nil, errors.Join(fmt.Errorf("cannot log to %s for root only: %w", path, err), f.Close())
		}
	}
	return f, nil
}

// rotate puts a log aside that has become longer than most: its end becomes PATH.1, what was that PATH.2, and so on. Since
// the service has the file open, it is copied and emptied; what is written between the two is lost, as with logrotate's
// copytruncate.
func rotate(path string, most int64) error {
	st, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && (!st.Mode().IsRegular() || st.Size() <= most) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("cannot keep %s short: %w", path, err)
	}
	for n := keptLogs; n > 1; n-- {
		if err := os.Rename(aside(path, n-1), aside(path, n)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("cannot keep %s short: %w", path, err)
		}
	}
	if err := copyEnd(path, aside(path, 1), st.Mode().Perm(), most); err != nil { // the log is emptied all the same: it may have filled the disk
		return errors.Join(fmt.Errorf("cannot keep what %s was: %w", path, err), os.Remove(aside(path, 1)), os.Truncate(path, 0))
	}
	if err := os.Truncate(path, 0); err != nil {
		return fmt.Errorf("cannot keep %s short: %w", path, err)
	}
	return nil
}

func aside(path string, n int) string { return fmt.Sprintf("%s.%d", path, n) }

// copyEnd copies at most the last bytes of a file.
func copyEnd(from, to string, mode fs.FileMode, most int64) (err error) {
	in, err := os.OpenFile(from, os.O_RDONLY|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer in.Close()
	st, err := in.Stat()
	if err != nil {
		return err
	}
	if over := st.Size() - most; over > 0 {
		if _, err := in.Seek(over, io.SeekStart); err != nil {
			return err
		}
	}
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_TRUNC|syscall.O_NOFOLLOW, mode)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, io.LimitReader(in, 2*most)) // it may grow as fast as it is read
	return errors.Join(err, out.Close())
}

package plan

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

// yields is what a holder that works in the background writes behind its number into the lock's file.
const yields = "yields"

// Holder is who holds the lock of a store, as it has written down itself.
type Holder struct {
	PID    int  // 0: nobody
	Yields bool // it ends at SIGTERM, at a point from which any other goes on
}

// OpenWait is Open for one that works in the background: it waits for the lock until ctx ends, and yields it to others. It does
// not make the folder; where there is none, also since an uninstall that it waited for, the error is an [fs.ErrNotExist].
func OpenWait(ctx context.Context, dir, root string) (*Store, error) {
	return openWait(ctx, dir, root, yields)
}

func openWait(ctx context.Context, dir, root, role string) (*Store, error) {
	for {
		if role != yields {
			if err := makeFolder(dir); err != nil {
				return nil, err
			}
		}
		lock, err := await(ctx, filepath.Join(dir, lockFile))
		if err != nil {
			return nil, err
		}
		if lock != nil {
			sign(lock, role)
			return open(dir, root, lock)
		}
	}
}

// await waits in the kernel for the lock. A wait that is given up goes on until the lock is free, and then frees it. No lock and
// no error mean that the file has been deleted meanwhile.
func await(ctx context.Context, path string) (*os.File, error) {
	f, err := openLock(path)
	if err != nil {
		return nil, err
	}
	locked := make(chan error)
	go func() {
		err := flock(f, unix.LOCK_EX)
		select {
		case locked <- err:
		case <-ctx.Done():
			_ = f.Close()
		}
	}()
	select {
	case <-ctx.Done():
		return nil, fmt.Errorf("cannot wait for %s: %w", path, ctx.Err())
	case err := <-locked:
		return lasting(f, path, err)
	}
}

// acquire takes the lock, which ends with the process whatever becomes of it, or says who has it. No lock and no error are as
// of await.
func acquire(path string) (*os.File, error) {
	f, err := openLock(path)
	if err != nil {
		return nil, err
	}
	err = flock(f, unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		who := "somebody"
		if h := readHolder(f); h.PID != 0 {
			who = fmt.Sprintf("process %d", h.PID)
		}
		return nil, errors.Join(reason.Newf(reason.Busy, "%s holds %s", who, path), f.Close())
	}
	return lasting(f, path, err)
}

func openLock(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("cannot open the lock: %w", err)
	}
	return f, nil
}

func flock(f *os.File, how int) error {
	for {
		if err := unix.Flock(int(f.Fd()), how); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// lasting returns the file that was locked, unless it is not the one at path any more: the holder before was an uninstall, and
// somebody else may have made a new one.
func lasting(f *os.File, path string, err error) (*os.File, error) {
	if err != nil {
		return nil, errors.Join(fmt.Errorf("cannot lock %s: %w", path, err), f.Close())
	}
	held, err := f.Stat()
	if err == nil {
		var there os.FileInfo
		if there, err = os.Lstat(path); err == nil && os.SameFile(held, there) {
			return f, nil
		}
	}
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return nil, errors.Join(err, f.Close())
}

const (
	// unsigned is how long a lock that is held by nobody who can be seen is looked at again: who has just got it signs it at once.
	unsigned   = 100 * time.Millisecond
	signedPoll = 10 * time.Millisecond
)

// TakeOver is Open, but a holder that yields is told to end, and its lock is waited for until ctx ends. It reports whether
// there was such a one.
func TakeOver(ctx context.Context, dir, root string) (s *Store, took bool, err error) {
	for began := time.Now(); ; {
		s, err = Open(dir, root)
		if !reason.Is(err, reason.Busy) {
			return s, false, err
		}
		h := Held(dir)
		switch {
		case h.Yields:
			if err := tell(dir, h); err != nil {
				return nil, false, err
			}
			s, err = openWait(ctx, dir, root, "")
			return s, true, err
		case h.PID != 0 || time.Since(began) > unsigned:
			return nil, false, err
		}
		select {
		case <-ctx.Done():
			return nil, false, err
		case <-time.After(signedPoll):
		}
	}
}

// tell sends SIGTERM to the holder of the lock.
func tell(dir string, h Holder) error {
	err := terminate(h.PID, func() bool { return Held(dir) == h })
	if errors.Is(err, unix.ESRCH) { // it has just ended
		return nil
	}
	return err
}

// Held returns who holds the lock of the store in dir. It only looks, and does not take the lock for it.
func Held(dir string) Holder {
	path := filepath.Join(dir, lockFile)
	f, err := os.Open(path)
	if err != nil {
		return Holder{}
	}
	defer f.Close()
	h := readHolder(f)
	st, err := f.Stat()
	if err != nil || h.PID < 1 || !holds(h.PID, st) {
		return Holder{} // what one that is gone has left
	}
	return h
}

// maxDescriptors bounds what is looked at of a process: ours have some ten.
const maxDescriptors = 4096

// maxInfo bounds what the kernel says of an open file, in bytes.
const maxInfo = 4 << 10

// holds reports whether the process has a lock on the file.
func holds(pid int, file os.FileInfo) bool {
	process := filepath.Join("/proc", strconv.Itoa(pid))
	dir, err := os.Open(filepath.Join(process, "fd"))
	if err != nil {
		return false
	}
	defer dir.Close()
	names, err := dir.Readdirnames(maxDescriptors)
	if err != nil {
		return false
	}
	for _, name := range names {
		st, err := os.Stat(filepath.Join(dir.Name(), name))
		if err != nil || !os.SameFile(st, file) {
			continue
		}
		if locked(filepath.Join(process, "fdinfo", name)) {
			return true
		}
	}
	return false
}

// locked looks for a line such as "lock:	1: FLOCK  ADVISORY  WRITE 123 08:01:456 0 EOF", which Linux has since 4.2.
func locked(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	info, err := io.ReadAll(io.LimitReader(f, maxInfo))
	return err == nil && strings.Contains(string(info), "FLOCK")
}

// sign writes who holds the lock, for people and for those who want it. A full disk is met soon enough elsewhere.
func sign(f *os.File, role string) {
	if err := f.Truncate(0); err == nil {
		_, _ = f.WriteAt([]byte(strings.TrimSpace(strconv.Itoa(os.Getpid())+" "+role)+"\n"), 0)
	}
}

func readHolder(f io.ReaderAt) Holder {
	text := make([]byte, 32)
	n, _ := f.ReadAt(text, 0)
	return parseHolder(string(text[:n]))
}

func parseHolder(text string) Holder {
	fields := strings.Fields(text)
	if len(fields) == 0 {
		return Holder{}
	}
	pid, err := strconv.Atoi(fields[0])
	if err != nil || pid < 1 {
		return Holder{}
	}
	return Holder{PID: pid, Yields: len(fields) > 1 && fields[1] == yields}
}

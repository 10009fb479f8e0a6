package plan

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

// Store is the folder of journal, ledger and before-images, locked for one writer.
type Store struct {
	Journal *Journal
	Ledger  *Ledger

	// Run runs the commands that undo changes; nil means [command.Run].
	Run func(ctx context.Context, limit time.Duration, argv ...string) ([]byte, error)
	// Undo reverses changes of kinds that only the caller knows, such as the start of a unit. It returns what it had to leave,
	// each with the reason.
	Undo map[Kind]func(ctx context.Context, c Record) (left []string, err error)

	dir  string
	root string
	lock *os.File
}

// Open opens the store in dir, which is made (0700) if it is not there, and takes its lock; another holder is
// [reason.Busy]. Targets of changes lie below root; "" means the machine itself.
func Open(dir, root string) (*Store, error) {
	if err := os.MkdirAll(filepath.Join(dir, "blobs"), 0o700); err != nil {
		return nil, fmt.Errorf("cannot make the state folder: %w", err)
	}
	lock, err := acquire(filepath.Join(dir, lockFile))
	if err != nil {
		return nil, err
	}
	return open(dir, root, lock)
}

const lockFile = "lock"

// open reads what is below a lock that is held.
func open(dir, root string, lock *os.File) (*Store, error) {
	s := &Store{dir: dir, root: root, lock: lock}
	var err error
	if s.Journal, err = openJournal(filepath.Join(dir, "journal.jsonl")); err == nil {
		s.Ledger, err = openLedger(filepath.Join(dir, "ledger.jsonl"))
	}
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// acquire takes the lock, which ends with the process whatever becomes of it.
func acquire(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("cannot open the lock: %w", err)
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if err == nil {
		sign(f, "")
		return f, nil
	}
	defer f.Close()
	if !errors.Is(err, syscall.EWOULDBLOCK) {
		return nil, fmt.Errorf("cannot lock %s: %w", path, err)
	}
	h := readHolder(f)
	return nil, reason.Newf(reason.Busy, "process %d holds %s", h.PID, path)
}

// Close releases the lock.
func (s *Store) Close() error {
	var errs []error
	if s.Journal != nil {
		errs = append(errs, s.Journal.lines.close())
	}
	if s.Ledger != nil {
		errs = append(errs, s.Ledger.lines.close())
	}
	return errors.Join(append(errs, s.lock.Close())...)
}

func (s *Store) path(target string) string { return filepath.Join(s.root, target) }

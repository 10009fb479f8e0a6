package plan

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
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
	for {
		if err := makeFolder(dir); err != nil {
			return nil, err
		}
		lock, err := acquire(filepath.Join(dir, lockFile))
		if err != nil {
			return nil, err
		}
		if lock != nil {
			sign(lock, "")
			return open(dir, root, lock)
		}
	}
}

const lockFile = "lock"

func makeFolder(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("cannot make the state folder: %w", err)
	}
	return nil
}

// open reads what is below a lock that is held.
func open(dir, root string, lock *os.File) (*Store, error) {
	s := &Store{dir: dir, root: root, lock: lock}
	err := makeFolder(filepath.Join(dir, "blobs"))
	if err == nil {
		s.Journal, err = openJournal(filepath.Join(dir, "journal.jsonl"))
	}
	if err == nil {
		s.Ledger, err = openLedger(filepath.Join(dir, "ledger.jsonl"))
	}
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
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

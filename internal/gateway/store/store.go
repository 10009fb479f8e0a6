// Package store keeps what the gateway must remember, in one SQLite file. Its SQL is plain enough to move to PostgreSQL
// when several gateways are to share it. Every method is one transaction.
package store

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"sort"
	"time"

	"golang.org/x/crypto/blake2b"
	_ "modernc.org/sqlite" // SQLite without cgo, so that the gateway is one static binary

	"github.com/pipeopshq/pipeops-agent/internal/atomicfile"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Store is an open store. Its methods may be called concurrently.
type Store struct {
	db *sql.DB // a commit waits for the disk: tokens are used once, and documents are promises
	// reports is the same database, but a commit does not wait for the disk: what agents say often, and will say again
	// after a power cut, must not hold up all others on a machine with a busy disk.
	reports *sql.DB
	key     []byte // of the digests of secrets
	now     func() time.Time

	grant *sql.Stmt // of Authenticate, which every request of a user needs
}

const (
	databaseFile = "gateway.db"
	macKeyFile   = "secret.key"
)

// Open opens the store in dir, which it makes if it is not there (0700), and brings it to the newest form. now nil means
// time.Now.
func Open(ctx context.Context, dir string, now func() time.Time) (*Store, error) {
	if now == nil {
		now = time.Now
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("cannot make the data folder: %w", err)
	}
	key, err := macKey(filepath.Join(dir, macKeyFile))
	if err != nil {
		return nil, fmt.Errorf("cannot get the key of the store: %w", err)
	}
	path := filepath.Join(dir, databaseFile)
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600) // SQLite's other files take its mode
	if err != nil {
		return nil, fmt.Errorf("cannot open the store: %w", err)
	}
	if err := file.Close(); err != nil {
		return nil, fmt.Errorf("cannot open the store: %w", err)
	}
	db, err := openFile(path, "FULL")
	if err != nil {
		return nil, err
	}
	reports, err := openFile(path, "NORMAL")
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	s := &Store{db: db, reports: reports, key: key, now: now}
	if err := s.migrate(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("cannot bring the store to its newest form: %w", err), db.Close(), reports.Close())
	}
	if s.grant, err = db.PrepareContext(ctx, selectGrant); err != nil {
		return nil, errors.Join(fmt.Errorf("cannot use the store: %w", err), db.Close(), reports.Close())
	}
	return s, nil
}

// openFile opens the database file; synchronous says what a commit waits for, as SQLite names it.
func openFile(path, synchronous string) (*sql.DB, error) {
	options := url.Values{"_txlock": {"immediate"}, "_pragma": {
		"busy_timeout(10000)", "journal_mode(WAL)", "synchronous(" + synchronous + ")", "foreign_keys(1)",
	}}
	db, err := sql.Open("sqlite", "file:"+(&url.URL{Path: path}).EscapedPath()+"?"+options.Encode())
	if err != nil {
		return nil, fmt.Errorf("cannot open the store: %w", err)
	}
	db.SetMaxOpenConns(4)
	return db, nil
}

// Close closes the store.
func (s *Store) Close() error { return errors.Join(s.grant.Close(), s.reports.Close(), s.db.Close()) }

// Ping returns nil if the store answers.
func (s *Store) Ping(ctx context.Context) error {
	var one int
	return s.db.QueryRowContext(ctx, `SELECT 1`).Scan(&one)
}

// migrate applies the migrations that the store has not seen, each in a transaction of its own.
func (s *Store) migrate(ctx context.Context) error {
	names, err := fs.Glob(migrations, "migrations/*.sql")
	if err != nil {
		return err
	}
	sort.Strings(names)
	var have int
	if err := s.db.QueryRowContext(ctx, `PRAGMA user_version`).Scan(&have); err != nil {
		return err
	}
	if have > len(names) {
		return fmt.Errorf("it is of form %d, this version knows %d: use a newer pipeops-gateway", have, len(names))
	}
	for i := have; i < len(names); i++ {
		script, err := migrations.ReadFile(names[i])
		if err != nil {
			return err
		}
		err = transact(ctx, s.db, func(tx *sql.Tx) error {
			if _, err := tx.ExecContext(ctx, string(script)); err != nil {
				return err
			}
			_, err := tx.ExecContext(ctx, fmt.Sprintf(`PRAGMA user_version = %d`, i+1))
			return err
		})
		if err != nil {
			return fmt.Errorf("%s: %w", names[i], err)
		}
	}
	return nil
}

// transact runs f in a transaction, which is undone if f fails.
func transact(ctx context.Context, db *sql.DB, f func(*sql.Tx) error) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	if err := f(tx); err != nil {
		return errors.Join(err, tx.Rollback())
	}
	return tx.Commit()
}

// macKey reads the key of the digests, or makes one.
func macKey(path string) ([]byte, error) {
	key, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		key = make([]byte, 32)
		_, _ = rand.Read(key) // never fails: it ends the process instead
		err = atomicfile.Write(path, 0o600, key)
	}
	if err == nil && len(key) != 32 {
		err = fmt.Errorf("%s holds %d bytes, not 32", path, len(key))
	}
	return key, err
}

// mac is the digest under which a secret is kept. purpose keeps the kinds of secrets apart.
func (s *Store) mac(purpose, id, secret string) ([]byte, error) {
	h, err := blake2b.New256(s.key)
	if err != nil {
		return nil, err
	}
	fmt.Fprintf(h, "%s\x00%s\x00%s", purpose, id, secret)
	return h.Sum(nil), nil
}

// matches reports in constant time whether a secret is the one whose digest is kept.
func (s *Store) matches(kept []byte, purpose, id, secret string) bool {
	sum, err := s.mac(purpose, id, secret)
	return err == nil && subtle.ConstantTimeCompare(sum, kept) == 1
}

func ms(t time.Time) int64 { return t.UnixMilli() }

// at makes a time of milliseconds; 0 is no time.
func at(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}

// Package store keeps what the gateway must remember, in one SQLite file, or in a PostgreSQL that several gateways share. Every method
// is one transaction.
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
	"path"
	"path/filepath"
	"sort"
	"strconv"
	"time"

	"golang.org/x/crypto/blake2b"
	_ "modernc.org/sqlite" // SQLite without cgo, so that the gateway is one static binary

	"github.com/pipeopshq/pipeops-agent/internal/atomicfile"
)

//go:embed migrations/*.sql migrations/postgres/*.sql
var migrations embed.FS

// Store is an open store. Its methods may be called concurrently.
type Store struct {
	db *database // a commit waits for the disk: tokens are used once, and documents are promises
	// reports is the same database, but a commit does not wait for the disk: what agents say often, and will say again
	// after a power cut, must not hold up all others on a machine with a busy disk.
	reports *database
	key     []byte // of the digests of secrets
	now     func() time.Time

	grant        *prepared // of Authenticate, which every request of a user needs
	clusterByID  *prepared // this and the next: of who an agent is, which is looked at twice for each that connects
	machineByKey *prepared
}

const (
	databaseFile = "gateway.db"
	macKeyFile   = "secret.key"
)

// Open opens the store in dir, which it makes if it is not there (0700), and brings it to the newest form. now nil means
// time.Now.
func Open(ctx context.Context, dir string, now func() time.Time) (*Store, error) {
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
	return (&Store{db: db, reports: reports, key: key, now: now}).open(ctx)
}

// OpenShared opens the store in a PostgreSQL database, postgres://USER:PASSWORD@HOST/DATABASE, which several gateways may share. The
// key of the digests of secrets is in dir all the same, so that the database alone is of no use to who steals it; all gateways
// must have the same one. The error is FLEET_DIFFERS if this one has another.
func OpenShared(ctx context.Context, dir, address string, now func() time.Time) (*Store, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("cannot make the data folder: %w", err)
	}
	db, err := openPostgres(address, false)
	if err != nil {
		return nil, err
	}
	reports, err := openPostgres(address, true)
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	s, err := (&Store{db: db, reports: reports, now: now}).open(ctx)
	if err != nil {
		return nil, err
	}
	if s.key, err = s.sharedKey(ctx, filepath.Join(dir, macKeyFile)); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// open brings the store to the newest form, or closes it.
func (s *Store) open(ctx context.Context) (*Store, error) {
	if s.now == nil {
		s.now = time.Now
	}
	if err := s.migrate(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("cannot bring the store to its newest form: %w", err), s.db.Close(), s.reports.Close())
	}
	for query, statement := range map[string]**prepared{selectGrant: &s.grant, selectClusterByID: &s.clusterByID, selectMachineByKey: &s.machineByKey} {
		var err error
		if *statement, err = s.db.PrepareContext(ctx, query); err != nil {
			return nil, errors.Join(fmt.Errorf("cannot use the store: %w", err), s.db.Close(), s.reports.Close())
		}
	}
	return s, nil
}

// openFile opens the database file; synchronous says what a commit waits for, as SQLite names it.
func openFile(path, synchronous string) (*database, error) {
	options := url.Values{"_txlock": {"immediate"}, "_pragma": {
		"busy_timeout(10000)", "journal_mode(WAL)", "synchronous(" + synchronous + ")", "foreign_keys(1)",
	}}
	db, err := sql.Open("sqlite", "file:"+(&url.URL{Path: path}).EscapedPath()+"?"+options.Encode())
	if err != nil {
		return nil, fmt.Errorf("cannot open the store: %w", err)
	}
	db.SetMaxOpenConns(4)
	return &database{DB: db}, nil
}

// Close closes the store.
func (s *Store) Close() error {
	return errors.Join(s.grant.Close(), s.clusterByID.Close(), s.machineByKey.Close(), s.reports.Close(), s.db.Close())
}

// Ping returns nil if the store answers.
func (s *Store) Ping(ctx context.Context) error {
	var one int
	return s.db.QueryRowContext(ctx, `SELECT 1`).Scan(&one)
}

// migrate applies the migrations that the store has not seen, each in a transaction of its own. They have the same numbers for both
// databases; that of the first one for PostgreSQL is not 1.
func (s *Store) migrate(ctx context.Context) error {
	folder := "migrations"
	if s.db.postgres {
		folder += "/postgres"
	}
	names, err := fs.Glob(migrations, folder+"/*.sql")
	if err != nil {
		return err
	}
	sort.Strings(names)
	newest := 0
	for _, name := range names {
		if newest, err = strconv.Atoi(path.Base(name)[:4]); err != nil {
			return err
		}
		script, err := migrations.ReadFile(name)
		if err != nil {
			return err
		}
		err = transact(ctx, s.db, func(tx *transaction) error {
			have, err := tx.form(ctx)
			if err != nil || have >= newest {
				return err
			}
			if _, err := tx.ExecContext(ctx, string(script)); err != nil {
				return err
			}
			return tx.setForm(ctx, newest)
		})
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return transact(ctx, s.db, func(tx *transaction) error {
		have, err := tx.form(ctx)
		if err == nil && have > newest {
			err = fmt.Errorf("it is of form %d, this version knows %d: use a newer pipeops-gateway", have, newest)
		}
		return err
	})
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

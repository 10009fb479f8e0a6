package store

import (
	"context"
	"database/sql"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// The store's SQL is one for both databases, in the words of SQLite: ? or ?1 is a parameter. What differs is here.

// database is a database of either kind.
type database struct {
	*sql.DB
	postgres bool
	// lazy: a commit does not wait for the disk, and writers do not wait for each other.
	lazy bool
}

// transaction is a transaction of either kind.
type transaction struct {
	*sql.Tx
	postgres bool
}

// writersLock is the advisory lock that every writing transaction of PostgreSQL holds, except lazy ones: they follow each other, as
// those of SQLite do, so that what one has read is still so when it writes. It also makes the numbers of signals rise in the order in
// which they become visible. The number says nothing; it is the same in all gateways.
const writersLock = 7_320_911

// conflicts is how often a transaction is tried that PostgreSQL has undone for the sake of another one.
const conflicts = 5

func (d *database) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	return d.DB.QueryContext(ctx, bind(d.postgres, query), clean(d.postgres, args)...)
}

func (d *database) QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row {
	return d.DB.QueryRowContext(ctx, bind(d.postgres, query), clean(d.postgres, args)...)
}

// prepared is a query that a database has read, for those that are asked all the time: to read one takes SQLite longer than to answer it.
type prepared struct {
	*sql.Stmt
	postgres bool
}

func (d *database) PrepareContext(ctx context.Context, query string) (*prepared, error) {
	statement, err := d.DB.PrepareContext(ctx, bind(d.postgres, query))
	if err != nil {
		return nil, err
	}
	return &prepared{statement, d.postgres}, nil
}

func (p *prepared) QueryRowContext(ctx context.Context, args ...any) *sql.Row {
	return p.Stmt.QueryRowContext(ctx, clean(p.postgres, args)...)
}

// ExecContext runs one statement in a transaction of its own.
func (d *database) ExecContext(ctx context.Context, query string, args ...any) (result sql.Result, err error) {
	err = transact(ctx, d, func(tx *transaction) error {
		result, err = tx.ExecContext(ctx, query, args...)
		return err
	})
	return result, err
}

func (t *transaction) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	return t.Tx.ExecContext(ctx, bind(t.postgres, query), clean(t.postgres, args)...)
}

func (t *transaction) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	return t.Tx.QueryContext(ctx, bind(t.postgres, query), clean(t.postgres, args)...)
}

func (t *transaction) QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row {
	return t.Tx.QueryRowContext(ctx, bind(t.postgres, query), clean(t.postgres, args)...)
}

// transact runs f in a transaction, which is undone if f fails. It may run f again if the database asks for that.
func transact(ctx context.Context, d *database, f func(*transaction) error) error {
	for try := 1; ; try++ {
		err := attempt(ctx, d, f)
		var refused *pgconn.PgError
		// 40001 serialization_failure, 40P01 deadlock_detected: nothing of it has happened
		if try == conflicts || !errors.As(err, &refused) || refused.Code != "40001" && refused.Code != "40P01" {
			return err
		}
		timer := time.NewTimer(time.Duration(try) * 5 * time.Millisecond)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return err
		}
	}
}

func attempt(ctx context.Context, d *database, f func(*transaction) error) error {
	inner, err := d.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	tx := &transaction{inner, d.postgres}
	if d.postgres && !d.lazy {
		_, err = tx.ExecContext(ctx, `SELECT pg_advisory_xact_lock(?)`, writersLock)
	}
	if err == nil {
		err = f(tx)
	}
	if err != nil {
		if undone := tx.Rollback(); !errors.Is(undone, sql.ErrTxDone) {
			err = errors.Join(err, undone)
		}
		return err
	}
	return tx.Commit()
}

// locked is what a SELECT ends with whose row must not change before the transaction ends.
func (t *transaction) locked() string {
	if t.postgres {
		return " FOR UPDATE"
	}
	return "" // SQLite has one writer at a time
}

// bind gives the parameters of a query the names that PostgreSQL has for them. No query has a ? in a text.
func bind(postgres bool, query string) string {
	if !postgres || !strings.Contains(query, "?") {
		return query
	}
	var out strings.Builder
	out.Grow(len(query) + 8)
	n := 0
	for i := range len(query) {
		if query[i] != '?' {
			out.WriteByte(query[i])
			continue
		}
		out.WriteByte('$')
		if i+1 < len(query) && query[i+1] >= '0' && query[i+1] <= '9' {
			continue // it is numbered
		}
		n++
		out.WriteString(strconv.Itoa(n))
	}
	return out.String()
}

// clean makes texts of agents such that PostgreSQL takes them: it knows no zero byte, and no text that is not UTF-8.
func clean(postgres bool, args []any) []any {
	if !postgres {
		return args
	}
	for i, a := range args {
		if text, ok := a.(string); ok && (strings.IndexByte(text, 0) >= 0 || strings.ToValidUTF8(text, "") != text) {
			args[i] = strings.ReplaceAll(strings.ToValidUTF8(text, "\uFFFD"), "\x00", "")
		}
	}
	return args
}

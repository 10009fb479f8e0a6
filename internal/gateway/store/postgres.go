package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

const (
	// postgresConnections bounds the connections to PostgreSQL for each of the two uses: its default is 100 for all of its users.
	postgresConnections = 8
	// postgresDial bounds how long a connection to PostgreSQL may take to come about.
	postgresDial = 10 * time.Second
)

// openPostgres opens a database that several gateways share. lazy: a commit does not wait for the disk. Errors do not carry
// the address, in which a password may be.
func openPostgres(address string, lazy bool) (*database, error) {
	config, err := pgx.ParseConfig(address)
	if err != nil {
		return nil, reason.Newf(reason.Usage, "the address of the store is not of the form postgres://USER:PASSWORD@HOST/DATABASE")
	}
	config.ConnectTimeout = postgresDial
	config.RuntimeParams["application_name"] = "pipeops-gateway"
	if lazy {
		config.RuntimeParams["synchronous_commit"] = "off"
	}
	db := stdlib.OpenDB(*config)
	db.SetMaxOpenConns(postgresConnections)
	db.SetMaxIdleConns(postgresConnections)
	db.SetConnMaxIdleTime(5 * time.Minute)
	return &database{DB: db, postgres: true, lazy: lazy}, nil
}

// form reads and sets the number of the last migration that a database has seen.
func (t *transaction) form(ctx context.Context) (int, error) {
	var have int
	if !t.postgres {
		return have, t.QueryRowContext(ctx, `PRAGMA user_version`).Scan(&have)
	}
	if _, err := t.ExecContext(ctx, `CREATE TABLE IF NOT EXISTS form (number BIGINT NOT NULL)`); err != nil {
		return 0, err
	}
	err := t.QueryRowContext(ctx, `SELECT number FROM form`).Scan(&have)
	if errors.Is(err, sql.ErrNoRows) {
		_, err = t.ExecContext(ctx, `INSERT INTO form (number) VALUES (0)`)
	}
	return have, err
}

func (t *transaction) setForm(ctx context.Context, number int) error {
	statement := fmt.Sprintf(`PRAGMA user_version = %d`, number)
	if t.postgres {
		statement = fmt.Sprintf(`UPDATE form SET number = %d`, number)
	}
	_, err := t.ExecContext(ctx, statement)
	return err
}

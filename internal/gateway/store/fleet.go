package store

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

// signalLife is how long a signal is kept: gateways read them every second, and one that could not for longer looks at everything.
const signalLife = 10 * time.Minute

// Gateway is one run of one of the gateways that share the store.
type Gateway struct {
	ID        string
	Address   string   // host:port at which other gateways reach it
	Announced []string // host:port at which agents reach it
	Draining  bool     // it is about to stop
	Beat      int64    // counts up as long as it lives
}

// Shared reports whether other gateways may use the store at the same time.
func (s *Store) Shared() bool { return s.db.postgres }

// Agree returns the value under a name that all gateways have. If there is none yet, it becomes the given one; nil gives none.
func (s *Store) Agree(ctx context.Context, name string, value []byte) (agreed []byte, err error) {
	err = transact(ctx, s.db, func(tx *transaction) error {
		if value != nil {
			if _, err := tx.ExecContext(ctx, `INSERT INTO fleet (name, value) VALUES (?, ?) ON CONFLICT (name) DO NOTHING`, name, value); err != nil {
				return err
			}
		}
		err := tx.QueryRowContext(ctx, `SELECT value FROM fleet WHERE name = ?`, name).Scan(&agreed)
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("cannot read what the gateways agree on: %w", err)
	}
	return agreed, nil
}

// sharedKey reads the key of the digests, or makes one for the first gateway, and sees that it is that of the others.
func (s *Store) sharedKey(ctx context.Context, path string) ([]byte, error) {
	const name = "secret.key"
	agreed, err := s.Agree(ctx, name, nil)
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) && agreed != nil {
		return nil, reason.Newf(reason.FleetDiffers, "there is no %s", path)
	}
	key, err := macKey(path)
	if err != nil {
		return nil, fmt.Errorf("cannot get the key of the store: %w", err)
	}
	sum, err := (&Store{key: key}).mac("fleet", name, "")
	if err == nil {
		agreed, err = s.Agree(ctx, name, sum)
	}
	if err == nil && !bytes.Equal(agreed, sum) {
		err = reason.Newf(reason.FleetDiffers, "%s is not that of the gateways that share the store", path)
	}
	return key, err
}

// Beat says that a gateway lives, and enters it if it is not there: the first time, or because others have not heard of it for too
// long. Then fresh is true, and none of its sessions is there either.
func (s *Store) Beat(ctx context.Context, g Gateway) (fresh bool, err error) {
	announced, err := json.Marshal(g.Announced)
	if err != nil {
		return false, fmt.Errorf("cannot enter the gateway: %w", err)
	}
	var beat int64
	err = transact(ctx, s.reports, func(tx *transaction) error {
		return tx.QueryRowContext(ctx, `INSERT INTO gateways (id, address, announced, draining) VALUES (?, ?, ?, ?)
			ON CONFLICT (id) DO UPDATE SET beat = gateways.beat + 1, address = excluded.address, announced = excluded.announced, draining = excluded.draining
			RETURNING beat`, g.ID, g.Address, string(announced), g.Draining).Scan(&beat)
	})
	if err != nil {
		return false, fmt.Errorf("cannot enter the gateway: %w", err)
	}
	return beat == 1, nil
}

// Gateways returns the gateways that are there, in the order of their ids.
func (s *Store) Gateways(ctx context.Context) ([]Gateway, error) {
	rows, err := s.reports.QueryContext(ctx, `SELECT id, address, announced, draining, beat FROM gateways ORDER BY id`)
	if err != nil {
		return nil, fmt.Errorf("cannot list the gateways: %w", err)
	}
	defer func() { _ = rows.Close() }()
	var list []Gateway
	for rows.Next() {
		var g Gateway
		var announced string
		if err := rows.Scan(&g.ID, &g.Address, &announced, &g.Draining, &g.Beat); err != nil {
			return nil, fmt.Errorf("cannot list the gateways: %w", err)
		}
		if err := json.Unmarshal([]byte(announced), &g.Announced); err != nil {
			return nil, fmt.Errorf("cannot list the gateways: %w", err)
		}
		list = append(list, g)
	}
	return list, rows.Err()
}

// Expire forgets a gateway whose count stands at beat, with its sessions, and reports whether it did.
func (s *Store) Expire(ctx context.Context, id string, beat int64) (bool, error) {
	return s.forget(ctx, `DELETE FROM gateways WHERE id = ? AND beat = ?`, id, beat)
}

// Retire forgets a gateway that has stopped.
func (s *Store) Retire(ctx context.Context, id string) error {
	_, err := s.forget(ctx, `DELETE FROM gateways WHERE id = ?`, id)
	return err
}

func (s *Store) forget(ctx context.Context, statement string, args ...any) (bool, error) {
	result, err := s.reports.ExecContext(ctx, statement, args...)
	if err != nil {
		return false, fmt.Errorf("cannot forget the gateway: %w", err)
	}
	n, err := result.RowsAffected()
	return n > 0, err
}

// signal tells all gateways that something of a cluster has changed, when the transaction is done.
func (t *transaction) signal(ctx context.Context, clusterID string, now time.Time) error {
	if !t.postgres {
		return nil // there is one gateway, and it knows
	}
	_, err := t.ExecContext(ctx, `INSERT INTO signals (cluster_id, at) VALUES (?, ?)`, clusterID, ms(now))
	return err
}

// Signals returns the clusters of which something has changed after a signal, and the last signal. A negative number asks for the last
// one only. missed is true if some may have been dropped before they were read.
func (s *Store) Signals(ctx context.Context, after int64) (clusters []string, last int64, missed bool, err error) {
	if after < 0 {
		err = s.reports.QueryRowContext(ctx, `SELECT COALESCE(MAX(seq), 0) FROM signals`).Scan(&last)
		if err != nil {
			err = fmt.Errorf("cannot read the signals: %w", err)
		}
		return nil, last, false, err
	}
	rows, err := s.reports.QueryContext(ctx, `SELECT seq, cluster_id FROM signals WHERE seq > ? ORDER BY seq`, after)
	if err != nil {
		return nil, after, false, fmt.Errorf("cannot read the signals: %w", err)
	}
	defer func() { _ = rows.Close() }()
	last = after
	for rows.Next() {
		var id string
		var seq int64
		if err := rows.Scan(&seq, &id); err != nil {
			return nil, after, false, fmt.Errorf("cannot read the signals: %w", err)
		}
		// numbers may be left out by transactions that were undone: then too much is looked at, never too little
		missed = missed || seq != last+1
		clusters, last = append(clusters, id), seq
	}
	return clusters, last, missed, rows.Err()
}

// DropSignals forgets the signals that every gateway has read.
func (s *Store) DropSignals(ctx context.Context) error {
	_, err := s.reports.ExecContext(ctx, `DELETE FROM signals WHERE at < ?`, ms(s.now().Add(-signalLife)))
	if err != nil {
		return fmt.Errorf("cannot drop the signals: %w", err)
	}
	return nil
}

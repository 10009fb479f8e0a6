package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/reason"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

// Session is a session of a machine at a gateway.
type Session struct {
	ClusterID string
	Machine   string
	Gateway   string
	Serial    int64 // rises with the sessions of a gateway
	Epoch     int64
	Standby   bool
	Since     time.Time
	Remote    string
}

// Location is where a machine is connected.
type Location struct {
	Session
	Role    wire.Role
	Address string // of the gateway, for other gateways
	Deaf    bool   // the machine's last heartbeat said that the Kubernetes API does not answer it
}

// PutSessions enters sessions; of two of the same machine at the same gateway the one with the higher serial counts.
func (s *Store) PutSessions(ctx context.Context, list ...Session) error {
	err := transact(ctx, s.reports, func(tx *transaction) error {
		for _, n := range list {
			// a machine that was removed meanwhile has no row that the session could refer to, and needs none
			_, err := tx.ExecContext(ctx, `INSERT INTO sessions (machine_id, gateway_id, cluster_id, serial, epoch, standby, since, remote)
				SELECT m.id, g.id, m.cluster_id, ?3, ?4, ?5, ?6, ?7 FROM machines m, gateways g WHERE m.id = ?1 AND g.id = ?2
				ON CONFLICT (machine_id, gateway_id) DO UPDATE SET serial = excluded.serial, epoch = excluded.epoch, standby = excluded.standby,
				since = excluded.since, remote = excluded.remote WHERE sessions.serial <= excluded.serial`,
				n.Machine, n.Gateway, n.Serial, n.Epoch, n.Standby, ms(n.Since), n.Remote)
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("cannot enter the session: %w", err)
	}
	return nil
}

// DropSession forgets a session, unless a newer one has taken its place.
func (s *Store) DropSession(ctx context.Context, machine, gateway string, serial int64) error {
	_, err := s.reports.ExecContext(ctx, `DELETE FROM sessions WHERE machine_id = ? AND gateway_id = ? AND serial = ?`, machine, gateway, serial)
	if err != nil {
		return fmt.Errorf("cannot forget the session: %w", err)
	}
	return nil
}

// Locations returns where the machines of a cluster are connected, or those of all clusters if clusterID is "": the longest connected
// first.
func (s *Store) Locations(ctx context.Context, clusterID string) ([]Location, error) {
	where, args := ``, []any{}
	if clusterID != "" {
		where, args = `WHERE s.cluster_id = ?`, []any{clusterID}
	}
	rows, err := s.reports.QueryContext(ctx, `SELECT s.cluster_id, s.machine_id, s.gateway_id, s.serial, s.epoch, s.standby, s.since, s.remote, m.role, m.conditions, g.address
		FROM sessions s JOIN machines m ON m.id = s.machine_id JOIN gateways g ON g.id = s.gateway_id `+where+` ORDER BY s.since, s.machine_id, s.gateway_id`, args...)
	if err != nil {
		return nil, fmt.Errorf("cannot locate the machines: %w", err)
	}
	defer func() { _ = rows.Close() }()
	var list []Location
	for rows.Next() {
		var l Location
		var since int64
		var raw string
		if err := rows.Scan(&l.ClusterID, &l.Machine, &l.Gateway, &l.Serial, &l.Epoch, &l.Standby, &since, &l.Remote, &l.Role, &raw, &l.Address); err != nil {
			return nil, fmt.Errorf("cannot locate the machines: %w", err)
		}
		var conditions []wire.Condition
		if err := json.Unmarshal([]byte(raw), &conditions); err != nil {
			return nil, fmt.Errorf("cannot locate the machines: %w", err)
		}
		l.Since, l.Deaf = at(since), Deaf(conditions)
		list = append(list, l)
	}
	return list, rows.Err()
}

// Deaf reports whether a machine says that the Kubernetes API does not answer it.
func Deaf(conditions []wire.Condition) bool {
	for _, c := range conditions {
		if c.Type == "ClusterReachable" && c.Status == "False" {
			return true
		}
	}
	return false
}

// Arrive decides on a process that shows the certificate of a machine, and returns its epoch. A process that none has superseded is let
// in; the one before it is then superseded. held is the epoch that it was given before, 0 if it is new: if another process has been let
// in since, there are two of the machine. The newest counts: the older one gets SESSION_REPLACED as long as the newer one is
// connected, which alive says of this gateway.
func (s *Store) Arrive(ctx context.Context, clusterID, machine, instance string, held int64, alive bool) (epoch int64, err error) {
	now := s.now()
	var clone bool
	var superseded int
	err = transact(ctx, s.reports, func(tx *transaction) error {
		clone, superseded = false, 0
		var present string
		err := tx.QueryRowContext(ctx, `SELECT instance, epoch FROM machines WHERE cluster_id = ? AND id = ?`+tx.locked(), clusterID, machine).Scan(&present, &epoch)
		if errors.Is(err, sql.ErrNoRows) {
			return reason.Newf(reason.IdentityRevoked, "the machine was removed")
		}
		if err != nil || present == instance {
			return err
		}
		if held != 0 && held < epoch {
			clone = true
			if _, err := tx.ExecContext(ctx, `UPDATE machines SET cloned = ? WHERE id = ?`, ms(now), machine); err != nil {
				return err
			}
			var elsewhere int
			err := tx.QueryRowContext(ctx, `SELECT COUNT(*) FROM sessions WHERE machine_id = ? AND epoch = ?`, machine, epoch).Scan(&elsewhere)
			if err != nil || alive || elsewhere > 0 {
				return err // the note is kept
			}
			clone = false
		}
		epoch++
		if _, err := tx.ExecContext(ctx, `UPDATE machines SET instance = ?, epoch = ? WHERE id = ?`, instance, epoch, machine); err != nil {
			return err
		}
		return tx.QueryRowContext(ctx, `SELECT COUNT(*) FROM sessions WHERE machine_id = ? AND epoch < ?`, machine, epoch).Scan(&superseded)
	})
	if err == nil && superseded > 0 { // their gateways must end them
		err = transact(ctx, s.db, func(tx *transaction) error { return tx.signal(ctx, clusterID, now) })
	}
	if err != nil {
		return 0, fmt.Errorf("cannot let the machine in: %w", err)
	}
	if clone {
		return 0, reason.Newf(reason.SessionReplaced, "another process with the identity of this machine was let in after this one, and is connected: was the machine copied?")
	}
	return epoch, nil
}

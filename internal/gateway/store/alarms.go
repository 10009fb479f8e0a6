package store

import (
	"context"
	"fmt"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

// Alarm is something that an operator should look at.
type Alarm struct {
	Code      string    `json:"code"` // of package reason
	ClusterID string    `json:"cluster_id,omitempty"`
	Cluster   string    `json:"cluster,omitempty"` // its name, if it is still there
	Machine   string    `json:"machine,omitempty"` // id
	Subject   string    `json:"subject,omitempty"` // what it is about, such as the id of a token
	Evidence  string    `json:"evidence"`          // of the last time
	Count     int64     `json:"count"`
	First     time.Time `json:"first"`
	Last      time.Time `json:"last"`
}

// maxAlarms is how many alarms are kept: the newest.
const maxAlarms = 1000

// AddAlarm remembers an alarm; the same one again counts up. The cluster of one about a join token is that which used it.
func (s *Store) AddAlarm(ctx context.Context, a Alarm) error {
	now := ms(s.now())
	_, err := s.db.ExecContext(ctx, `INSERT INTO alarms (code, cluster_id, machine_id, subject, evidence, first, last)
		VALUES (?, CASE WHEN ? = '' THEN COALESCE((SELECT used_cluster_id FROM tokens WHERE id = ?), (SELECT cluster_id FROM node_tokens WHERE id = ?), '') ELSE ? END, ?, ?, ?, ?, ?)
		ON CONFLICT (code, cluster_id, machine_id, subject) DO UPDATE SET evidence = excluded.evidence, last = excluded.last, count = alarms.count + 1`,
		a.Code, a.ClusterID, a.Subject, a.Subject, a.ClusterID, a.Machine, a.Subject, a.Evidence, now, now)
	if err == nil {
		_, err = s.db.ExecContext(ctx, `DELETE FROM alarms WHERE last < (SELECT MIN(last) FROM (SELECT last FROM alarms ORDER BY last DESC LIMIT ?) AS newest)`, maxAlarms)
	}
	if err != nil {
		return fmt.Errorf("cannot remember the alarm: %w", err)
	}
	return nil
}

// Alarms returns the alarms, the newest first.
func (s *Store) Alarms(ctx context.Context) ([]Alarm, error) {
	rows, err := s.db.QueryContext(ctx, `SELECT a.code, a.cluster_id, COALESCE(c.name, ''), a.machine_id, a.subject, a.evidence, a.count, a.first, a.last
		FROM alarms a LEFT JOIN clusters c ON c.id = a.cluster_id ORDER BY a.last DESC`)
	if err != nil {
		return nil, fmt.Errorf("cannot list the alarms: %w", err)
	}
	defer func() { _ = rows.Close() }()
	list := []Alarm{}
	for rows.Next() {
		var a Alarm
		var first, last int64
		if err := rows.Scan(&a.Code, &a.ClusterID, &a.Cluster, &a.Machine, &a.Subject, &a.Evidence, &a.Count, &first, &last); err != nil {
			return nil, fmt.Errorf("cannot list the alarms: %w", err)
		}
		a.First, a.Last = at(first), at(last)
		list = append(list, a)
	}
	return list, rows.Err()
}

// ClearAlarms forgets the alarms of a cluster, by its id, or all of them if that is "". It returns how many there were.
func (s *Store) ClearAlarms(ctx context.Context, clusterID string) (int64, error) {
	result, err := s.db.ExecContext(ctx, `DELETE FROM alarms WHERE ? = '' OR cluster_id = ?`, clusterID, clusterID)
	if err != nil {
		return 0, fmt.Errorf("cannot clear the alarms: %w", err)
	}
	return result.RowsAffected()
}

// RevokeCluster refuses the certificates of all machines of a cluster from now on, until one enrols again with a token that is bound to its
// name. The error is CLUSTER_UNKNOWN if there is none.
func (s *Store) RevokeCluster(ctx context.Context, id string) error {
	return transact(ctx, s.db, func(tx *transaction) error {
		result, err := tx.ExecContext(ctx, `UPDATE clusters SET revoked = TRUE WHERE id = ?`, id)
		if err != nil {
			return fmt.Errorf("cannot revoke the cluster: %w", err)
		}
		if n, err := result.RowsAffected(); err == nil && n == 0 {
			return reason.Newf(reason.ClusterUnknown, "%s", id)
		}
		return tx.signal(ctx, id, s.now())
	})
}

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

// Cluster is what the store knows of a cluster.
type Cluster struct {
	ID         string           `json:"id"`
	Name       string           `json:"name"`
	Created    time.Time        `json:"created"`
	LastSeen   time.Time        `json:"last_seen,omitzero"` // of the last heartbeat
	Agent      string           `json:"agent,omitempty"`
	Kubernetes string           `json:"kubernetes,omitempty"`
	Distro     string           `json:"distro,omitempty"`
	Nodes      int              `json:"nodes"`
	Conditions []wire.Condition `json:"conditions"`
	Install    *wire.Event      `json:"install,omitempty"` // the last event of its install
	Revoked    bool             `json:"revoked,omitempty"`
	Lead       string           `json:"lead,omitempty"` // id of the machine that is sent the documents
	Term       int64            `json:"term"`           // which one it is, counted from 1
}

const clusterColumns = `c.id, c.name, c.created, c.last_seen, c.agent, c.kubernetes, c.distro, c.nodes, c.conditions, c.revoked, c.lead, c.term,
	COALESCE((SELECT body FROM events e WHERE e.cluster_id = c.id AND e.machine_id = '' ORDER BY seq DESC LIMIT 1), '')`

func scanCluster(scan func(...any) error) (Cluster, error) {
	var c Cluster
	var created, seen int64
	var conditions, event string
	err := scan(&c.ID, &c.Name, &created, &seen, &c.Agent, &c.Kubernetes, &c.Distro, &c.Nodes, &conditions, &c.Revoked, &c.Lead, &c.Term, &event)
	if err != nil {
		return c, err
	}
	c.Created, c.LastSeen = at(created), at(seen)
	if err := json.Unmarshal([]byte(conditions), &c.Conditions); err != nil {
		return c, err
	}
	if event != "" {
		c.Install = new(wire.Event)
		err = json.Unmarshal([]byte(event), c.Install)
	}
	return c, err
}

const (
	selectClusterByID   = `SELECT ` + clusterColumns + ` FROM clusters c WHERE c.id = ?`
	selectClusterByName = `SELECT ` + clusterColumns + ` FROM clusters c WHERE c.name = ?`
)

// ClusterByID returns a cluster; the error is CLUSTER_UNKNOWN if there is none.
func (s *Store) ClusterByID(ctx context.Context, id string) (Cluster, error) {
	return foundCluster(s.clusterByID.QueryRowContext(ctx, id), id)
}

// ClusterByName returns a cluster; the error is CLUSTER_UNKNOWN if there is none.
func (s *Store) ClusterByName(ctx context.Context, name string) (Cluster, error) {
	return foundCluster(s.db.QueryRowContext(ctx, selectClusterByName, name), name)
}

func foundCluster(row *sql.Row, wanted string) (Cluster, error) {
	c, err := scanCluster(row.Scan)
	if errors.Is(err, sql.ErrNoRows) {
		return c, reason.Newf(reason.ClusterUnknown, "%s", wanted)
	}
	if err != nil {
		return c, fmt.Errorf("cannot read the cluster: %w", err)
	}
	return c, nil
}

// Clusters returns all clusters by name.
func (s *Store) Clusters(ctx context.Context) ([]Cluster, error) {
	rows, err := s.db.QueryContext(ctx, `SELECT `+clusterColumns+` FROM clusters c ORDER BY c.name`)
	if err != nil {
		return nil, fmt.Errorf("cannot list the clusters: %w", err)
	}
	defer func() { _ = rows.Close() }()
	list := []Cluster{}
	for rows.Next() {
		c, err := scanCluster(rows.Scan)
		if err != nil {
			return nil, fmt.Errorf("cannot list the clusters: %w", err)
		}
		list = append(list, c)
	}
	return list, rows.Err()
}

// maxEvents is how many events are kept of each cluster, over all its machines.
const maxEvents = 1000

// AddEvents appends to the progress of a cluster's install, or, if machine is not "", of the way of a machine into it.
func (s *Store) AddEvents(ctx context.Context, id, machine string, events []wire.Event) error {
	err := transact(ctx, s.reports, func(tx *transaction) error {
		for _, e := range events {
			raw, err := json.Marshal(e)
			if err != nil {
				return err
			}
			if _, err := tx.ExecContext(ctx, `INSERT INTO events (cluster_id, machine_id, body) VALUES (?, ?, ?)`, id, machine, string(raw)); err != nil {
				return err
			}
		}
		_, err := tx.ExecContext(ctx, `DELETE FROM events WHERE cluster_id = ? AND seq <= (
			SELECT seq FROM events WHERE cluster_id = ? ORDER BY seq DESC LIMIT 1 OFFSET ?)`, id, id, maxEvents)
		return err
	})
	if err != nil {
		return fmt.Errorf("cannot store the events: %w", err)
	}
	return nil
}

// Events returns the progress of a cluster's install, or, if machine is not "", of the way of a machine into it, the oldest
// first.
func (s *Store) Events(ctx context.Context, id, machine string) ([]wire.Event, error) {
	rows, err := s.db.QueryContext(ctx, `SELECT body FROM events WHERE cluster_id = ? AND machine_id = ? ORDER BY seq`, id, machine)
	if err != nil {
		return nil, fmt.Errorf("cannot read the events: %w", err)
	}
	defer func() { _ = rows.Close() }()
	list := []wire.Event{}
	for rows.Next() {
		var body string
		var e wire.Event
		if err := rows.Scan(&body); err != nil {
			return nil, fmt.Errorf("cannot read the events: %w", err)
		}
		if err := json.Unmarshal([]byte(body), &e); err != nil {
			return nil, fmt.Errorf("cannot read the events: %w", err)
		}
		list = append(list, e)
	}
	return list, rows.Err()
}

// RemoveCluster forgets a cluster with all that belongs to it. It is no error if there is none.
func (s *Store) RemoveCluster(ctx context.Context, id string) error {
	err := transact(ctx, s.db, func(tx *transaction) error {
		if _, err := tx.ExecContext(ctx, `DELETE FROM clusters WHERE id = ?`, id); err != nil {
			return err
		}
		return tx.signal(ctx, id, s.now())
	})
	if err != nil {
		return fmt.Errorf("cannot remove the cluster: %w", err)
	}
	return nil
}

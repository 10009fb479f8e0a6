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

// Document is a desired state with what the agent says of it.
type Document struct {
	wire.Document
	Changed    time.Time        `json:"changed"`
	Observed   int64            `json:"observed_generation"`
	Conditions []wire.Condition `json:"conditions"`
}

const documentColumns = `kind, name, generation, deleted, spec, changed, observed, conditions`

func scanDocument(scan func(...any) error) (Document, error) {
	var d Document
	var spec, conditions string
	var changed int64
	if err := scan(&d.Kind, &d.Name, &d.Generation, &d.Deleted, &spec, &changed, &d.Observed, &conditions); err != nil {
		return d, err
	}
	if spec != "" {
		d.Spec = json.RawMessage(spec)
	}
	d.Changed = at(changed)
	return d, json.Unmarshal([]byte(conditions), &d.Conditions)
}

// PutDocument sets the desired state of a thing on a cluster and returns its generation, which is a new one unless the
// state was the same already.
func (s *Store) PutDocument(ctx context.Context, clusterID, kind, name string, spec json.RawMessage) (int64, error) {
	return s.setDocument(ctx, clusterID, kind, name, string(spec), false)
}

// DeleteDocument asks for the removal of a thing; its document vanishes when the agent has done it. The error is
// PROJECT_UNKNOWN if there is none.
func (s *Store) DeleteDocument(ctx context.Context, clusterID, kind, name string) (int64, error) {
	return s.setDocument(ctx, clusterID, kind, name, "", true)
}

func (s *Store) setDocument(ctx context.Context, clusterID, kind, name, spec string, deleted bool) (generation int64, err error) {
	err = transact(ctx, s.db, func(tx *transaction) error {
		var oldSpec string
		var oldDeleted bool
		err := tx.QueryRowContext(ctx, `SELECT generation, spec, deleted FROM documents WHERE cluster_id = ? AND kind = ? AND name = ?`, clusterID, kind, name).
			Scan(&generation, &oldSpec, &oldDeleted)
		switch {
		case errors.Is(err, sql.ErrNoRows) && deleted:
			return reason.Newf(reason.ProjectUnknown, "%s", name)
		case err != nil && !errors.Is(err, sql.ErrNoRows):
			return err
		case err == nil && oldDeleted == deleted && oldSpec == spec:
			return nil
		}
		err = tx.QueryRowContext(ctx, `UPDATE clusters SET generation = generation + 1 WHERE id = ? RETURNING generation`, clusterID).Scan(&generation)
		if err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, `INSERT INTO documents (cluster_id, kind, name, generation, deleted, spec, changed) VALUES (?, ?, ?, ?, ?, ?, ?)
			ON CONFLICT (cluster_id, kind, name) DO UPDATE SET
			generation = excluded.generation, deleted = excluded.deleted, spec = excluded.spec, changed = excluded.changed`,
			clusterID, kind, name, generation, deleted, spec, ms(s.now()))
		if err != nil {
			return err
		}
		return tx.signal(ctx, clusterID, s.now())
	})
	if err != nil {
		return 0, fmt.Errorf("cannot store the document: %w", err)
	}
	return generation, nil
}

// DocumentsAfter returns the documents of a cluster with a higher generation, in the order of their generations, at most
// limit of them.
func (s *Store) DocumentsAfter(ctx context.Context, clusterID string, after int64, limit int) ([]Document, error) {
	return s.documents(ctx, `cluster_id = ? AND generation > ? ORDER BY generation LIMIT ?`, clusterID, after, limit)
}

// Documents returns all documents of a kind by name.
func (s *Store) Documents(ctx context.Context, clusterID, kind string) ([]Document, error) {
	return s.documents(ctx, `cluster_id = ? AND kind = ? ORDER BY name`, clusterID, kind)
}

// Document returns a document; the error is PROJECT_UNKNOWN if there is none.
func (s *Store) Document(ctx context.Context, clusterID, kind, name string) (Document, error) {
	list, err := s.documents(ctx, `cluster_id = ? AND kind = ? AND name = ?`, clusterID, kind, name)
	if err == nil && len(list) == 0 {
		return Document{}, reason.Newf(reason.ProjectUnknown, "%s", name)
	}
	if err != nil {
		return Document{}, err
	}
	return list[0], nil
}

func (s *Store) documents(ctx context.Context, where string, args ...any) ([]Document, error) {
	rows, err := s.db.QueryContext(ctx, `SELECT `+documentColumns+` FROM documents WHERE `+where, args...)
	if err != nil {
		return nil, fmt.Errorf("cannot read the documents: %w", err)
	}
	defer func() { _ = rows.Close() }()
	list := []Document{}
	for rows.Next() {
		d, err := scanDocument(rows.Scan)
		if err != nil {
			return nil, fmt.Errorf("cannot read the documents: %w", err)
		}
		list = append(list, d)
	}
	return list, rows.Err()
}

// SetStatus stores what an agent says of a document. A report on an older generation than one already reported is
// dropped. A document whose removal is done is forgotten.
func (s *Store) SetStatus(ctx context.Context, clusterID string, st wire.Status) error {
	conditions := st.Conditions
	removed := false
	for _, c := range conditions {
		removed = removed || c.Type == "Removed" && c.Status == "True"
	}
	if conditions == nil {
		conditions = []wire.Condition{}
	}
	raw, err := json.Marshal(conditions)
	if err == nil {
		err = transact(ctx, s.reports, func(tx *transaction) error {
			if removed {
				_, err := tx.ExecContext(ctx, `DELETE FROM documents WHERE cluster_id = ? AND kind = ? AND name = ? AND deleted AND generation <= ?`,
					clusterID, st.Kind, st.Name, st.ObservedGeneration)
				if err != nil {
					return err
				}
			}
			_, err := tx.ExecContext(ctx, `UPDATE documents SET observed = ?, conditions = ?
				WHERE cluster_id = ? AND kind = ? AND name = ? AND observed <= ? AND generation >= ?`,
				st.ObservedGeneration, string(raw), clusterID, st.Kind, st.Name, st.ObservedGeneration, st.ObservedGeneration)
			return err
		})
	}
	if err != nil {
		return fmt.Errorf("cannot store the status: %w", err)
	}
	return nil
}

package store

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/reason"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

// Machine is what the store knows of a machine of a cluster.
type Machine struct {
	ID         string           `json:"id"`
	ClusterID  string           `json:"-"`
	Role       wire.Role        `json:"role"`
	Node       string           `json:"node,omitempty"` // name of its Node, once it is known
	Enrolled   bool             `json:"enrolled"`       // it made the cluster; the others joined
	Created    time.Time        `json:"created"`
	LastSeen   time.Time        `json:"last_seen,omitzero"` // of the last heartbeat
	Agent      string           `json:"agent,omitempty"`
	Conditions []wire.Condition `json:"conditions"`
	Cloned     time.Time        `json:"cloned,omitzero"` // when two processes last claimed to be it
	Epoch      int64            `json:"-"`               // of its newest process
	Key        []byte           `json:"-"`               // SHA-256 of its public key
}

// Named returns the id by which certificates and events name the machine: "" if it enrolled its cluster.
func (m Machine) Named() string {
	if m.Enrolled {
		return ""
	}
	return m.ID
}

const machineColumns = `id, cluster_id, role, node, enrolled, created, last_seen, agent, conditions, cloned, epoch, key`

func scanMachine(scan func(...any) error) (Machine, error) {
	var m Machine
	var created, seen, cloned int64
	var conditions string
	err := scan(&m.ID, &m.ClusterID, &m.Role, &m.Node, &m.Enrolled, &created, &seen, &m.Agent, &conditions, &cloned, &m.Epoch, &m.Key)
	if err != nil {
		return m, err
	}
	m.Created, m.LastSeen, m.Cloned = at(created), at(seen), at(cloned)
	return m, json.Unmarshal([]byte(conditions), &m.Conditions)
}

func addMachine(ctx context.Context, tx *transaction, m Machine) error {
	_, err := tx.ExecContext(ctx, `INSERT INTO machines (id, cluster_id, key, enrolled, role, node, created, agent) VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
		m.ID, m.ClusterID, m.Key, m.Enrolled, m.Role, m.Node, ms(m.Created), m.Agent)
	return err
}

const selectMachineByKey = `SELECT ` + machineColumns + ` FROM machines WHERE cluster_id = ? AND key = ?`

// MachineByKey returns the machine of a cluster that has a key; the error is MACHINE_UNKNOWN if there is none.
func (s *Store) MachineByKey(ctx context.Context, clusterID string, key []byte) (Machine, error) {
	m, err := scanMachine(s.machineByKey.QueryRowContext(ctx, clusterID, key).Scan)
	if errors.Is(err, sql.ErrNoRows) {
		return m, reason.Newf(reason.MachineUnknown, "the cluster %s has none with this key", clusterID)
	}
	if err != nil {
		return m, fmt.Errorf("cannot read the machine: %w", err)
	}
	return m, nil
}

// Machines returns the machines of a cluster, the oldest first.
func (s *Store) Machines(ctx context.Context, clusterID string) ([]Machine, error) {
	rows, err := s.db.QueryContext(ctx, `SELECT `+machineColumns+` FROM machines WHERE cluster_id = ? ORDER BY created, id`, clusterID)
	if err != nil {
		return nil, fmt.Errorf("cannot list the machines: %w", err)
	}
	defer func() { _ = rows.Close() }()
	list := []Machine{}
	for rows.Next() {
		m, err := scanMachine(rows.Scan)
		if err != nil {
			return nil, fmt.Errorf("cannot list the machines: %w", err)
		}
		list = append(list, m)
	}
	return list, rows.Err()
}

// RemoveMachine forgets a machine, and with the last server of a cluster the cluster and all that belongs to it: without
// a server there is none. It reports whether the cluster went. It is no error if there is no such machine.
func (s *Store) RemoveMachine(ctx context.Context, clusterID, id string) (last bool, err error) {
	err = transact(ctx, s.db, func(tx *transaction) error {
		if _, err := tx.ExecContext(ctx, `DELETE FROM machines WHERE cluster_id = ? AND id = ?`, clusterID, id); err != nil {
			return err
		}
		var servers int
		if err := tx.QueryRowContext(ctx, `SELECT COUNT(*) FROM machines WHERE cluster_id = ? AND role = ?`, clusterID, wire.RoleServer).Scan(&servers); err != nil {
			return err
		}
		if last = servers == 0; last {
			if _, err := tx.ExecContext(ctx, `DELETE FROM clusters WHERE id = ?`, clusterID); err != nil {
				return err
			}
		}
		return tx.signal(ctx, clusterID, s.now())
	})
	if err != nil {
		return false, fmt.Errorf("cannot remove the machine: %w", err)
	}
	return last, nil
}

// ErrTermMoved says that another gateway has handed a cluster over meanwhile.
var ErrTermMoved = errors.New("another gateway has decided who leads")

// SetLead makes a machine the one that is sent the documents of its cluster and returns the term, which is a new one
// unless it was that machine already. The error is MACHINE_UNKNOWN if the cluster has no such machine, and ErrTermMoved if its term is not
// the held one: of several gateways one decides.
func (s *Store) SetLead(ctx context.Context, clusterID, machine string, held int64) (term int64, err error) {
	err = transact(ctx, s.db, func(tx *transaction) error {
		err := tx.QueryRowContext(ctx, `UPDATE clusters SET term = term + CASE WHEN lead <> ?1 THEN 1 ELSE 0 END, lead = ?1
			WHERE id = ?2 AND term = ?3 AND EXISTS (SELECT 1 FROM machines WHERE cluster_id = clusters.id AND id = ?1) RETURNING term`,
			machine, clusterID, held).Scan(&term)
		if err != nil {
			return err
		}
		return tx.signal(ctx, clusterID, s.now())
	})
	if errors.Is(err, sql.ErrNoRows) {
		if c, err := s.ClusterByID(ctx, clusterID); err == nil && c.Term != held {
			return 0, ErrTermMoved
		}
		return 0, reason.Newf(reason.MachineUnknown, "%s", machine)
	}
	if err != nil {
		return 0, fmt.Errorf("cannot hand over the documents: %w", err)
	}
	return term, nil
}

// Heartbeat stores what a machine says of itself, and, if speaks, of its cluster. Facts and a node that it does not send
// stay as they are; so does a node that another machine has. Which node a machine is that joined was settled then: a worker
// that could say another one would have that removed when it leaves.
func (s *Store) Heartbeat(ctx context.Context, clusterID, machine string, speaks bool, h wire.Heartbeat) error {
	conditions := h.Conditions
	if conditions == nil {
		conditions = []wire.Condition{}
	}
	raw, err := json.Marshal(conditions)
	if err == nil {
		err = transact(ctx, s.reports, func(tx *transaction) error {
			_, err := tx.ExecContext(ctx, `UPDATE machines SET last_seen = ?1, agent = ?2, conditions = ?3,
				facts = CASE WHEN ?4 = '' THEN facts ELSE ?4 END,
				node = CASE WHEN NOT enrolled OR ?5 = '' OR EXISTS (SELECT 1 FROM machines o WHERE o.cluster_id = ?6 AND o.node = ?5 AND o.id <> ?7) THEN node ELSE ?5 END
				WHERE cluster_id = ?6 AND id = ?7`,
				ms(s.now()), h.Agent, string(raw), string(h.Facts), h.Node, clusterID, machine)
			if err != nil || !speaks {
				return err
			}
			_, err = tx.ExecContext(ctx, `UPDATE clusters SET last_seen = ?, agent = ?, kubernetes = ?, distro = ?, nodes = ?, conditions = ? WHERE id = ?`,
				ms(s.now()), h.Agent, h.Kubernetes, h.Distro, h.Nodes, string(raw), clusterID)
			return err
		})
	}
	if err != nil {
		return fmt.Errorf("cannot store the heartbeat: %w", err)
	}
	return nil
}

// Facts returns the facts that a machine last sent, nil if it sent none. An empty machine means the one that leads.
func (s *Store) Facts(ctx context.Context, clusterID, machine string) (json.RawMessage, error) {
	var facts string
	err := s.db.QueryRowContext(ctx, `SELECT m.facts FROM machines m JOIN clusters c ON c.id = m.cluster_id
		WHERE c.id = ?1 AND m.id = CASE WHEN ?2 = '' THEN c.lead ELSE ?2 END`, clusterID, machine).Scan(&facts)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return nil, fmt.Errorf("cannot read the facts: %w", err)
	}
	if facts == "" {
		return nil, nil
	}
	return json.RawMessage(facts), nil
}

const purposeNode = "node"

// AddNodeToken remembers a node token for a cluster and a role.
func (s *Store) AddNodeToken(ctx context.Context, t wire.Token, cluster Cluster, role wire.Role, life time.Duration) (Token, error) {
	mac, err := s.mac(purposeNode, t.ID, t.Secret)
	if err != nil {
		return Token{}, fmt.Errorf("cannot make the token's digest: %w", err)
	}
	now := s.now()
	_, err = s.db.ExecContext(ctx, `INSERT INTO node_tokens (id, mac, cluster_id, role, created, expires) VALUES (?, ?, ?, ?, ?, ?)`,
		t.ID, mac, cluster.ID, role, ms(now), ms(now.Add(life)))
	if err != nil {
		return Token{}, fmt.Errorf("cannot store the token: %w", err)
	}
	return Token{ID: t.ID, Cluster: cluster.Name, Role: role, Created: now.UTC(), Expires: now.Add(life).UTC()}, nil
}

// Claim is a node token in the hand of one machine, by its key: no other machine can use it from then on.
type Claim struct {
	Token     string // its id
	ClusterID string
	Cluster   string // its name
	Role      wire.Role
	Machine   string // the id that the machine gets, or has
	Again     bool   // the machine was told the way in before, as the same node
	key       []byte
}

// ClaimJoin gives a node token to a machine. The same key can claim it again until it expires. role "" means any. key is
// the SHA-256 of the machine's public key. The error is TOKEN_UNKNOWN, TOKEN_EXPIRED, TOKEN_USED, JOIN_ROLE,
// ALREADY_ENROLLED or one of the database.
func (s *Store) ClaimJoin(ctx context.Context, t wire.Token, key []byte, node string, role wire.Role) (Claim, error) {
	c := Claim{Token: t.ID, key: key}
	now := s.now()
	err := transact(ctx, s.db, func(tx *transaction) error {
		var mac, usedKey []byte
		var expires, used int64
		err := tx.QueryRowContext(ctx, `SELECT t.mac, t.cluster_id, c.name, t.role, t.expires, t.used, t.used_key, t.machine_id
			FROM node_tokens t JOIN clusters c ON c.id = t.cluster_id WHERE t.id = ?`, t.ID).
			Scan(&mac, &c.ClusterID, &c.Cluster, &c.Role, &expires, &used, &usedKey, &c.Machine)
		if errors.Is(err, sql.ErrNoRows) || err == nil && !s.matches(mac, purposeNode, t.ID, t.Secret) {
			return reason.Newf(reason.TokenUnknown, "token %s", t.ID)
		}
		if err != nil {
			return err
		}
		switch {
		case used != 0 && !bytes.Equal(usedKey, key):
			return reason.Newf(reason.TokenUsed, "token %s was used at %s, with another key", t.ID, at(used).Format(time.RFC3339))
		case ms(now) >= expires:
			return reason.Newf(reason.TokenExpired, "token %s expired at %s", t.ID, at(expires).Format(time.RFC3339))
		case role != "" && role != c.Role:
			return reason.Newf(reason.JoinRole, "token %s lets a machine become a %s of %s, and this one was told to become a %s", t.ID, c.Role, c.Cluster, role)
		}
		held, err := scanMachine(tx.QueryRowContext(ctx, `SELECT `+machineColumns+` FROM machines WHERE cluster_id = ? AND key = ?`, c.ClusterID, key).Scan)
		switch {
		case errors.Is(err, sql.ErrNoRows):
		case err != nil:
			return err
		case held.Enrolled:
			return reason.Newf(reason.AlreadyEnrolled, "it made the cluster %s", c.Cluster)
		default: // it joined before, by this token or by another one
			c.Machine, c.Again = held.ID, held.Node == node
		}
		if c.Machine == "" {
			c.Machine = newID()
		}
		if used == 0 {
			used = ms(now)
		}
		_, err = tx.ExecContext(ctx, `UPDATE node_tokens SET used = ?, used_key = ?, machine_id = ? WHERE id = ?`, used, key, c.Machine, t.ID)
		return err
	})
	if err != nil {
		return Claim{}, fmt.Errorf("cannot join: %w", err)
	}
	return c, nil
}

// ReleaseJoin gives a token back that a machine has claimed and could do nothing with. One by which a machine has joined
// stays used.
func (s *Store) ReleaseJoin(ctx context.Context, c Claim) error {
	_, err := s.db.ExecContext(ctx, `UPDATE node_tokens SET used = 0, used_key = NULL, machine_id = ''
		WHERE id = ? AND used_key = ? AND NOT EXISTS (SELECT 1 FROM machines WHERE id = ?)`, c.Token, c.key, c.Machine)
	if err != nil {
		return fmt.Errorf("cannot give the token back: %w", err)
	}
	return nil
}

// CompleteJoin records the machine that holds a claim. The error is TOKEN_USED if it holds it no longer, JOIN_NAME_TAKEN if
// another machine of the cluster has the name, or one of the database.
func (s *Store) CompleteJoin(ctx context.Context, c Claim, node, agent string) error {
	now := s.now()
	err := transact(ctx, s.db, func(tx *transaction) error {
		var held int
		err := tx.QueryRowContext(ctx, `SELECT COUNT(*) FROM node_tokens WHERE id = ? AND used_key = ? AND machine_id = ?`, c.Token, c.key, c.Machine).Scan(&held)
		if err != nil {
			return err
		}
		if held == 0 {
			return reason.Newf(reason.TokenUsed, "token %s was given back or revoked meanwhile", c.Token)
		}
		var taken int
		err = tx.QueryRowContext(ctx, `SELECT COUNT(*) FROM machines WHERE cluster_id = ? AND node = ? AND id <> ?`, c.ClusterID, node, c.Machine).Scan(&taken)
		if err != nil {
			return err
		}
		if taken > 0 {
			return reason.Newf(reason.JoinNameTaken, "another machine of %s is the node %s", c.Cluster, node)
		}
		result, err := tx.ExecContext(ctx, `UPDATE machines SET role = ?, node = ?, agent = ? WHERE id = ? AND cluster_id = ? AND key = ?`, c.Role, node, agent, c.Machine, c.ClusterID, c.key)
		if err != nil {
			return err
		}
		if n, err := result.RowsAffected(); err != nil || n > 0 {
			return err
		}
		return addMachine(ctx, tx, Machine{ID: c.Machine, ClusterID: c.ClusterID, Key: c.key, Role: c.Role, Node: node, Created: now, Agent: agent})
	})
	if err != nil {
		return fmt.Errorf("cannot record the machine: %w", err)
	}
	return nil
}

package store

import (
	"bytes"
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/reason"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

const purposeJoin = "join"

// Token is what the store knows of a join token or a node token; the secret is not part of it.
type Token struct {
	ID      string    `json:"id"`
	Cluster string    `json:"cluster,omitempty"` // the only name that may enrol with it, if not empty; of a node token the cluster
	Role    wire.Role `json:"role,omitempty"`    // of a node token: what its machine becomes
	Created time.Time `json:"created"`
	Expires time.Time `json:"expires"`
	Used    time.Time `json:"used,omitzero"`
	UsedBy  string    `json:"used_by,omitempty"` // name of the cluster; of a node token the node
}

// AddToken remembers a join token.
func (s *Store) AddToken(ctx context.Context, t wire.Token, cluster string, life time.Duration) (Token, error) {
	mac, err := s.mac(purposeJoin, t.ID, t.Secret)
	if err != nil {
		return Token{}, fmt.Errorf("cannot make the token's digest: %w", err)
	}
	now := s.now()
	_, err = s.db.ExecContext(ctx, `INSERT INTO tokens (id, mac, cluster, created, expires) VALUES (?, ?, ?, ?, ?)`,
		t.ID, mac, cluster, ms(now), ms(now.Add(life)))
	if err != nil {
		return Token{}, fmt.Errorf("cannot store the token: %w", err)
	}
	return Token{ID: t.ID, Cluster: cluster, Created: now.UTC(), Expires: now.Add(life).UTC()}, nil
}

// Tokens returns all join tokens and node tokens, the newest first.
func (s *Store) Tokens(ctx context.Context) ([]Token, error) {
	rows, err := s.db.QueryContext(ctx, `SELECT t.id, t.cluster, '', t.created AS made, t.expires, t.used, COALESCE(c.name, '')
		FROM tokens t LEFT JOIN clusters c ON c.id = t.used_cluster_id
		UNION ALL SELECT t.id, c.name, t.role, t.created, t.expires, t.used, COALESCE(m.node, '')
		FROM node_tokens t JOIN clusters c ON c.id = t.cluster_id LEFT JOIN machines m ON m.id = t.machine_id ORDER BY made DESC`)
	if err != nil {
		return nil, fmt.Errorf("cannot list the tokens: %w", err)
	}
	defer func() { _ = rows.Close() }()
	list := []Token{}
	for rows.Next() {
		var t Token
		var created, expires, used int64
		if err := rows.Scan(&t.ID, &t.Cluster, &t.Role, &created, &expires, &used, &t.UsedBy); err != nil {
			return nil, fmt.Errorf("cannot list the tokens: %w", err)
		}
		t.Created, t.Expires, t.Used = at(created), at(expires), at(used)
		list = append(list, t)
	}
	return list, rows.Err()
}

// RevokeToken forgets a join token or a node token, so that nobody can use it, again or at all; a machine that has used it
// keeps its certificate. The error is TOKEN_UNKNOWN if there is none.
func (s *Store) RevokeToken(ctx context.Context, id string) error {
	err := transact(ctx, s.db, func(tx *transaction) error {
		var gone int64
		for _, statement := range []string{`DELETE FROM tokens WHERE id = ?`, `DELETE FROM node_tokens WHERE id = ?`} {
			result, err := tx.ExecContext(ctx, statement, id)
			if err != nil {
				return err
			}
			n, err := result.RowsAffected()
			if err != nil {
				return err
			}
			gone += n
		}
		if gone == 0 {
			return reason.Newf(reason.TokenUnknown, "%.40q", id)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("cannot revoke the token: %w", err)
	}
	return nil
}

// Enrolled is the outcome of an enrolment.
type Enrolled struct {
	ID       string // of the cluster
	Machine  string // id of the machine
	Replaced bool   // the machine had another key, whose session must end
}

// Enroll uses up a token for a cluster, makes the cluster or gives it a new key, all or nothing. The same token with the
// same key and name succeeds again until the token expires. key is the SHA-256 of the machine's public key. The error is
// TOKEN_UNKNOWN, TOKEN_EXPIRED, TOKEN_USED, CLUSTER_NAME_TAKEN, GATEWAY_REFUSED or one of the database.
func (s *Store) Enroll(ctx context.Context, t wire.Token, cluster string, key []byte, agent string) (Enrolled, error) {
	var out Enrolled
	now := s.now()
	err := transact(ctx, s.db, func(tx *transaction) error {
		var mac, usedKey []byte
		var bound, usedID string
		var expires, used int64
		err := tx.QueryRowContext(ctx, `SELECT mac, cluster, expires, used, used_cluster_id, used_key FROM tokens WHERE id = ?`, t.ID).
			Scan(&mac, &bound, &expires, &used, &usedID, &usedKey)
		if errors.Is(err, sql.ErrNoRows) || err == nil && !s.matches(mac, purposeJoin, t.ID, t.Secret) {
			return reason.Newf(reason.TokenUnknown, "token %s", t.ID)
		}
		if err != nil {
			return err
		}
		again := used != 0 && bytes.Equal(usedKey, key)
		switch {
		case used != 0 && !again:
			return reason.Newf(reason.TokenUsed, "token %s was used at %s, with another key", t.ID, at(used).Format(time.RFC3339))
		case ms(now) >= expires:
			return reason.Newf(reason.TokenExpired, "token %s expired at %s", t.ID, at(expires).Format(time.RFC3339))
		case bound != "" && bound != cluster:
			return reason.Newf(reason.GatewayRefused, "token %s is for the cluster %s, not %s", t.ID, bound, cluster)
		}
		var oldKey []byte
		var revoked bool
		var others int
		err = tx.QueryRowContext(ctx, `SELECT c.id, c.revoked, COALESCE(m.id, ''), COALESCE(m.key, ''),
			(SELECT COUNT(*) FROM machines o WHERE o.cluster_id = c.id AND NOT o.enrolled)
			FROM clusters c LEFT JOIN machines m ON m.cluster_id = c.id AND m.enrolled WHERE c.name = ?`, cluster).
			Scan(&out.ID, &revoked, &out.Machine, &oldKey, &others)
		switch {
		case errors.Is(err, sql.ErrNoRows) && !again:
			out.ID, out.Machine = newID(), newID()
			_, err = tx.ExecContext(ctx, `INSERT INTO clusters (id, name, created, agent, lead) VALUES (?, ?, ?, ?, ?)`, out.ID, cluster, ms(now), agent, out.Machine)
			if err == nil {
				err = addMachine(ctx, tx, Machine{ID: out.Machine, ClusterID: out.ID, Key: key, Enrolled: true, Role: wire.RoleServer, Created: now, Agent: agent})
			}
		case errors.Is(err, sql.ErrNoRows), err == nil && again && out.ID != usedID:
			return reason.Newf(reason.TokenUsed, "token %s was used for another cluster name", t.ID)
		case err != nil:
		case again && !bytes.Equal(oldKey, key):
			return reason.Newf(reason.TokenUsed, "the cluster %s has another key since", cluster)
		case revoked && (bound == "" || again):
			return reason.Newf(reason.IdentityRevoked, "%s", cluster)
		case bytes.Equal(oldKey, key):
			_, err = tx.ExecContext(ctx, `UPDATE clusters SET revoked = FALSE WHERE id = ?`, out.ID)
		case bound == "":
			return reason.Newf(reason.ClusterNameTaken, "%s", cluster)
		case others > 0: // a new cluster would take the name of one that goes on without this machine
			return reason.Newf(reason.ClusterNameTaken, "%s goes on with the %d machines that joined it", cluster, others)
		default:
			out.Replaced = true
			_, err = tx.ExecContext(ctx, `UPDATE clusters SET revoked = FALSE, agent = ? WHERE id = ?`, agent, out.ID)
			if err == nil {
				_, err = tx.ExecContext(ctx, `UPDATE machines SET key = ?, agent = ?, node = '', facts = '' WHERE id = ?`, key, agent, out.Machine)
			}
		}
		if err != nil || again {
			return err
		}
		if out.Replaced {
			if err := tx.signal(ctx, out.ID, now); err != nil {
				return err
			}
		}
		_, err = tx.ExecContext(ctx, `UPDATE tokens SET used = ?, used_cluster_id = ?, used_key = ? WHERE id = ?`, ms(now), out.ID, key, t.ID)
		return err
	})
	if err != nil {
		return Enrolled{}, fmt.Errorf("cannot enrol: %w", err)
	}
	return out, nil
}

func newID() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails: it ends the process instead
	return hex.EncodeToString(b[:])
}

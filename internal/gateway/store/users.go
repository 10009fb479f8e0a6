package store

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

const (
	purposeUser     = "user"
	userTokenPrefix = "put_"
)

// User is somebody who may use clusters.
type User struct {
	Name    string    `json:"name"`
	Groups  []string  `json:"groups"` // as Kubernetes will see them, prefix included
	Created time.Time `json:"created"`
	Tokens  int       `json:"tokens"` // that have not expired
}

// Grant is what a user token allows.
type Grant struct {
	ID        string // by which another gateway finds it
	User      string
	Groups    []string
	ClusterID string
	Cluster   string    // its name
	LastSeen  time.Time // of its agent
}

// AddUserToken makes a token by which a user may use one cluster, and the user if there is none of that name. It returns
// the whole token, put_<id>.<secret>, which nobody can ask for again.
func (s *Store) AddUserToken(ctx context.Context, user string, groups []string, clusterID string, life time.Duration) (string, time.Time, error) {
	var b [32]byte
	_, _ = rand.Read(b[:]) // never fails: it ends the process instead
	id, secret := newID(), base64.RawURLEncoding.EncodeToString(b[:])
	mac, err := s.mac(purposeUser, id, secret)
	if err != nil {
		return "", time.Time{}, fmt.Errorf("cannot make the token's digest: %w", err)
	}
	list, err := json.Marshal(groups)
	if err != nil {
		return "", time.Time{}, fmt.Errorf("cannot store the user: %w", err)
	}
	now := s.now()
	expires := now.Add(life)
	err = transact(ctx, s.db, func(tx *transaction) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO users (name, groups, created) VALUES (?, ?, ?) ON CONFLICT (name) DO NOTHING`, user, string(list), ms(now))
		if err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, `INSERT INTO user_tokens (id, "user", cluster_id, mac, created, expires) VALUES (?, ?, ?, ?, ?, ?)`,
			id, user, clusterID, mac, ms(now), ms(expires))
		return err
	})
	if err != nil {
		return "", time.Time{}, fmt.Errorf("cannot store the user token: %w", err)
	}
	return userTokenPrefix + id + "." + secret, expires.UTC(), nil
}

const selectGrant = `SELECT t.mac, t.expires, u.name, u.groups, c.id, c.name, c.last_seen
	FROM user_tokens t JOIN users u ON u.name = t."user" JOIN clusters c ON c.id = t.cluster_id WHERE t.id = ?`

// Authenticate returns what a user token allows; the error is USER_REFUSED and does not tell why.
func (s *Store) Authenticate(ctx context.Context, token string) (Grant, error) {
	refused := reason.Newf(reason.UserRefused, "it is unknown or has expired")
	rest, ok := strings.CutPrefix(token, userTokenPrefix)
	id, secret, ok2 := strings.Cut(rest, ".")
	if !ok || !ok2 || len(id) > 64 || len(secret) > 128 {
		return Grant{}, refused
	}
	g, mac, err := s.granted(ctx, id)
	if errors.Is(err, sql.ErrNoRows) || err == nil && !s.matches(mac, purposeUser, id, secret) {
		return Grant{}, refused
	}
	if err != nil {
		return Grant{}, fmt.Errorf("cannot check the user token: %w", err)
	}
	return g, nil
}

// granted returns a grant that has not ended, and the digest of its secret. The error is sql.ErrNoRows if there is none.
func (s *Store) granted(ctx context.Context, id string) (Grant, []byte, error) {
	g := Grant{ID: id}
	var mac []byte
	var groups string
	var expires, seen int64
	err := s.grant.QueryRowContext(ctx, id).Scan(&mac, &expires, &g.User, &groups, &g.ClusterID, &g.Cluster, &seen)
	if err == nil && ms(s.now()) >= expires {
		err = sql.ErrNoRows
	}
	if err != nil {
		return Grant{}, nil, err
	}
	g.LastSeen = at(seen)
	return g, mac, json.Unmarshal([]byte(groups), &g.Groups)
}

// GrantByID returns the grant by which another gateway says that it asks; that one has checked the secret. The error is USER_REFUSED
// if it is unknown or has ended.
func (s *Store) GrantByID(ctx context.Context, id string) (Grant, error) {
	if len(id) > 64 {
		id = ""
	}
	g, _, err := s.granted(ctx, id)
	if errors.Is(err, sql.ErrNoRows) {
		return Grant{}, reason.Newf(reason.UserRefused, "it is unknown or has expired")
	}
	if err != nil {
		return Grant{}, fmt.Errorf("cannot check the grant: %w", err)
	}
	return g, nil
}

// Permit makes a grant that has no secret: a gateway asks by it for its own administrator, and another gateway finds it here. Those of
// the cluster and the user that have ended go.
func (s *Store) Permit(ctx context.Context, user string, groups []string, clusterID string, life time.Duration) (string, error) {
	list, err := json.Marshal(groups)
	if err != nil {
		return "", fmt.Errorf("cannot store the permit: %w", err)
	}
	id, now := newID(), s.now()
	err = transact(ctx, s.db, func(tx *transaction) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO users (name, groups, created) VALUES (?, ?, ?) ON CONFLICT (name) DO NOTHING`, user, string(list), ms(now))
		if err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, `DELETE FROM user_tokens WHERE "user" = ? AND cluster_id = ? AND mac = ? AND expires < ?`, user, clusterID, []byte{}, ms(now))
		if err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, `INSERT INTO user_tokens (id, "user", cluster_id, mac, created, expires) VALUES (?, ?, ?, ?, ?, ?)`,
			id, user, clusterID, []byte{}, ms(now), ms(now.Add(life)))
		return err
	})
	if err != nil {
		return "", fmt.Errorf("cannot store the permit: %w", err)
	}
	return id, nil
}

// Users returns all users by name.
func (s *Store) Users(ctx context.Context) ([]User, error) {
	rows, err := s.db.QueryContext(ctx, `SELECT u.name, u.groups, u.created,
		(SELECT COUNT(*) FROM user_tokens t WHERE t."user" = u.name AND t.expires > ?) FROM users u ORDER BY u.name`, ms(s.now()))
	if err != nil {
		return nil, fmt.Errorf("cannot list the users: %w", err)
	}
	defer func() { _ = rows.Close() }()
	list := []User{}
	for rows.Next() {
		var u User
		var groups string
		var created int64
		if err := rows.Scan(&u.Name, &groups, &created, &u.Tokens); err != nil {
			return nil, fmt.Errorf("cannot list the users: %w", err)
		}
		u.Created = at(created)
		if err := json.Unmarshal([]byte(groups), &u.Groups); err != nil {
			return nil, fmt.Errorf("cannot list the users: %w", err)
		}
		list = append(list, u)
	}
	return list, rows.Err()
}

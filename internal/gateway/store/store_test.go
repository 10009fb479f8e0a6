package store

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/gateway/postgrestest"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

// clock is a clock that the test moves.
type clock struct{ at time.Time }

func (c *clock) now() time.Time { return c.at }

func open(t *testing.T) (*Store, *clock, string) {
	t.Helper()
	dir := t.TempDir()
	c := &clock{time.Unix(1_800_000_000, 0)}
	s := reopen(t, c, dir)
	t.Cleanup(func() { _ = s.Close() })
	return s, c, dir
}

// reopen opens the store of a folder: in a file there, or, if this process is told one, in a PostgreSQL in a place that is noted there.
func reopen(t *testing.T, c *clock, dir string) *Store {
	t.Helper()
	s, err := tryOpen(t, c, dir)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func tryOpen(t *testing.T, c *clock, dir string) (*Store, error) {
	t.Helper()
	base := os.Getenv(postgrestest.Variable)
	if base == "" {
		return Open(t.Context(), dir, c.now)
	}
	note := filepath.Join(dir, "address")
	address, err := os.ReadFile(note)
	if err != nil {
		address = []byte(postgrestest.Schema(t, base))
		if err := os.WriteFile(note, address, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return OpenShared(t.Context(), dir, string(address), c.now)
}

// TestPostgres runs all tests of this package with PostgreSQL.
func TestPostgres(t *testing.T) { postgrestest.Run(t, "^TestPostgres$") }

func add(t *testing.T, s *Store, cluster string) wire.Token {
	t.Helper()
	token := wire.NewToken([]byte("ca"))
	if _, err := s.AddToken(t.Context(), token, cluster, time.Hour); err != nil {
		t.Fatal(err)
	}
	return token
}

func TestATokenIsUsedOnceHoweverManyCome(t *testing.T) {
	s, _, _ := open(t)
	token := add(t, s, "")
	var all sync.WaitGroup
	var mu sync.Mutex
	won, lost := 0, 0
	for i := range 20 {
		all.Go(func() {
			_, err := s.Enroll(context.Background(), token, fmt.Sprintf("c%d", i), []byte{byte(i)}, "v1")
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				won++
			case reason.Is(err, reason.TokenUsed):
				lost++
			default:
				t.Error(err)
			}
		})
	}
	all.Wait()
	if won != 1 || lost != 19 {
		t.Errorf("%d enrolled, %d were refused", won, lost)
	}
	if list, err := s.Clusters(t.Context()); err != nil || len(list) != 1 {
		t.Errorf("%d clusters, %v", len(list), err)
	}
}

func TestEnrollDecisions(t *testing.T) {
	s, c, _ := open(t)
	key, other := []byte("key"), []byte("other")
	first := add(t, s, "")
	e, err := s.Enroll(t.Context(), first, "shop", key, "v1")
	if err != nil {
		t.Fatal(err)
	}
	bound := add(t, s, "shop")
	steps := []struct {
		name    string
		token   wire.Token
		cluster string
		key     []byte
		want    reason.Code // "" means success
	}{
		{"again", first, "shop", key, ""},
		{"same machine, new token", add(t, s, ""), "shop", key, ""},
		{"another machine", add(t, s, ""), "shop", other, reason.ClusterNameTaken},
		{"another machine, the used token", first, "shop", other, reason.TokenUsed},
		{"another name, the used token", first, "shop2", key, reason.TokenUsed},
		{"bound, another name", bound, "shop2", other, reason.GatewayRefused},
		{"bound, another machine", bound, "shop", other, ""},
		{"bound, repeated", bound, "shop", other, ""},
		{"the first machine comes back", first, "shop", key, reason.TokenUsed},
	}
	for _, st := range steps {
		got, err := s.Enroll(t.Context(), st.token, st.cluster, st.key, "v1")
		switch {
		case st.want == "" && err != nil, st.want != "" && !reason.Is(err, st.want):
			t.Errorf("%s: got %v, want %q", st.name, err, st.want)
		case err == nil && got.ID != e.ID:
			t.Errorf("%s: another cluster", st.name)
		}
	}
	late := add(t, s, "")
	c.at = c.at.Add(time.Hour)
	if _, err := s.Enroll(t.Context(), late, "late", key, "v1"); !reason.Is(err, reason.TokenExpired) {
		t.Errorf("expired: %v", err)
	}
	if _, err := s.Enroll(t.Context(), first, "shop", key, "v1"); !reason.Is(err, reason.TokenExpired) && !reason.Is(err, reason.TokenUsed) {
		t.Errorf("repeated after its end: %v", err)
	}
}

func TestSecretsAreNotInTheFiles(t *testing.T) {
	s, _, dir := open(t)
	token := add(t, s, "")
	e, err := s.Enroll(t.Context(), token, "shop", []byte("key"), "v1")
	if err != nil {
		t.Fatal(err)
	}
	user, _, err := s.AddUserToken(t.Context(), "alice", []string{wire.GroupAdmins}, e.ID, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	_, secret, _ := strings.Cut(user, ".")
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(files) < 2 {
		t.Fatalf("%v, %v", files, err)
	}
	for _, f := range files {
		raw, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(raw, []byte(token.Secret)) || bytes.Contains(raw, []byte(secret)) {
			t.Errorf("%s holds a secret", f)
		}
		if info, err := os.Stat(f); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s is %v, %v", f, info.Mode(), err)
		}
	}
}

func TestUserTokens(t *testing.T) {
	s, c, _ := open(t)
	e, err := s.Enroll(t.Context(), add(t, s, ""), "shop", []byte("key"), "v1")
	if err != nil {
		t.Fatal(err)
	}
	token, _, err := s.AddUserToken(t.Context(), "alice", []string{wire.GroupAdmins}, e.ID, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	g, err := s.Authenticate(t.Context(), token)
	if err != nil || g.User != "alice" || g.Cluster != "shop" || g.ClusterID != e.ID || len(g.Groups) != 1 {
		t.Errorf("got %+v, %v", g, err)
	}
	id, secret, _ := strings.Cut(token, ".")
	for _, bad := range []string{"", "put_", "put_.", token + "x", id + ".", "." + secret, strings.ToUpper(token), "pat_" + strings.TrimPrefix(token, "put_"), id + "' OR 1=1 --." + secret} {
		if _, err := s.Authenticate(t.Context(), bad); !reason.Is(err, reason.UserRefused) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	c.at = c.at.Add(time.Hour)
	if _, err := s.Authenticate(t.Context(), token); !reason.Is(err, reason.UserRefused) {
		t.Errorf("expired: %v", err)
	}
}

func TestDocuments(t *testing.T) {
	s, _, _ := open(t)
	e, err := s.Enroll(t.Context(), add(t, s, ""), "shop", []byte("key"), "v1")
	if err != nil {
		t.Fatal(err)
	}
	put := func(name, spec string) int64 {
		t.Helper()
		g, err := s.PutDocument(t.Context(), e.ID, "Project", name, json.RawMessage(spec))
		if err != nil {
			t.Fatal(err)
		}
		return g
	}
	status := func(name string, generation int64, kind string) {
		t.Helper()
		err := s.SetStatus(t.Context(), e.ID, wire.Status{Kind: "Project", Name: name, ObservedGeneration: generation, Conditions: []wire.Condition{{Type: kind, Status: "True"}}})
		if err != nil {
			t.Fatal(err)
		}
	}
	put("a", `{"v":1}`)
	put("b", `{"v":1}`)
	if g := put("a", `{"v":1}`); g != 1 {
		t.Errorf("the same again is generation %d", g)
	}
	if g := put("a", `{"v":2}`); g != 3 {
		t.Errorf("generation %d", g)
	}
	list, err := s.DocumentsAfter(t.Context(), e.ID, 0, 10)
	if err != nil || len(list) != 2 || list[0].Name != "b" || list[1].Generation != 3 || string(list[1].Spec) != `{"v":2}` {
		t.Errorf("got %+v, %v", list, err)
	}
	if list, err := s.DocumentsAfter(t.Context(), e.ID, 2, 10); err != nil || len(list) != 1 {
		t.Errorf("got %+v, %v", list, err)
	}
	status("a", 3, "Available")
	status("a", 1, "Stale")
	status("a", 99, "FromTheFuture")
	d, err := s.Document(t.Context(), e.ID, "Project", "a")
	if err != nil || d.Observed != 3 || d.Conditions[0].Type != "Available" {
		t.Errorf("got %+v, %v", d, err)
	}
	gone, err := s.DeleteDocument(t.Context(), e.ID, "Project", "a")
	if err != nil || gone != 4 {
		t.Errorf("deleted as %d, %v", gone, err)
	}
	status("a", 3, "Removed") // of an older generation: it does not count
	if d, err := s.Document(t.Context(), e.ID, "Project", "a"); err != nil || !d.Deleted {
		t.Errorf("got %+v, %v", d, err)
	}
	status("a", 4, "Removed")
	if _, err := s.Document(t.Context(), e.ID, "Project", "a"); !reason.Is(err, reason.ProjectUnknown) {
		t.Errorf("got %v", err)
	}
	if g := put("a", `{"v":2}`); g != 5 {
		t.Errorf("made anew as %d", g)
	}
}

func TestEventsAreBounded(t *testing.T) {
	s, _, _ := open(t)
	e, err := s.Enroll(t.Context(), add(t, s, ""), "shop", []byte("key"), "v1")
	if err != nil {
		t.Fatal(err)
	}
	batch := make([]wire.Event, maxEvents+10)
	for i := range batch {
		batch[i] = wire.Event{Kind: "step", Step: fmt.Sprint(i)}
	}
	if err := s.AddEvents(t.Context(), e.ID, "", batch); err != nil {
		t.Fatal(err)
	}
	list, err := s.Events(t.Context(), e.ID, "")
	if err != nil || len(list) != maxEvents || list[0].Step != "10" {
		t.Errorf("%d events, the first %+v, %v", len(list), list[0], err)
	}
	c, err := s.ClusterByName(t.Context(), "shop")
	if err != nil || c.Install == nil || c.Install.Step != fmt.Sprint(maxEvents+9) {
		t.Errorf("got %+v, %v", c.Install, err)
	}
}

func TestStoreSurvivesAndRefusesANewerForm(t *testing.T) {
	s, c, dir := open(t)
	token := add(t, s, "")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = reopen(t, c, dir)
	if _, err := s.Enroll(t.Context(), token, "shop", []byte("key"), "v1"); err != nil {
		t.Errorf("after a restart: %v", err)
	}
	if err := transact(t.Context(), s.db, func(tx *transaction) error { return tx.setForm(t.Context(), 99) }); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if s, err := tryOpen(t, c, dir); err == nil {
		_ = s.Close()
		t.Error("a newer store is opened")
	}
}

package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/reason"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

func cluster(t *testing.T, s *Store, name string) Cluster {
	t.Helper()
	if _, err := s.Enroll(t.Context(), add(t, s, ""), name, []byte("first of "+name), "v1"); err != nil {
		t.Fatal(err)
	}
	c, err := s.ClusterByName(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func addNode(t *testing.T, s *Store, c Cluster, role wire.Role) wire.Token {
	t.Helper()
	token := wire.NewNodeToken([]byte("ca"))
	if _, err := s.AddNodeToken(t.Context(), token, c, role, time.Hour); err != nil {
		t.Fatal(err)
	}
	return token
}

// joined makes a machine a member.
func joined(t *testing.T, s *Store, c Cluster, role wire.Role, node string) Machine {
	t.Helper()
	claim, err := s.ClaimJoin(t.Context(), addNode(t, s, c, role), []byte(node), node, "")
	if err == nil {
		err = s.CompleteJoin(t.Context(), claim, node, "v1")
	}
	if err != nil {
		t.Fatal(err)
	}
	m, err := s.MachineByKey(t.Context(), c.ID, []byte(node))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestANodeTokenIsOneMachinesHoweverManyCome(t *testing.T) {
	s, _, _ := open(t)
	c := cluster(t, s, "shop")
	token := addNode(t, s, c, wire.RoleWorker)
	var all sync.WaitGroup
	var mu sync.Mutex
	won, lost := 0, 0
	for i := range 20 {
		all.Go(func() {
			node := fmt.Sprintf("n%d", i)
			claim, err := s.ClaimJoin(context.Background(), token, []byte{byte(i)}, node, "")
			if err == nil {
				err = s.CompleteJoin(context.Background(), claim, node, "v1")
			}
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
	if list, err := s.Machines(t.Context(), c.ID); err != nil || won != 1 || lost != 19 || len(list) != 2 {
		t.Errorf("%d joined, %d were refused; %+v, %v", won, lost, list, err)
	}
}

func TestClaimDecisions(t *testing.T) {
	s, clock, _ := open(t)
	c := cluster(t, s, "shop")
	token := addNode(t, s, c, wire.RoleWorker)
	key, other := []byte("key"), []byte("other")
	forged := token
	forged.Secret = wire.NewToken(nil).Secret

	first, err := s.ClaimJoin(t.Context(), token, key, "two", wire.RoleWorker)
	if err != nil || first.Again || first.Cluster != "shop" || first.ClusterID != c.ID || first.Role != wire.RoleWorker || !wire.ValidID(first.Machine) {
		t.Fatalf("%+v, %v", first, err)
	}
	steps := []struct {
		name  string
		token wire.Token
		key   []byte
		role  wire.Role
		want  reason.Code
	}{
		{"cut, and repeated", token, key, "", ""},
		{"another machine", token, other, "", reason.TokenUsed},
		{"wrong secret", forged, key, "", reason.TokenUnknown},
		{"unknown", wire.NewNodeToken(nil), key, "", reason.TokenUnknown},
		{"another role", addNode(t, s, c, wire.RoleServer), other, wire.RoleWorker, reason.JoinRole},
		{"the machine that made the cluster", addNode(t, s, c, wire.RoleServer), []byte("first of shop"), "", reason.AlreadyEnrolled},
	}
	for _, st := range steps {
		got, err := s.ClaimJoin(t.Context(), st.token, st.key, "two", st.role)
		switch {
		case st.want == "" && err != nil, st.want != "" && !reason.Is(err, st.want):
			t.Errorf("%s: got %v, want %q", st.name, err, st.want)
		case err == nil && (got.Machine != first.Machine || got.Again):
			t.Errorf("%s: %+v", st.name, got)
		}
	}

	// given back, it is anybody's; and who had it can do nothing with it any more
	if err := s.ReleaseJoin(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	second, err := s.ClaimJoin(t.Context(), token, other, "two", "")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.CompleteJoin(t.Context(), first, "two", "v1"); !reason.Is(err, reason.TokenUsed) {
		t.Errorf("the one who gave it back joins: %v", err)
	}
	if err := s.CompleteJoin(t.Context(), second, "two", "v1"); err != nil {
		t.Fatal(err)
	}
	// one by which a machine has joined is not given back, and tells that machine the way again
	if err := s.ReleaseJoin(t.Context(), second); err != nil {
		t.Fatal(err)
	}
	if _, err := s.ClaimJoin(t.Context(), token, key, "two", ""); !reason.Is(err, reason.TokenUsed) {
		t.Errorf("given back after all: %v", err)
	}
	if got, err := s.ClaimJoin(t.Context(), token, other, "two", ""); err != nil || !got.Again || got.Machine != second.Machine {
		t.Errorf("%+v, %v", got, err)
	}
	if got, err := s.ClaimJoin(t.Context(), token, other, "two-again", ""); err != nil || got.Again {
		t.Errorf("a Node of another name is not its own: %+v, %v", got, err)
	}
	claim, err := s.ClaimJoin(t.Context(), addNode(t, s, c, wire.RoleWorker), []byte("third"), "two", "")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.CompleteJoin(t.Context(), claim, "two", "v1"); !reason.Is(err, reason.JoinNameTaken) {
		t.Errorf("two machines are one node: %v", err)
	}
	clock.at = clock.at.Add(time.Hour)
	if _, err := s.ClaimJoin(t.Context(), token, other, "two", ""); !reason.Is(err, reason.TokenExpired) {
		t.Errorf("after its end: %v", err)
	}
	// a machine that joins again, by another token, is the same machine
	if got, err := s.ClaimJoin(t.Context(), addNode(t, s, c, wire.RoleServer), other, "two", ""); err != nil || !got.Again || got.Machine != second.Machine {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestTokensAreListedAndRevoked(t *testing.T) {
	s, _, _ := open(t)
	c := cluster(t, s, "shop")
	token := addNode(t, s, c, wire.RoleServer)
	list, err := s.Tokens(t.Context())
	if err != nil || len(list) != 2 {
		t.Fatalf("%+v, %v", list, err)
	}
	for _, l := range list {
		if l.ID == token.ID && (l.Cluster != "shop" || l.Role != wire.RoleServer || !l.Used.IsZero()) {
			t.Errorf("%+v", l)
		}
		if err := s.RevokeToken(t.Context(), l.ID); err != nil {
			t.Error(err)
		}
		if err := s.RevokeToken(t.Context(), l.ID); !reason.Is(err, reason.TokenUnknown) {
			t.Errorf("twice: %v", err)
		}
	}
	if _, err := s.ClaimJoin(t.Context(), token, []byte("k"), "two", ""); !reason.Is(err, reason.TokenUnknown) {
		t.Errorf("revoked: %v", err)
	}
}

func TestTheLastServerTakesTheClusterAlong(t *testing.T) {
	s, _, _ := open(t)
	c := cluster(t, s, "shop")
	worker, server := joined(t, s, c, wire.RoleWorker, "w"), joined(t, s, c, wire.RoleServer, "s")
	first, err := s.MachineByKey(t.Context(), c.ID, []byte("first of shop"))
	if err != nil || !first.Enrolled || c.Lead != first.ID || c.Term != 1 {
		t.Fatalf("%+v, %+v, %v", first, c, err)
	}
	if last, err := s.RemoveMachine(t.Context(), c.ID, first.ID); err != nil || last {
		t.Errorf("%t, %v", last, err)
	}
	// a new machine cannot take the name of what goes on
	if _, err := s.Enroll(t.Context(), add(t, s, "shop"), "shop", []byte("new"), "v1"); !reason.Is(err, reason.ClusterNameTaken) {
		t.Errorf("%v", err)
	}
	if term, err := s.SetLead(t.Context(), c.ID, server.ID, 1); err != nil || term != 2 {
		t.Errorf("term %d, %v", term, err)
	}
	if term, err := s.SetLead(t.Context(), c.ID, server.ID, 2); err != nil || term != 2 {
		t.Errorf("again: term %d, %v", term, err)
	}
	if _, err := s.SetLead(t.Context(), c.ID, first.ID, 2); !reason.Is(err, reason.MachineUnknown) {
		t.Errorf("one that is gone leads: %v", err)
	}
	if last, err := s.RemoveMachine(t.Context(), c.ID, server.ID); err != nil || !last {
		t.Errorf("%t, %v", last, err)
	}
	if _, err := s.ClusterByID(t.Context(), c.ID); !reason.Is(err, reason.ClusterUnknown) {
		t.Errorf("the cluster is still there: %v", err)
	}
	if _, err := s.MachineByKey(t.Context(), c.ID, worker.Key); !reason.Is(err, reason.MachineUnknown) {
		t.Errorf("its worker is still there: %v", err)
	}
}

func TestHeartbeatsOfSeveralMachines(t *testing.T) {
	s, _, _ := open(t)
	c := cluster(t, s, "shop")
	worker := joined(t, s, c, wire.RoleWorker, "w")
	beat := func(machine, node string, speaks bool, facts string, nodes int) {
		t.Helper()
		h := wire.Heartbeat{Agent: machine, Node: node, Facts: json.RawMessage(facts), Nodes: nodes, Conditions: []wire.Condition{{Type: "Tunnel", Status: "True"}}}
		if err := s.Heartbeat(t.Context(), c.ID, machine, speaks, h); err != nil {
			t.Fatal(err)
		}
	}
	beat(c.Lead, "one", true, `{"of":"one"}`, 2)
	beat(worker.ID, "", false, `{"of":"w"}`, 0)
	beat(worker.ID, "one", false, "", 0)     // it is not that node, whatever it says
	beat(worker.ID, "nobodys", false, "", 0) // nor one of which the gateway does not know whose it is: by leaving, it would have that removed
	list, err := s.Machines(t.Context(), c.ID)
	if err != nil || len(list) != 2 {
		t.Fatalf("%+v, %v", list, err)
	}
	for _, m := range list {
		if want := map[bool]string{true: "one", false: "w"}[m.Enrolled]; m.Node != want || m.LastSeen.IsZero() || len(m.Conditions) != 1 {
			t.Errorf("%+v", m)
		}
	}
	if got, err := s.ClusterByID(t.Context(), c.ID); err != nil || got.Nodes != 2 || got.Agent != c.Lead {
		t.Errorf("%+v, %v", got, err)
	}
	for machine, want := range map[string]string{"": `{"of":"one"}`, worker.ID: `{"of":"w"}`, "none": ""} {
		if got, err := s.Facts(t.Context(), c.ID, machine); err != nil || string(got) != want {
			t.Errorf("facts of %q: %s, %v", machine, got, err)
		}
	}
}

// TestMigrationOfMachines opens a store as it was when a cluster had one machine.
func TestMigrationOfMachines(t *testing.T) {
	dir := t.TempDir()
	db, err := openFile(filepath.Join(dir, databaseFile), "FULL")
	if err != nil {
		t.Fatal(err)
	}
	first, err := migrations.ReadFile("migrations/0001_first.sql")
	if err != nil {
		t.Fatal(err)
	}
	for _, statement := range []string{
		string(first), `PRAGMA user_version = 1`,
		`INSERT INTO clusters (id, name, key, created, last_seen, agent, facts, generation) VALUES ('00000000000000aa', 'shop', x'6b6579', 1, 2, 'v0', '{"a":1}', 7)`,
		`INSERT INTO documents (cluster_id, kind, name, generation, spec, changed) VALUES ('00000000000000aa', 'Project', 'web', 7, '{}', 1)`,
		`INSERT INTO events (cluster_id, body) VALUES ('00000000000000aa', '{"kind":"done"}')`,
		`INSERT INTO tokens (id, mac, created, expires, used, used_cluster_id, used_key) VALUES ('t', x'00', 1, 2, 1, '00000000000000aa', x'6b6579')`,
	} {
		if _, err := db.ExecContext(t.Context(), statement); err != nil {
			t.Fatal(errors.Join(err, db.Close()))
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	s, err := Open(t.Context(), dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	c, err := s.ClusterByName(t.Context(), "shop")
	if err != nil || c.Term != 1 || c.Install == nil || c.Install.Kind != "done" {
		t.Fatalf("%+v, %v", c, err)
	}
	m, err := s.MachineByKey(t.Context(), c.ID, []byte("key"))
	if err != nil || !m.Enrolled || m.ID != c.Lead || m.Role != wire.RoleServer || m.Agent != "v0" || m.LastSeen.IsZero() || !wire.ValidID(m.ID) {
		t.Errorf("%+v, %v", m, err)
	}
	if facts, err := s.Facts(t.Context(), c.ID, ""); err != nil || string(facts) != `{"a":1}` {
		t.Errorf("%s, %v", facts, err)
	}
	if g, err := s.PutDocument(t.Context(), c.ID, "Project", "web", json.RawMessage(`{"v":1}`)); err != nil || g != 8 {
		t.Errorf("generation %d, %v", g, err)
	}
	var broken sql.NullString
	if err := s.db.QueryRowContext(t.Context(), `PRAGMA foreign_key_check`).Scan(&broken); !errors.Is(err, sql.ErrNoRows) {
		t.Errorf("foreign keys: %v, %v", broken, err)
	}
}

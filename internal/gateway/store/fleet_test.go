package store

import (
	"context"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/pipeopshq/pipeops-agent/internal/reason"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

func TestBind(t *testing.T) {
	for query, want := range map[string]string{
		`a = ? AND b = ?`:         `a = $1 AND b = $2`,
		`a = ?1 OR b = ?2 OR ?1`:  `a = $1 OR b = $2 OR $1`,
		`?,?,?,?,?,?,?,?,?,?,?,?`: `$1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12`,
		`SELECT 1`:                `SELECT 1`,
	} {
		if got := bind(true, query); got != want {
			t.Errorf("%s became %s, want %s", query, got, want)
		}
		if got := bind(false, query); got != query {
			t.Errorf("%s became %s", query, got)
		}
	}
}

// TestTextsOfAgentsAreTaken: an agent may send what is no text to PostgreSQL.
func TestTextsOfAgentsAreTaken(t *testing.T) {
	s, _, _ := open(t)
	c := cluster(t, s, "shop")
	h := wire.Heartbeat{Agent: "v1\x00.2", Facts: []byte("{\"a\":\"\xff\xfe\"}"), Kubernetes: "\xc3\x28"}
	if err := s.Heartbeat(t.Context(), c.ID, c.Lead, true, h); err != nil {
		t.Error(err)
	}
	if got, err := s.ClusterByID(t.Context(), c.ID); err != nil || got.LastSeen.IsZero() {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestGatewaysComeAndGo(t *testing.T) {
	s, _, _ := open(t)
	c := cluster(t, s, "shop")
	worker := joined(t, s, c, wire.RoleWorker, "w")
	a, b := Gateway{ID: "a", Address: "10.0.0.1:8443", Announced: []string{"a.example:8443"}}, Gateway{ID: "b", Address: "10.0.0.2:8443"}
	beat := func(g Gateway, fresh bool) {
		t.Helper()
		if got, err := s.Beat(t.Context(), g); err != nil || got != fresh {
			t.Errorf("%s: fresh is %v, %v", g.ID, got, err)
		}
	}
	beat(a, true)
	a.Draining = true
	beat(a, false)
	beat(b, true)
	list, err := s.Gateways(t.Context())
	if err != nil || len(list) != 2 || !list[0].Draining || list[0].Beat != 2 || list[0].Announced[0] != "a.example:8443" || list[1].Draining {
		t.Fatalf("%+v, %v", list, err)
	}

	put := func(n Session) {
		t.Helper()
		n.ClusterID, n.Since = c.ID, s.now()
		if err := s.PutSessions(t.Context(), n); err != nil {
			t.Fatal(err)
		}
	}
	located := func(want ...string) {
		t.Helper()
		for _, id := range []string{c.ID, ""} {
			list, err := s.Locations(t.Context(), id)
			if err != nil || len(list) != len(want) {
				t.Fatalf("%+v, %v; want %v", list, err, want)
			}
			for i, l := range list {
				if got := l.Gateway + " " + l.Remote + " " + l.Address; got != want[i] || l.ClusterID != c.ID {
					t.Errorf("%d is %q, want %q", i, got, want[i])
				}
			}
		}
	}
	put(Session{Machine: c.Lead, Gateway: "a", Serial: 2, Remote: "new"})
	put(Session{Machine: c.Lead, Gateway: "a", Serial: 1, Remote: "late"}) // it was there before, and its note comes later
	located("a new 10.0.0.1:8443")
	if err := s.DropSession(t.Context(), c.Lead, "a", 1); err != nil {
		t.Fatal(err)
	}
	put(Session{Machine: c.Lead, Gateway: "b", Serial: 1, Remote: "b"})
	put(Session{Machine: worker.ID, Gateway: "b", Serial: 2, Remote: "worker"})
	put(Session{Machine: "none", Gateway: "b", Serial: 3})
	put(Session{Machine: worker.ID, Gateway: "gone", Serial: 3})
	if list, err := s.Locations(t.Context(), c.ID); err != nil || len(list) != 3 {
		t.Errorf("%+v, %v", list, err)
	}
	if _, err := s.RemoveMachine(t.Context(), c.ID, worker.ID); err != nil {
		t.Fatal(err)
	}
	if gone, err := s.Expire(t.Context(), "b", 2); gone || err != nil {
		t.Errorf("one that counts on is gone: %v", err)
	}
	located("a new 10.0.0.1:8443", "b b 10.0.0.2:8443")
	if gone, err := s.Expire(t.Context(), "b", 1); !gone || err != nil {
		t.Errorf("%v, %v", gone, err)
	}
	located("a new 10.0.0.1:8443")
	beat(b, true) // it lives, and enters itself and its sessions again
	if err := s.DropSession(t.Context(), c.Lead, "a", 2); err != nil {
		t.Fatal(err)
	}
	located()
	if err := s.Retire(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	if list, err := s.Gateways(t.Context()); err != nil || len(list) != 1 {
		t.Errorf("%+v, %v", list, err)
	}
}

// TestTheNewestProcessOfAMachineCounts: one that was superseded and comes back is a copy.
func TestTheNewestProcessOfAMachineCounts(t *testing.T) {
	s, _, _ := open(t)
	c := cluster(t, s, "shop")
	if _, err := s.Beat(t.Context(), Gateway{ID: "g"}); err != nil {
		t.Fatal(err)
	}
	arrive := func(instance string, held, want int64) {
		t.Helper()
		epoch, err := s.Arrive(t.Context(), c.ID, c.Lead, instance, held, false)
		if want == 0 && !reason.Is(err, reason.SessionReplaced) || want != 0 && (err != nil || epoch != want) {
			t.Errorf("%s with %d: %d, %v; want %d", instance, held, epoch, err, want)
		}
	}
	cloned := func() bool {
		t.Helper()
		list, err := s.Machines(t.Context(), c.ID)
		if err != nil {
			t.Fatal(err)
		}
		return !list[0].Cloned.IsZero()
	}
	arrive("one", 0, 1)
	arrive("one", 1, 1) // its other session
	arrive("two", 0, 2) // it was started again, or copied: who knows
	if cloned() {
		t.Error("a process that was started again is called a copy")
	}
	if err := s.PutSessions(t.Context(), Session{Machine: c.Lead, Gateway: "g", Epoch: 2}); err != nil {
		t.Fatal(err)
	}
	arrive("one", 1, 0)
	if !cloned() {
		t.Error("nobody is told of the copy")
	}
	if err := s.DropSession(t.Context(), c.Lead, "g", 0); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Arrive(t.Context(), c.ID, c.Lead, "one", 1, true); !reason.Is(err, reason.SessionReplaced) {
		t.Errorf("the newer one is connected here, but %v", err)
	}
	arrive("one", 1, 3) // the newer one is gone
	if list, err := s.Machines(t.Context(), c.ID); err != nil || list[0].Epoch != 3 {
		t.Errorf("%+v, %v", list, err)
	}
	if _, err := s.Arrive(t.Context(), c.ID, "none", "x", 0, false); !reason.Is(err, reason.IdentityRevoked) {
		t.Errorf("got %v", err)
	}
}

func TestPermits(t *testing.T) {
	s, clock, _ := open(t)
	c := cluster(t, s, "shop")
	id, err := s.Permit(t.Context(), "admin", []string{wire.GroupAdmins}, c.ID, signalLife)
	if err != nil {
		t.Fatal(err)
	}
	g, err := s.GrantByID(t.Context(), id)
	if err != nil || g.ClusterID != c.ID || g.User != "admin" || g.ID != id {
		t.Errorf("%+v, %v", g, err)
	}
	for _, token := range []string{"put_" + id + ".", "put_" + id + ".x", "put_" + id} {
		if _, err := s.Authenticate(t.Context(), token); !reason.Is(err, reason.UserRefused) {
			t.Errorf("%s: %v", token, err)
		}
	}
	clock.at = clock.at.Add(signalLife)
	if _, err := s.GrantByID(t.Context(), id); !reason.Is(err, reason.UserRefused) {
		t.Errorf("it has ended: %v", err)
	}
}

// TestSignals: what one gateway changes, another one hears of, in the order in which it can be seen.
func TestSignals(t *testing.T) {
	s, _, dir := open(t)
	if !s.Shared() {
		t.Skip("a gateway of its own needs none")
	}
	other := reopen(t, &clock{s.now()}, dir)
	defer func() { _ = other.Close() }()
	c := cluster(t, s, "shop")
	_, last, _, err := other.Signals(t.Context(), -1)
	if err != nil {
		t.Fatal(err)
	}
	const each = 20
	var writers sync.WaitGroup
	for i := range 4 {
		writers.Go(func() {
			for range each {
				if _, err := s.Permit(context.Background(), "admin", nil, c.ID, 1); err != nil { // another transaction, without a signal
					t.Error(err)
				}
				if _, err := s.setDocument(context.Background(), c.ID, "Project", string(rune('a'+i)), "", i%2 == 1); err != nil && !reason.Is(err, reason.ProjectUnknown) {
					t.Error(err)
				}
				if err := transact(context.Background(), s.db, func(tx *transaction) error { return tx.signal(context.Background(), c.ID, s.now()) }); err != nil {
					t.Error(err)
				}
			}
		})
	}
	heard, done := 0, make(chan struct{})
	go func() { writers.Wait(); close(done) }()
	for running := true; running; {
		select {
		case <-done:
			running = false
		default:
		}
		clusters, now, missed, err := other.Signals(t.Context(), last)
		if err != nil || missed {
			t.Fatalf("missed is %v, %v", missed, err)
		}
		heard, last = heard+len(clusters), now
	}
	if heard < 4*each {
		t.Errorf("heard %d signals", heard)
	}
	if err := s.RemoveCluster(t.Context(), c.ID); err != nil {
		t.Fatal(err)
	}
	if clusters, _, _, err := other.Signals(t.Context(), last); err != nil || len(clusters) != 1 || clusters[0] != c.ID {
		t.Errorf("%v, %v", clusters, err)
	}
}

// TestAGatewayWithOtherKeysIsNoneOfTheFleet: tokens that one has made would be of no use at the other.
func TestAGatewayWithOtherKeysIsNoneOfTheFleet(t *testing.T) {
	s, c, dir := open(t)
	if !s.Shared() {
		t.Skip("its key is beside it")
	}
	other := t.TempDir()
	raw, err := os.ReadFile(filepath.Join(dir, "address"))
	if err == nil {
		err = os.WriteFile(filepath.Join(other, "address"), raw, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tryOpen(t, c, other); !reason.Is(err, reason.FleetDiffers) {
		t.Errorf("without a key: %v", err)
	}
	if _, err := os.Stat(filepath.Join(other, macKeyFile)); err == nil {
		t.Error("a key was made")
	}
	if err := os.WriteFile(filepath.Join(other, macKeyFile), make([]byte, 32), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := tryOpen(t, c, other); !reason.Is(err, reason.FleetDiffers) {
		t.Errorf("with another key: %v", err)
	}
	if got, err := s.Agree(t.Context(), "ca", []byte("first")); err != nil || string(got) != "first" {
		t.Errorf("%q, %v", got, err)
	}
	if got, err := s.Agree(t.Context(), "ca", []byte("second")); err != nil || string(got) != "first" {
		t.Errorf("%q, %v", got, err)
	}
}

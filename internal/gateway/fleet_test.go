package gateway_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/gateway"
	"github.com/pipeopshq/pipeops-agent/internal/gateway/gatewaytest"
	"github.com/pipeopshq/pipeops-agent/internal/gateway/postgrestest"
	"github.com/pipeopshq/pipeops-agent/internal/gateway/store"
	"github.com/pipeopshq/pipeops-agent/internal/health"
	"github.com/pipeopshq/pipeops-agent/internal/identity"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

// TestPostgres runs all tests of this package with gateways that keep their state in PostgreSQL, but for the one that runs them all over
// WebSockets: the way of an agent has nothing to do with the store, and both at once would double the time for no test more.
func TestPostgres(t *testing.T) {
	postgrestest.Run(t, "^TestPostgres$|^TestOverWebSocket$")
}

// says answers everything with a word.
func says(word string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(word)) })
}

func gets(u *user, want string) {
	u.t.Helper()
	if status, body := u.get("/x"); status != http.StatusOK || body != want {
		u.t.Errorf("got %d %q, want %q", status, body, want)
	}
}

// pair is two gateways, and an agent with a session to each.
func pair(t *testing.T) (first, second *gatewaytest.Gateway, a *agent) {
	t.Helper()
	fleet := gatewaytest.Fleet(t, 2)
	first, second = fleet[0], fleet[1]
	id, err := enroll(t, first, filepath.Join(first.Data, "agent"), "shop", first.Token(""))
	if err != nil {
		t.Fatal(err)
	}
	a = runAgent(t, id, says("hello"))
	first.Wait("a second session", func() bool { return a.stood() > 0 })
	return first, second, a
}

func TestFleetFailover(t *testing.T) {
	first, second, a := pair(t)
	one, two := login(t, first, "shop"), login(t, second, "shop")
	gets(one, "hello")
	gets(two, "hello")
	began := time.Now()
	gets(two, "hello")
	usual := time.Since(began)
	if n := a.count(); n != 1 {
		t.Errorf("the agent works on %d sessions", n)
	}
	if list := a.id.Gateways(); len(list) != 2 {
		t.Errorf("it keeps %v", list)
	}
	began = time.Now()
	first.Vanish()
	gets(two, "hello") // at once
	answered := time.Since(began)
	second.Wait("work has moved", func() bool { return a.count() == 2 })
	t.Logf("a request takes %s, the first one after the loss of a gateway %s, and the agent works on the other one after %s", usual, answered, time.Since(began))
	if _, err := second.Admin.Apply(t.Context(), "shop", wire.Project{Name: "web", Image: "web:1", Port: 80}); err != nil {
		t.Fatal(err)
	}
	if p, err := second.Admin.Project(t.Context(), "shop", "web", time.Minute); err != nil || !p.Ready {
		t.Errorf("%+v, %v", p, err)
	}
	stood := a.stood()
	first.Stop()
	first.Start()
	first.Wait("it stands by again", func() bool { return a.stood() > stood })
	gets(login(t, first, "shop"), "hello")

	// an agent that starts while the gateway of its identity is away finds the other one
	first.Stop()
	a.stop()
	second.WaitConnected("shop", false)
	loaded, err := identity.Load(filepath.Join(first.Data, "agent"))
	if err != nil {
		t.Fatal(err)
	}
	runAgent(t, loaded, says("again"))
	second.WaitConnected("shop", true)
	gets(two, "again")
}

// TestFleetDocumentsAndRemovals: what one gateway is told, the other does.
func TestFleetDocumentsAndRemovals(t *testing.T) {
	fleet := gatewaytest.Fleet(t, 2)
	a := runAgent(t, mustEnroll(t, fleet[0], "shop"), says("hello"))
	fleet[1].Wait("sessions", func() bool { return a.stood() > 0 })
	for i, g := range fleet { // one of them is not where the agent asks for documents
		name := fmt.Sprintf("web%d", i)
		if _, err := g.Admin.Apply(t.Context(), "shop", wire.Project{Name: name, Image: "web:1", Port: 80}); err != nil {
			t.Fatal(err)
		}
		for _, asked := range fleet {
			if p, err := asked.Admin.Project(t.Context(), "shop", name, time.Minute); err != nil || !p.Ready {
				t.Errorf("%s: %+v, %v", name, p, err)
			}
		}
	}
	if _, err := fleet[1].Admin.RemoveCluster(t.Context(), "shop", true); err != nil {
		t.Fatal(err)
	}
	a.reason(fleet[0], string(reason.IdentityRevoked))
	fleet[0].WaitConnected("shop", false)
}

// TestFleetNewestProcessCounts: it ends the sessions of the one before it everywhere, and a copy that comes back is refused and told of.
func TestFleetNewestProcessCounts(t *testing.T) {
	first, second, a := pair(t)
	b := runAgent(t, a.id, says("newer"))
	a.reason(first, string(reason.SessionReplaced))
	second.Wait("the newer one has two sessions", func() bool { return b.stood() > 0 })
	for _, g := range []*gatewaytest.Gateway{first, second} {
		gets(login(t, g, "shop"), "newer")
	}
	second.Wait("the copy is told of", func() bool {
		return cloned(t, second) && len(alarms(t, second, reason.IdentityCloned)) == 1
	})
	gets(login(t, second, "shop"), "newer")
	if n := b.health.Get(health.Tunnel); n.Status != health.True {
		t.Errorf("%+v", n)
	}
	b.stop()
	second.Wait("the older one serves again", func() bool {
		_, body := login(t, second, "shop").get("/x")
		return body == "hello"
	})
}

// TestFleetCloneIsAnAlarmAtOnce: a gateway that hears of a newer process at another gateway raises the alarm where the older one still
// answers; nobody has to come back for it.
func TestFleetCloneIsAnAlarmAtOnce(t *testing.T) {
	first, _, a := pair(t)
	db, err := store.OpenShared(t.Context(), first.Data, first.Store, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	info, _ := first.Cluster("shop")
	if _, err := db.Arrive(t.Context(), info.ID, info.Machines[0].ID, "another process", 0, false); err != nil {
		t.Fatal(err)
	}
	first.Wait("the alarm", func() bool { return len(alarms(t, first, reason.IdentityCloned)) == 1 })
	if found := alarms(t, first, reason.IdentityCloned); found[0].Machine != info.Machines[0].ID {
		t.Errorf("got %+v", found)
	}
	a.stop()
}

// TestFleetHelloThatComesLate: an agent whose first word is heard late is the process that it says, and none that has taken its place.
func TestFleetHelloThatComesLate(t *testing.T) {
	fleet := gatewaytest.Fleet(t, 2)
	id := mustEnroll(t, fleet[0], "shop")
	began := time.Now()
	hello := func(g *gatewaytest.Gateway, late time.Duration) wire.Welcome {
		t.Helper()
		return greet(t, g, id, late)
	}
	first := hello(fleet[0], 2*time.Second)
	if time.Since(began) > 10*time.Second {
		t.Skip("this machine is too busy: it was later than any agent is")
	}
	if second := hello(fleet[1], 0); second.Epoch != first.Epoch {
		t.Errorf("one process has the epochs %d and %d", first.Epoch, second.Epoch)
	}
}

func cloned(t *testing.T, g *gatewaytest.Gateway) bool {
	t.Helper()
	info, ok := g.Cluster("shop")
	return ok && !info.Machines[0].Cloned.IsZero()
}

// TestFleetLostGateway: one that says nothing more is taken for gone, and another server leads.
func TestFleetLeads(t *testing.T) {
	fleet := gatewaytest.Fleet(t, 2)
	firstID := mustEnroll(t, fleet[0], "shop")
	door := runAgent(t, firstID, &doorkeeper{})
	fleet[0].WaitConnected("shop", true)
	id, _, err := join(fleet[1], t.TempDir(), "two", nodeToken(t, fleet[1], wire.RoleServer)) // by way of the other gateway
	if err != nil {
		t.Fatal(err)
	}
	door.stop()
	fleet[0].WaitConnected("shop", false)
	first, second := newServer(t, "one", firstID), newServer(t, "two", id)
	first.run(t)
	fleet[1].WaitConnected("shop", true)
	second.run(t)
	fleet[0].Wait("the second is connected", func() bool { return connected(t, fleet[0], id.Machine()) })
	fleet[0].Wait("the first leads", func() bool { return first.leads() && !second.leads() })
	apply(t, fleet[0], "web", "one")
	apply(t, fleet[1], "web2", "one")
	first.stop()
	fleet[1].Wait("the second leads", second.leads)
	apply(t, fleet[0], "late", "two")
	if got := page(t, fleet[0]); got != "two" {
		t.Errorf("requests come to %q", got)
	}
}

// TestFleetWithoutKeys: a gateway that has not the keys of the others does not start.
func TestFleetWithoutKeys(t *testing.T) {
	fleet := gatewaytest.Fleet(t, 1)
	open := func(dir string) {
		t.Helper()
		opened, err := gateway.Open(t.Context(), gateway.Options{Data: dir, Store: fleet[0].Store, Log: fleet[0].Log})
		if err == nil {
			_ = opened.Close()
		}
		if !reason.Is(err, reason.FleetDiffers) {
			t.Errorf("%v", err)
		}
	}
	dir := t.TempDir()
	open(dir)
	files, err := os.ReadDir(dir)
	if err != nil || len(files) > 0 {
		t.Errorf("it has made %v, %v", files, err)
	}
	raw, err := os.ReadFile(filepath.Join(fleet[0].Data, "secret.key"))
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "secret.key"), raw, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	open(dir) // no CA
	other := gatewaytest.Start(t)
	for _, name := range []string{"ca.pem", "ca-key.pem"} {
		raw, err := os.ReadFile(filepath.Join(other.Data, name))
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), raw, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	open(dir) // another one
}

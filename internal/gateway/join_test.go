package gateway_test

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/crypto/nacl/box"

	"github.com/pipeopshq/pipeops-agent/internal/gateway/gatewaytest"
	"github.com/pipeopshq/pipeops-agent/internal/identity"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
	"github.com/pipeopshq/pipeops-agent/internal/refusal"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

// k3sToken is what a machine that joins is to be told.
var k3sToken = "K10" + strings.Repeat("ab", 32) + "::abcdef.0123456789abcdef"

// doorkeeper is an agent's answer to machines that join its cluster: a stand-in for package nodes.
type doorkeeper struct {
	mu    sync.Mutex
	asked []wire.AgentJoinRequest
	no    error // what it says instead of yes
}

func (d *doorkeeper) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var request wire.AgentJoinRequest
	if r.URL.Path != wire.PathAgentJoin || json.NewDecoder(r.Body).Decode(&request) != nil || request.Validate() != nil {
		http.NotFound(w, r)
		return
	}
	d.mu.Lock()
	d.asked = append(d.asked, request)
	no := d.no
	d.mu.Unlock()
	if no != nil {
		refusal.Write(w, http.StatusForbidden, no)
		return
	}
	key, err := wire.ParseSealKey(request.SealKey)
	if err != nil {
		refusal.Write(w, http.StatusBadRequest, err)
		return
	}
	sealed, err := box.SealAnonymous(nil, []byte(k3sToken), key, rand.Reader)
	if err != nil {
		refusal.Write(w, http.StatusInternalServerError, err)
		return
	}
	_ = json.NewEncoder(w).Encode(wire.AgentJoinResponse{JoinAnswer: wire.JoinAnswer{
		Servers: []string{"https://10.0.0.1:6443"}, K3sVersion: "v1.33.2+k3s1", Sealed: base64.StdEncoding.EncodeToString(sealed),
	}})
}

func (d *doorkeeper) say(no error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.no = no
}

func (d *doorkeeper) last() (request wire.AgentJoinRequest, times int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.asked) > 0 {
		request = d.asked[len(d.asked)-1]
	}
	return request, len(d.asked)
}

// shop is a gateway with one connected cluster, and the door of that.
func shop(t *testing.T) (*gatewaytest.Gateway, *agent, *doorkeeper) {
	t.Helper()
	g := gatewaytest.Start(t)
	door := &doorkeeper{}
	a := runAgent(t, mustEnroll(t, g, "shop"), door)
	g.WaitConnected("shop", true)
	return g, a, door
}

func nodeToken(t testing.TB, g *gatewaytest.Gateway, role wire.Role) wire.Token {
	t.Helper()
	made, err := g.Admin.CreateNodeToken(t.Context(), "shop", role, 0)
	if err != nil {
		t.Fatal(err)
	}
	token, err := wire.ParseNodeToken(made.Secret)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func join(g *gatewaytest.Gateway, dir, node string, token wire.Token) (*identity.Identity, identity.Joined, error) {
	return identity.Join(context.Background(), identity.JoinOptions{
		Options:  identity.Options{Dir: dir, Gateway: g.Address, Token: token, Agent: "test"},
		NodeName: node, K3sVersions: []string{"v1.33.2+k3s1"},
	})
}

func TestJoin(t *testing.T) {
	g, _, door := shop(t)
	dir := t.TempDir()
	token := nodeToken(t, g, wire.RoleWorker)
	for again := range 2 { // the second is a machine that was killed before it could do anything with the answer
		id, way, err := join(g, dir, "two", token)
		if err != nil {
			t.Fatal(err)
		}
		if way.Token() != k3sToken || way.Role != wire.RoleWorker || way.K3sVersion != "v1.33.2+k3s1" || len(way.Servers) != 1 || strings.Contains(way.String(), k3sToken) {
			t.Errorf("got %v", way)
		}
		asked, times := door.last()
		if times != again+1 || asked.NodeName != "two" || asked.Again != (again == 1) || asked.Machine != id.Machine() || len(asked.K3sVersions) != 1 {
			t.Errorf("asked %d times, at last %+v", times, asked)
		}
	}
	id, err := identity.Load(dir)
	if err != nil || id.Role() != wire.RoleWorker || id.Node() != "two" || id.Cluster() != "shop" || !wire.ValidID(id.Machine()) {
		t.Fatalf("%+v, %v", id, err)
	}
	if _, _, err := join(g, t.TempDir(), "three", token); !reason.Is(err, reason.TokenUsed) {
		t.Errorf("another machine, the same token: %v", err)
	}

	// it holds a tunnel of its own, which is not the one that requests go to, and is sent no documents
	worker := runAgent(t, id, http.NotFoundHandler())
	g.Wait("the worker is connected", func() bool { return connected(t, g, id.Machine()) })
	if _, err := g.Admin.Apply(t.Context(), "shop", wire.Project{Name: "web", Image: "web:1", Port: 80}); err != nil {
		t.Fatal(err)
	}
	if p, err := g.Admin.Project(t.Context(), "shop", "web", time.Minute); err != nil || !p.Ready {
		t.Errorf("%+v, %v", p, err)
	}
	if seen := worker.seen(); len(seen) != 0 {
		t.Errorf("a worker is sent %+v", seen)
	}
	worker.stop()
	g.Wait("the worker is gone", func() bool { return !connected(t, g, id.Machine()) })
	if info, _ := g.Cluster("shop"); !info.Connected || len(info.Machines) != 2 {
		t.Errorf("%+v", info)
	}

	// and it leaves alone
	if err := id.Leave(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if list, err := g.Admin.Machines(t.Context(), "shop"); err != nil || len(list) != 1 || !list[0].Enrolled {
		t.Errorf("%+v, %v", list, err)
	}
}

func connected(t *testing.T, g *gatewaytest.Gateway, machine string) bool {
	t.Helper()
	list, err := g.Admin.Machines(t.Context(), "shop")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range list {
		if m.ID == machine {
			return m.Connected
		}
	}
	return false
}

// TestTwoJoinsWithOneToken: however they race, one machine is let in, and the agent is asked for no other. The others are an alarm.
func TestTwoJoinsWithOneToken(t *testing.T) {
	g, _, door := shop(t)
	token := nodeToken(t, g, wire.RoleServer)
	var all sync.WaitGroup
	var won, lost atomic.Int32
	for range 8 {
		dir := t.TempDir()
		all.Go(func() {
			_, _, err := join(g, dir, "two", token)
			switch {
			case err == nil:
				won.Add(1)
			case reason.Is(err, reason.TokenUsed):
				lost.Add(1)
			default:
				t.Error(err)
			}
		})
	}
	all.Wait()
	if _, times := door.last(); won.Load() != 1 || lost.Load() != 7 || times != 1 {
		t.Errorf("%d joined, %d were refused, the agent was asked %d times", won.Load(), lost.Load(), times)
	}
	if list, err := g.Admin.Machines(t.Context(), "shop"); err != nil || len(list) != 2 {
		t.Errorf("%+v, %v", list, err)
	}
	if found := alarms(t, g, reason.TokenUsed); len(found) != 1 || found[0].Count != 7 || found[0].Subject != token.ID {
		t.Errorf("the alarms are %+v", found)
	}
}

// TestJoinRefusals: each comes as its reason, and the token is as good as before.
func TestJoinRefusals(t *testing.T) {
	g, first, door := shop(t)
	for _, no := range []*reason.Error{
		reason.Newf(reason.JoinNoEtcd, "it uses SQLite"), reason.Newf(reason.JoinNameTaken, "two"), reason.Newf(reason.JoinForbidden, ""),
		reason.Newf(reason.JoinVersion, ""), reason.Newf(reason.JoinNotK3s, ""), reason.Newf(reason.JoinUnavailable, ""),
	} {
		token := nodeToken(t, g, wire.RoleWorker)
		door.say(no)
		if _, _, err := join(g, t.TempDir(), "two", token); !reason.Is(err, no.Code) {
			t.Errorf("got %v, want %s", err, no.Code)
		}
		door.say(nil)
		if _, _, err := join(g, t.TempDir(), "n"+strings.ToLower(strings.ReplaceAll(string(no.Code), "_", "-")), token); err != nil {
			t.Errorf("after %s: %v", no.Code, err)
		}
	}
	token := nodeToken(t, g, wire.RoleWorker)
	_, _, err := identity.Join(t.Context(), identity.JoinOptions{
		Options: identity.Options{Dir: t.TempDir(), Gateway: g.Address, Token: token}, NodeName: "two", Role: wire.RoleServer,
	})
	if !reason.Is(err, reason.JoinRole) {
		t.Errorf("another role: %v", err)
	}
	first.stop()
	g.WaitConnected("shop", false)
	if _, _, err := join(g, t.TempDir(), "two", token); !reason.Is(err, reason.ClusterNotConnected) {
		t.Errorf("nobody to ask: %v", err)
	}
	if _, _, err := join(g, t.TempDir(), "Two", token); !reason.Is(err, reason.Usage) {
		t.Errorf("bad name: %v", err)
	}
	if _, _, err := join(g, t.TempDir(), "two", g.Token("")); !reason.Is(err, reason.TokenMalformed) {
		t.Errorf("a token to enrol: %v", err)
	}
	if _, err := enroll(t, g, t.TempDir(), "other", token); !reason.Is(err, reason.TokenMalformed) {
		t.Errorf("a node token enrols: %v", err)
	}
	if err := g.Admin.RevokeToken(t.Context(), token.ID); err != nil {
		t.Fatal(err)
	}
	if _, _, err := join(g, t.TempDir(), "two", token); !reason.Is(err, reason.TokenUnknown) {
		t.Errorf("revoked: %v", err)
	}
}

// TestAnAgentThatDoesNotKnowHow is a cluster whose agent was not updated.
func TestAnAgentThatDoesNotKnowHow(t *testing.T) {
	g := gatewaytest.Start(t)
	runAgent(t, mustEnroll(t, g, "shop"), http.NotFoundHandler())
	g.WaitConnected("shop", true)
	if _, _, err := join(g, t.TempDir(), "two", nodeToken(t, g, wire.RoleWorker)); !reason.Is(err, reason.JoinUnavailable) {
		t.Errorf("got %v", err)
	}
}

// TestARemovedMachineIsNotLetIn: its tunnel ends, its certificate is refused, and the cluster goes on.
func TestARemovedMachineIsNotLetIn(t *testing.T) {
	g, _, _ := shop(t)
	id, _, err := join(g, t.TempDir(), "two", nodeToken(t, g, wire.RoleServer))
	if err != nil {
		t.Fatal(err)
	}
	a := runAgent(t, id, http.NotFoundHandler())
	g.Wait("the machine is connected", func() bool { return connected(t, g, id.Machine()) })
	if _, err := g.Admin.RemoveMachine(t.Context(), "shop", "two", false); !reason.Is(err, reason.Usage) {
		t.Errorf("it is connected: %v", err)
	}
	if _, err := g.Admin.RemoveMachine(t.Context(), "shop", "two", true); err != nil {
		t.Fatal(err)
	}
	a.reason(g, string(reason.IdentityRevoked))
	if info, ok := g.Cluster("shop"); !ok || !info.Connected || len(info.Machines) != 1 {
		t.Errorf("%+v", info)
	}
	if _, err := g.Admin.RemoveMachine(t.Context(), "shop", "two", true); !reason.Is(err, reason.MachineUnknown) {
		t.Errorf("twice: %v", err)
	}
}

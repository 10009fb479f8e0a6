package gateway_test

import (
	"context"
	"log/slog"
	"maps"
	"net/http"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/backoff"
	"github.com/pipeopshq/pipeops-agent/internal/cluster"
	"github.com/pipeopshq/pipeops-agent/internal/deploy"
	"github.com/pipeopshq/pipeops-agent/internal/gateway/gatewaytest"
	"github.com/pipeopshq/pipeops-agent/internal/health"
	"github.com/pipeopshq/pipeops-agent/internal/identity"
	"github.com/pipeopshq/pipeops-agent/internal/tunnel"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

// server is the agent of one of several servers: it keeps its documents as the real one does, and reports on them if it leads.
type server struct {
	name     string
	id       *identity.Identity
	health   health.Tracker
	projects *deploy.Reconciler
	answers  http.Handler
	stop     func()

	mu      sync.Mutex
	held    map[string]int64 // generations by name
	reports int
}

func newServer(t *testing.T, name string, id *identity.Identity) *server {
	t.Helper()
	dir := t.TempDir()
	s := &server{name: name, id: id, held: map[string]int64{}}
	s.projects = deploy.New(filepath.Join(dir, "desired"), &cluster.Source{Path: filepath.Join(dir, "none")}, slog.New(slog.DiscardHandler))
	s.projects.Follows = id.Machine() != ""
	s.answers = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(name)) })
	return s
}

// run connects it until it is stopped or the test ends.
func (s *server) run(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		_ = tunnel.Run(ctx, tunnel.Options{
			Identity: s.id, Health: &s.health, Log: slog.New(slog.DiscardHandler), OnSession: s.session,
			Backoff: backoff.Backoff{Base: 5 * time.Millisecond, Cap: 50 * time.Millisecond},
			Handler: s.answers,
		})
	})
	s.stop = sync.OnceFunc(func() {
		cancel()
		running.Wait()
	})
	t.Cleanup(s.stop)
}

func (s *server) session(ctx context.Context, c *tunnel.Client) {
	var beats sync.WaitGroup
	beats.Go(func() {
		for {
			conditions, changed := s.health.Conditions()
			_ = c.Heartbeat(ctx, wire.Heartbeat{Version: wire.Version, Agent: s.name, Node: s.name, Conditions: conditions})
			select {
			case <-ctx.Done():
				return
			case <-changed:
			}
		}
	})
	defer beats.Wait()
	for ctx.Err() == nil {
		after, err := s.projects.Generation()
		if err != nil {
			return
		}
		term, _ := s.projects.Term()
		told := map[string]int64{}
		_ = c.Follow(ctx, after, term, func(d wire.Document) error {
			if err := s.projects.Accept(d); err != nil {
				return err
			}
			told[d.Name] = d.Generation
			s.mu.Lock()
			s.held[d.Name] = d.Generation
			s.reports++
			s.mu.Unlock()
			kind := "Available"
			if d.Deleted {
				kind = "Removed"
			}
			return c.Status(ctx, wire.Status{Kind: d.Kind, Name: d.Name, ObservedGeneration: d.Generation, Conditions: []wire.Condition{{Type: kind, Status: "True", Message: s.name}}})
		}, func(l wire.Lead) error {
			switch {
			case l.Primary && !l.Complete:
				clear(told)
			case l.Primary && len(told) > 0:
				s.mu.Lock()
				s.held = maps.Clone(told)
				s.mu.Unlock()
			}
			return s.projects.Lead(l)
		})
	}
}

func (s *server) leads() bool {
	_, leads := s.projects.Term()
	return leads
}

func (s *server) documents() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Sorted(maps.Keys(s.held))
}

// two is a gateway, and a cluster of two servers that are connected, of which the first leads.
func two(t *testing.T) (*gatewaytest.Gateway, *server, *server) {
	t.Helper()
	g := gatewaytest.Start(t)
	firstID := mustEnroll(t, g, "shop")
	door := runAgent(t, firstID, &doorkeeper{})
	g.WaitConnected("shop", true)
	id, _, err := join(g, t.TempDir(), "two", nodeToken(t, g, wire.RoleServer))
	if err != nil {
		t.Fatal(err)
	}
	door.stop()
	g.WaitConnected("shop", false)
	first, second := newServer(t, "one", firstID), newServer(t, "two", id)
	first.run(t)
	g.WaitConnected("shop", true)
	second.run(t)
	g.Wait("the second is connected", func() bool { return connected(t, g, id.Machine()) })
	g.Wait("the first leads", func() bool { return first.leads() && !second.leads() })
	return g, first, second
}

func apply(t *testing.T, g *gatewaytest.Gateway, name, by string) {
	t.Helper()
	if _, err := g.Admin.Apply(t.Context(), "shop", wire.Project{Name: name, Image: name + ":1", Port: 80}); err != nil {
		t.Fatal(err)
	}
	p, err := g.Admin.Project(t.Context(), "shop", name, time.Minute)
	if err != nil || !p.Ready || p.Conditions[0].Message != by {
		t.Errorf("%s: %+v, %v; want it done by %s", name, p, err, by)
	}
}

// page says which server a request to the cluster comes to.
func page(t *testing.T, g *gatewaytest.Gateway) string {
	t.Helper()
	response, err := g.Admin.Page(t.Context(), "shop", "web", "/")
	if err != nil {
		return err.Error()
	}
	defer func() { _ = response.Body.Close() }()
	var text [16]byte
	n, _ := response.Body.Read(text[:])
	return string(text[:n])
}

func TestAnotherServerTakesOver(t *testing.T) {
	g, first, second := two(t)
	apply(t, g, "web", "one")
	apply(t, g, "gone", "one")
	if got := page(t, g); got != "one" || len(second.documents()) != 0 {
		t.Errorf("requests come to %q; the second has %v", got, second.documents())
	}

	first.stop()
	g.Wait("the second leads", second.leads)
	if got := page(t, g); got != "two" {
		t.Errorf("requests come to %q", got)
	}
	if got := second.documents(); !slices.Equal(got, []string{"gone", "web"}) {
		t.Errorf("the second has %v", got)
	}
	apply(t, g, "late", "two")
	if _, err := g.Admin.Delete(t.Context(), "shop", "gone"); err != nil {
		t.Fatal(err)
	}
	g.Wait("a project is removed", func() bool { _, err := g.Admin.Project(t.Context(), "shop", "gone", 0); return err != nil })

	// the first comes back, and is not sent anything
	first.run(t)
	g.Wait("the first follows", func() bool { return !first.leads() })
	apply(t, g, "later", "two")
	if slices.Contains(first.documents(), "later") {
		t.Errorf("the first has %v", first.documents())
	}

	// until it leads again: then it has what it missed, and not what is gone
	second.stop()
	g.Wait("the first leads", first.leads)
	if got := first.documents(); !slices.Equal(got, []string{"late", "later", "web"}) {
		t.Errorf("the first has %v", got)
	}
	if term, _ := first.projects.Term(); term != 3 {
		t.Errorf("term %d", term)
	}

	// a gateway that starts again remembers who leads
	g.Stop()
	g.Handover = time.Minute // whoever comes first
	second.run(t)
	g.Start()
	g.Wait("both are back", func() bool { return connected(t, g, second.id.Machine()) && page(t, g) != "" })
	apply(t, g, "latest", "one")
	g.Wait("the second is told that it leads no more", func() bool { return !second.leads() }) // it was away when that was so
	for _, s := range []*server{first, second} {
		if term, _ := s.projects.Term(); term != 3 {
			t.Errorf("%s is in term %d: somebody led after the gateway was away", s.name, term)
		}
	}
}

// TestAServerWithoutKubernetesDoesNotLead: its tunnel is up, and its API server is not.
func TestAServerWithoutKubernetesDoesNotLead(t *testing.T) {
	g, first, second := two(t)
	apply(t, g, "web", "one")
	first.health.Set(health.ClusterReachable, health.False, "Unreachable", "")
	g.Wait("requests come to the second", func() bool { return page(t, g) == "two" })
	g.Wait("the second leads", func() bool { return second.leads() && !first.leads() })
	apply(t, g, "late", "two")
	// it does not take the lead back, and is of use again if the other one is gone
	first.health.Set(health.ClusterReachable, health.True, "Reachable", "")
	apply(t, g, "later", "two")
	second.health.Set(health.ClusterReachable, health.False, "Unreachable", "")
	g.Wait("the first leads", func() bool { return first.leads() && !second.leads() })
	// nobody's answers: the one that leads goes on
	first.health.Set(health.ClusterReachable, health.False, "Unreachable", "")
	apply(t, g, "latest", "one")
}

// TestAServerThatLeftDoesNotLead: the documents are handed over when the first machine was uninstalled.
func TestAServerThatLeftDoesNotLead(t *testing.T) {
	g, first, second := two(t)
	apply(t, g, "web", "one")
	if err := first.id.Leave(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	first.stop()
	g.Wait("the second leads", second.leads)
	apply(t, g, "late", "two")
	if err := second.id.Leave(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if _, ok := g.Cluster("shop"); ok {
		t.Error("a cluster without servers is still there")
	}
}

package agent

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/pipeopshq/pipeops-agent/internal/cluster"
	"github.com/pipeopshq/pipeops-agent/internal/cluster/clustertest"
	"github.com/pipeopshq/pipeops-agent/internal/health"
)

// watched returns a watcher of a cluster of one ready node without DNS, and what its API server refuses.
func watched(t *testing.T) (*watcher, *atomic.Value) {
	t.Helper()
	var broken atomic.Value
	broken.Store("nothing")
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, broken.Load().(string)) {
			http.Error(w, "later", http.StatusServiceUnavailable)
			return
		}
		_, _ = w.Write([]byte(`{"gitVersion":"v1.33.2+k3s1"}`))
	}))
	t.Cleanup(server.Close)
	base, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	client := clustertest.New(&unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "Node", "metadata": map[string]any{"name": "n"},
		"status": map[string]any{"conditions": []any{map[string]any{"type": "Ready", "status": "True"}}}}})
	client.Base, client.HTTP = base, server.Client()
	return &watcher{source: &cluster.Source{Fixed: client}, health: &health.Tracker{}}, &broken
}

// TestNodesAreLookedAtWithoutAVersion: an answer that is missing leaves no other condition as it was.
func TestNodesAreLookedAtWithoutAVersion(t *testing.T) {
	w, broken := watched(t)
	w.health.Set(health.NodesReady, health.Unknown, "Unreachable", "")
	broken.Store("/version")
	if w.look(t.Context()) {
		t.Error("called healthy")
	}
	if c := w.health.Get(health.NodesReady); c.Status != health.True {
		t.Errorf("nodes: %+v", c)
	}
	broken.Store("nothing")
	w.look(t.Context())
	if beat := w.heartbeat(); beat.Kubernetes != "v1.33.2+k3s1" || beat.Nodes != 1 {
		t.Errorf("heartbeat %+v", beat)
	}
}

// TestADeafDNSIsNoHealthyCluster: it is looked at as often as what else is broken.
func TestADeafDNSIsNoHealthyCluster(t *testing.T) {
	w, _ := watched(t) // there is no DNS service
	w.look(t.Context())
	if w.look(t.Context()) {
		t.Error("called healthy")
	}
	if c := w.health.Get(health.DNS); c.Status != health.False {
		t.Errorf("DNS: %+v", c)
	}
}

// TestAnEndSaysNothing: a look that the end of the agent cuts changes no condition.
func TestAnEndSaysNothing(t *testing.T) {
	w, _ := watched(t)
	w.look(t.Context())
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	w.look(ctx)
	if c := w.health.Get(health.ClusterReachable); c.Status != health.True {
		t.Errorf("got %+v", c)
	}
}

// TestWhatStaysBrokenIsLookedAtLess: at first quickly, so that its end is seen at once; a machine that is gone for good is no
// reason to list the nodes every two seconds.
func TestWhatStaysBrokenIsLookedAtLess(t *testing.T) {
	for _, c := range []struct {
		healthy, reached bool
		after, want      time.Duration
	}{
		{true, true, 0, watchIdle},
		{false, true, time.Second, watchBusy},
		{false, true, time.Hour, watchIdle},
		{false, false, time.Hour, watchBusy}, // nobody is bothered by a connection that is refused
		{true, true, time.Hour, watchIdle},
		{false, true, time.Second, watchBusy},
	} {
		if got := pace(c.healthy, c.reached, c.after); got != c.want {
			t.Errorf("%+v: %v", c, got)
		}
	}
}

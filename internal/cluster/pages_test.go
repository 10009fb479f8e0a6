package cluster_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"testing"

	"github.com/pipeopshq/pipeops-agent/internal/cluster"
	"github.com/pipeopshq/pipeops-agent/internal/cluster/clustertest"
)

// TestNodesAreReadInPages: the nodes of a large cluster that was adopted do not fit into the memory of the agent at once.
func TestNodesAreReadInPages(t *testing.T) {
	const all = 250
	pages := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		limit, _ := strconv.Atoi(r.URL.Query().Get("limit"))
		from, _ := strconv.Atoi(r.URL.Query().Get("continue"))
		if limit < 1 || limit > 200 {
			http.Error(w, "too many at once", http.StatusBadRequest)
			return
		}
		pages++
		list := map[string]any{"apiVersion": "v1", "kind": "NodeList", "metadata": map[string]any{}}
		to := min(from+limit, all)
		var items []any
		for i := from; i < to; i++ {
			items = append(items, node([]string{"True", "False"}[i%2]).Object)
		}
		list["items"] = items
		if to < all {
			list["metadata"] = map[string]any{"continue": strconv.Itoa(to)}
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(list)
	}))
	defer server.Close()
	path := filepath.Join(t.TempDir(), "kubeconfig")
	write(t, path, kubeconfig(server.URL, "{}"))
	client, err := cluster.Connect(path)
	if err != nil {
		t.Fatal(err)
	}
	if n, ready, err := client.Nodes(t.Context()); n != all || ready != all/2 || err != nil {
		t.Errorf("%d nodes, %d ready, %v", n, ready, err)
	}
	pages = 0
	if up, err := client.NetworkUp(t.Context()); !up || err != nil || pages != 1 {
		t.Errorf("up %v, %v, after %d pages", up, err, pages)
	}
}

// counted is a context that counts those who have not let go of it.
type counted struct {
	context.Context
	end chan struct{}
	n   atomic.Int32
}

func (c *counted) Done() <-chan struct{} { return c.end }

func (c *counted) AfterFunc(func()) (stop func() bool) {
	c.n.Add(1)
	return func() bool { c.n.Add(-1); return true }
}

// TestAProofThatHasEndedHoldsNothing: the rounds that an agent makes for months leave nothing behind in its context.
func TestAProofThatHasEndedHoldsNothing(t *testing.T) {
	ctx := &counted{Context: context.Background(), end: make(chan struct{})}
	layer := like("a", func(context.Context) (string, error) { return "", nil })
	cluster.Prove(ctx, &cluster.Source{Fixed: clustertest.New()}, []cluster.Layer{layer}, cluster.First).Outcomes()
	if n := ctx.n.Load(); n != 0 {
		t.Errorf("%d contexts wait for the end of the agent", n)
	}
}

package agent

import (
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/pipeopshq/pipeops-agent/internal/cluster"
	"github.com/pipeopshq/pipeops-agent/internal/cluster/clustertest"
	"github.com/pipeopshq/pipeops-agent/internal/health"
)

// TestAWorkersNode: its conditions follow its own node, and what its packets reach on others.
func TestAWorkersNode(t *testing.T) {
	node := func(ready string) *unstructured.Unstructured {
		return &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "Node", "metadata": map[string]any{"name": "w1"},
			"status": map[string]any{"conditions": []any{map[string]any{"type": "Ready", "status": ready}}}}}
	}
	slice := func(on string) *unstructured.Unstructured {
		return &unstructured.Unstructured{Object: map[string]any{"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
			"metadata":  map[string]any{"name": "kube-dns-1", "namespace": "kube-system", "labels": map[string]any{"kubernetes.io/service-name": "kube-dns"}},
			"endpoints": []any{map[string]any{"nodeName": on, "addresses": []any{"127.0.0.2"}}}}}
	}
	for name, c := range map[string]struct {
		objects          []*unstructured.Unstructured
		well             bool
		ready, crossings string
	}{
		"no node":                {nil, false, health.False, health.Unknown},
		"not ready":              {[]*unstructured.Unstructured{node("False")}, false, health.False, health.Unknown},
		"ready, nothing else":    {[]*unstructured.Unstructured{node("True")}, true, health.True, health.Unknown},
		"DNS is here":            {[]*unstructured.Unstructured{node("True"), slice("w1")}, true, health.True, health.Unknown},
		"DNS there is not heard": {[]*unstructured.Unstructured{node("True"), slice("s1")}, false, health.True, health.False},
	} {
		tracker, source := &health.Tracker{}, &cluster.Source{Fixed: clustertest.New(c.objects...)}
		source.Fixed.HTTP, source.Fixed.Base = &http.Client{}, &url.URL{Scheme: "http", Host: "127.0.0.1:1"} // nobody tells the version
		n := &workerNode{own: source, elsewhere: source, health: tracker, name: "w1", seen: &watcher{}}
		if n.look(t.Context()); tracker.Get(health.PodNetwork).Status == health.False {
			t.Errorf("%s: one packet that is lost says nothing, and it says %+v", name, tracker.Get(health.PodNetwork))
		}
		if got := n.look(t.Context()); got != c.well || tracker.Get(health.NodesReady).Status != c.ready || tracker.Get(health.PodNetwork).Status != c.crossings {
			t.Errorf("%s: %v, %+v, %+v", name, got, tracker.Get(health.NodesReady), tracker.Get(health.PodNetwork))
		}
	}
}

// TestServersOfAWorker: they are those that its k3s knows of.
func TestServersOfAWorker(t *testing.T) {
	dir := t.TempDir()
	kubeconfig := filepath.Join(dir, "kubelet.kubeconfig")
	if got := knownServers(kubeconfig); got != nil {
		t.Errorf("nothing is there: %v", got)
	}
	if err := os.MkdirAll(filepath.Join(dir, "etc"), 0o700); err != nil {
		t.Fatal(err)
	}
	content := `{"ServerURL":"https://10.0.0.1:6443","ServerAddresses":["10.0.0.1:6443","10.0.0.2:6443","\u001b[31m"],"Listener":null}`
	if err := os.WriteFile(filepath.Join(dir, serversFile), []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"10.0.0.1:6443", "10.0.0.2:6443"}, knownServers(kubeconfig)); diff != "" {
		t.Error(diff)
	}
}

// FuzzParseServers reads a file of k3s.
func FuzzParseServers(f *testing.F) {
	f.Add([]byte(`{"ServerAddresses":["10.0.0.1:6443"]}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		if got := parseServers(raw); len(got) > maxServers {
			t.Errorf("%d servers", len(got))
		}
	})
}

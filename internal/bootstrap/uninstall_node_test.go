package bootstrap

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pipeopshq/pipeops-agent/internal/distro"
	"github.com/pipeopshq/pipeops-agent/internal/gateway/gatewaytest"
	"github.com/pipeopshq/pipeops-agent/internal/host"
	"github.com/pipeopshq/pipeops-agent/internal/identity"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

// serverOf is a machine with a server of k3s, whose API is a stand-in that lists these servers: "one True" is ready.
func serverOf(t *testing.T, servers ...string) host.Facts {
	t.Helper()
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/api/v1/nodes" {
			t.Errorf("it is asked for %s", r.URL.Path)
		}
		var items []string
		for _, s := range servers {
			name, ready, _ := strings.Cut(s, " ")
			items = append(items, fmt.Sprintf(`{"apiVersion":"v1","kind":"Node","metadata":{"name":%q,"labels":{"node-role.kubernetes.io/control-plane":"true","node-role.kubernetes.io/etcd":"true"}},
				"status":{"conditions":[{"type":"Ready","status":%q}]}}`, name, ready))
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = fmt.Fprintf(w, `{"apiVersion":"v1","kind":"NodeList","items":[%s]}`, strings.Join(items, ","))
	}))
	t.Cleanup(api.Close)
	dir := t.TempDir()
	kubeconfig := filepath.Join(dir, "k3s.yaml")
	text := fmt.Sprintf("apiVersion: v1\nkind: Config\ncurrent-context: c\ncontexts: [{name: c, context: {cluster: c, user: u}}]\nclusters: [{name: c, cluster: {server: %q}}]\nusers: [{name: u, user: {}}]\n", api.URL)
	if err := os.WriteFile(kubeconfig, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(dir, "server/db/etcd"), 0o700); err != nil {
		t.Fatal(err)
	}
	f := host.Facts{Clusters: []host.Cluster{{Name: distro.K3s, Kubeconfig: kubeconfig,
		Settings: map[string]string{"data-dir": dir, "node-name": "one", "cluster-init": "true"}}}}
	f.Clusters[0].Ours.Value, f.Clusters[0].Ours.OK = true, true
	return f
}

// TestAServerThatTheOthersNeedStays: with it gone they could not decide, so that the whole cluster would stop. The last one may go, and
// one of a cluster that does not answer.
func TestAServerThatTheOthersNeedStays(t *testing.T) {
	g := gatewaytest.Start(t)
	o, _ := removal(t)
	enrolled(t, g, o.StateDir)
	id, err := identity.Load(filepath.Join(o.StateDir, "identity"))
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		servers []string
		members int
		needed  bool
	}{
		"alone":                       {[]string{"one True"}, 1, false},
		"with another":                {[]string{"one True", "two True"}, 2, false},
		"one of three":                {[]string{"one True", "two True", "three True"}, 3, false},
		"of three, one is away":       {[]string{"one True", "two True", "three Unknown"}, 3, true},
		"of five, two are away":       {[]string{"one True", "2 True", "3 True", "4 False", "5 Unknown"}, 5, true},
		"of five, one is away":        {[]string{"one True", "2 True", "3 True", "4 True", "5 Unknown"}, 5, false},
		"it was taken out by others":  {[]string{"two True", "three True"}, 2, false},
		"its cluster has no node yet": {nil, 0, false},
	} {
		facts := serverOf(t, c.servers...)
		if !leavesFirst(id, facts) {
			t.Errorf("%s: it does not leave first", name)
		}
		own := o.ownServer(t.Context(), id, facts)
		err := own.spared("shop")
		if own.members() != c.members || own.name != "one" || reason.Is(err, reason.NodeNeeded) != c.needed || (err != nil) != c.needed {
			t.Errorf("%s: %d members, %v", name, own.members(), err)
		}
		if c.needed && !strings.Contains(err.(*reason.Error).Fix, "pipeops-gateway nodes remove shop NODE --force") {
			t.Errorf("%s: %+v", name, err)
		}
	}
}

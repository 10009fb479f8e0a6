package bootstrap

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/atomicfile"
	"github.com/pipeopshq/pipeops-agent/internal/bootstrap/plan"
	"github.com/pipeopshq/pipeops-agent/internal/cluster"
	"github.com/pipeopshq/pipeops-agent/internal/cluster/clustertest"
	"github.com/pipeopshq/pipeops-agent/internal/distro"
	"github.com/pipeopshq/pipeops-agent/internal/host"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

// access is a machine that has adopted the cluster of a stand-in.
type access struct {
	*clustertest.Server
	t     *testing.T
	o     Options
	d     distro.Decision
	store *plan.Store
}

func newAccess(t *testing.T) *access {
	t.Helper()
	s := clustertest.Serve(t)
	a := &access{Server: s, t: t, o: Options{StateDir: t.TempDir(), TokenLife: time.Hour}}
	a.d = distro.Decision{Chosen: distro.Existing, Kubeconfig: s.Kubeconfig(t, clustertest.Admin)}
	store, err := plan.Open(a.o.StateDir, "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	store.Undo = map[plan.Kind]func(context.Context, plan.Record) ([]string, error){inCluster: takeBack(a.d.Kubeconfig, "", false)}
	a.store = store
	return a
}

func (a *access) steps() []plan.Step {
	source := sourceOf(a.d)
	return []plan.Step{a.o.accountStep(source, a.d), accessStep(source)}
}

func (a *access) run(more ...plan.Step) (plan.Result, error) {
	r := &plan.Runner{Store: a.store}
	return r.Run(a.t.Context(), plan.Plan{Name: installCommand, Steps: append(a.steps(), more...)})
}

func (a *access) credential() string { return filepath.Join(a.o.StateDir, cluster.CredentialFile) }

func (a *access) renew() (string, error) {
	return RenewCredential(a.t.Context(), CredentialOptions{Distro: a.d.Chosen, Kubeconfig: a.d.Kubeconfig, StateDir: a.o.StateDir, Wait: time.Second})
}

// works wants the agent to get through with its own credential.
func (a *access) works() {
	a.t.Helper()
	client, err := cluster.Connect(a.credential())
	if err == nil {
		err = client.Ready(a.t.Context())
	}
	if err != nil {
		a.t.Error(err)
	}
}

func TestAccountStep(t *testing.T) {
	a := newAccess(t)
	if err := os.WriteFile(filepath.Join(a.o.StateDir, cluster.RequestFile), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	result, err := a.run()
	if err != nil || !slices.Equal(result.Changed, []string{"account", "access"}) {
		t.Fatalf("changed %v, %v", result.Changed, err)
	}
	a.works()
	if exists(filepath.Join(a.o.StateDir, cluster.RequestFile)) {
		t.Error("the request stays")
	}
	if result, err = a.run(); err != nil || len(result.Changed) > 0 {
		t.Errorf("again: changed %v, %v", result.Changed, err)
	}
	a.Forget() // the token dies
	if result, err = a.run(); err != nil || !slices.Equal(result.Changed, []string{"account"}) {
		t.Errorf("with a dead token: changed %v, %v", result.Changed, err)
	}
	a.works()
}

// TestObjectsOfOthers: who has something of the agent's names keeps it, which is told before anything is made; and what a step has
// made that fails goes again.
func TestObjectsOfOthers(t *testing.T) {
	a := newAccess(t)
	const theirs = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings/pipeops-agent"
	a.Put(theirs, map[string]any{"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": map[string]any{"name": "pipeops-agent"}})
	if err := a.o.adoptable(t.Context(), a.d); !reason.Is(err, reason.ClusterObjectTaken) {
		t.Errorf("got %v", err)
	}
	if _, err := a.run(); !reason.Is(err, reason.ClusterObjectTaken) || !slices.Equal(a.Paths(), []string{theirs}) {
		t.Errorf("%v; in the cluster is %v", err, a.Paths())
	}
}

func TestRenewCredential(t *testing.T) {
	a := newAccess(t)
	if done, err := a.renew(); err != nil || !strings.Contains(done, "there is none yet") { // of an older version, say
		t.Fatalf("%q, %v", done, err)
	}
	a.works()
	if done, err := a.renew(); err != nil || done != "The agent's credential is good" {
		t.Errorf("%q, %v", done, err)
	}
	a.Forget()
	if done, err := a.renew(); err != nil || !strings.Contains(done, "401") {
		t.Errorf("a dead token: %q, %v", done, err)
	}
	a.works()
	other := clustertest.Serve(t)
	a.d.Kubeconfig = other.Kubeconfig(t, clustertest.Admin)
	if done, err := a.renew(); err != nil || !strings.Contains(done, "leads elsewhere") {
		t.Errorf("another cluster: %q, %v", done, err)
	}
	a.works()
	a.d.Kubeconfig = other.Kubeconfig(t, "stolen")
	other.Forget()
	if _, err := a.renew(); !reason.Is(err, reason.ClusterAccess) || !strings.Contains(err.Error(), "401") {
		t.Errorf("an administrator whom nobody knows: %v", err)
	}
	a.d.Kubeconfig = filepath.Join(t.TempDir(), "none")
	if _, err := a.renew(); !reason.Is(err, reason.ClusterAccess) {
		t.Errorf("no kubeconfig: %v", err)
	}
}

// TestRenewWhileTheClusterMoves: a start of a cluster in containers writes the kubeconfig anew while it is waited for.
func TestRenewWhileTheClusterMoves(t *testing.T) {
	a := newAccess(t)
	moved, err := os.ReadFile(a.d.Kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "kubeconfig")
	var once sync.Once
	old := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		once.Do(func() {
			if err := atomicfile.Write(path, 0o600, moved); err != nil {
				t.Error(err)
			}
		})
		w.WriteHeader(http.StatusServiceUnavailable)
	}))
	defer old.Close()
	before, err := os.ReadFile(clustertest.Kubeconfig(t, old.URL, clustertest.PEM(old.Certificate()), "token: x"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, before, 0o600); err != nil {
		t.Fatal(err)
	}
	if done, err := RenewCredential(t.Context(), CredentialOptions{Distro: a.d.Chosen, Kubeconfig: path, StateDir: a.o.StateDir, Wait: time.Minute}); err != nil {
		t.Errorf("%q, %v", done, err)
	}
	a.works()
}

func TestAdoptable(t *testing.T) {
	a := newAccess(t)
	var told []wire.Event
	a.o.Events = func(e wire.Event) { told = append(told, e) }
	if err := a.o.adoptable(t.Context(), a.d); err != nil {
		t.Fatal(err)
	}
	if len(told) != 1 || !strings.HasPrefix(told[0].Message, "Adopting Kubernetes v1.33.2+k3s1 at "+a.URL) {
		t.Errorf("told %+v", told)
	}
	if strings.Contains(told[0].Message, "certificate") {
		t.Errorf("told %+v", told)
	}
	text, err := os.ReadFile(a.d.Kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	trusting := a.d
	trusting.Kubeconfig = filepath.Join(t.TempDir(), "trusting")
	blind := regexp.MustCompile(`certificate-authority-data: [^}]*`).ReplaceAllString(string(text), "insecure-skip-tls-verify: true")
	if err := os.WriteFile(trusting.Kubeconfig, []byte(blind), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := a.o.adoptable(t.Context(), trusting); err != nil {
		t.Fatal(err)
	}
	if last := told[len(told)-1].Message; !strings.Contains(last, "insecure-skip-tls-verify") {
		t.Errorf("that nobody looks at the certificate is not told: %q", last)
	}
	a.Allow = func(what string) bool { return what != "create clusterroles" && what != "bind clusterroles" }
	err = a.o.adoptable(t.Context(), a.d)
	if !reason.Is(err, reason.ClusterRights) || !strings.HasSuffix(err.Error(), "jane@example.com may not: create clusterroles.rbac.authorization.k8s.io; "+
		"bind clusterroles.rbac.authorization.k8s.io cluster-admin") {
		t.Errorf("got %v", err)
	}
	if writes := slices.DeleteFunc(a.Requests(), func(r string) bool {
		return strings.HasPrefix(r, "GET ") || strings.HasSuffix(r, "reviews")
	}); len(writes) > 0 {
		t.Errorf("it has written: %v", writes)
	}
}

// TestSeveralClusters: those that run are asked what they are, and listed with what to give for each.
func TestSeveralClusters(t *testing.T) {
	a, b := newAccess(t), newAccess(t)
	b.Version = "v1.31.1"
	facts := host.Facts{UID: host.Is(0), Clusters: []host.Cluster{
		{Name: "k3s", State: host.Running, Ours: host.Is(false), Kubeconfig: a.d.Kubeconfig},
		{Name: "kind", Cluster: "it's", State: host.Running, Ours: host.Is(false), Kubeconfig: b.d.Kubeconfig, Context: "kind-it's"},
		{Name: "k0s", State: host.Running, Ours: host.Is(false), Kubeconfig: filepath.Join(t.TempDir(), "none")},
		{Name: "kubeadm", State: host.Running, Ours: host.Is(false), Role: "agent"},
	}}
	facts.Clusters[1].Context = "c"
	a.o.askClusters(t.Context(), facts.Clusters)
	facts.Clusters[1].Context = "kind-it's"
	d := distro.Decide(facts, nil, distro.Request{Distro: distro.Existing})
	err := Refusal(d)
	if !reason.Is(err, reason.ClusterSeveral) {
		t.Fatalf("got %v", err)
	}
	var known *reason.Error
	for _, want := range []string{"k3s is running (v1.33.2+k3s1, 0 of 0 nodes ready, " + a.URL + ")", "kind it's is running (v1.31.1, 0 of 0 nodes ready, " + b.URL + ")", "k0s is running (KUBECONFIG_INVALID: "} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not say %q", err, want)
		}
	}
	if !errors.As(err, &known) {
		t.Fatal(err)
	}
	for _, want := range []string{"k3s: --distro existing --kubeconfig " + a.d.Kubeconfig + ";", "--context 'kind-it'\\''s'", "kubeadm: its kubeconfig is not known here"} {
		if !strings.Contains(known.Fix, want) {
			t.Errorf("%q does not say %q", known.Fix, want)
		}
	}
}

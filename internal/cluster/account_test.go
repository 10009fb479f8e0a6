package cluster_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pipeopshq/pipeops-agent/internal/cluster"
	"github.com/pipeopshq/pipeops-agent/internal/cluster/clustertest"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

func admin(t *testing.T, s *clustertest.Server) *cluster.Client {
	t.Helper()
	c, err := cluster.Connect(s.Kubeconfig(t, clustertest.Admin))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func sorted(all []string) []string { slices.Sort(all); return all }

const (
	rbac      = "/apis/rbac.authorization.k8s.io/v1/"
	namespace = "/api/v1/namespaces/pipeops-system"
)

func TestAccountIsMadeAndTakenBack(t *testing.T) {
	s := clustertest.Serve(t)
	c := admin(t, s)
	if made, err := c.AccountMade(t.Context(), cluster.Standing{}); err != nil || made {
		t.Errorf("made before: %v, %v", made, err)
	}
	s.Requests()
	if err := c.MakeAccount(t.Context(), cluster.Standing{}); err != nil {
		t.Fatal(err)
	}
	want := []string{
		namespace, namespace + "/serviceaccounts/pipeops-agent",
		rbac + "clusterrolebindings/pipeops-agent", rbac + "clusterroles/pipeops-agent",
		rbac + "namespaces/kube-system/rolebindings/pipeops-agent", rbac + "namespaces/kube-system/roles/pipeops-agent",
		rbac + "namespaces/pipeops-system/rolebindings/pipeops-agent", rbac + "namespaces/pipeops-system/roles/pipeops-agent",
	}
	if diff := cmp.Diff(sorted(want), sorted(s.Paths())); diff != "" {
		t.Error(diff)
	}
	if n := len(s.Requests()); n != len(want) { // an install does not wait for more
		t.Errorf("%d requests for %d objects", n, len(want))
	}
	if made, err := c.AccountMade(t.Context(), cluster.Standing{}); err != nil || !made {
		t.Errorf("made after: %v, %v", made, err)
	}

	// somebody gives the account more, and binds another role
	s.Put(rbac+"clusterroles/pipeops-agent", labelled("ClusterRole", map[string]any{"rules": []any{map[string]any{"apiGroups": []any{"*"}, "resources": []any{"*"}, "verbs": []any{"*"}}}}))
	s.Put(rbac+"clusterrolebindings/pipeops-agent", labelled("ClusterRoleBinding", map[string]any{"roleRef": map[string]any{"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"}}))
	if made, err := c.AccountMade(t.Context(), cluster.Standing{}); err != nil || made {
		t.Errorf("with other rights: %v, %v", made, err)
	}
	if err := c.MakeAccount(t.Context(), cluster.Standing{}); err != nil {
		t.Fatal(err)
	}
	if made, err := c.AccountMade(t.Context(), cluster.Standing{}); err != nil || !made {
		t.Errorf("mended: %v, %v", made, err)
	}

	s.Put("/api/v1/namespaces/kube-system/configmaps/theirs", map[string]any{"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"name": "theirs"}})
	s.Put(namespace+"/configmaps/kube-root-ca.crt", map[string]any{"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"name": "kube-root-ca.crt"}})
	for range 2 {
		left, err := c.RemoveAccount(t.Context(), cluster.Standing{})
		if err != nil || len(left) > 0 {
			t.Fatalf("left %v, %v", left, err)
		}
	}
	if got := sorted(s.Paths()); !slices.Equal(got, []string{"/api/v1/namespaces/kube-system/configmaps/theirs", namespace + "/configmaps/kube-root-ca.crt"}) {
		t.Errorf("left %v", got)
	}
}

func labelled(kind string, rest map[string]any) map[string]any {
	o := map[string]any{"apiVersion": "rbac.authorization.k8s.io/v1", "kind": kind,
		"metadata": map[string]any{"name": "pipeops-agent", "labels": map[string]any{"app.kubernetes.io/managed-by": "pipeops-agent"}}}
	for k, v := range rest {
		o[k] = v
	}
	return o
}

func TestOthersObjectsStay(t *testing.T) {
	s := clustertest.Serve(t)
	c := admin(t, s)
	theirs := map[string]any{"apiVersion": "v1", "kind": "Namespace", "metadata": map[string]any{"name": "pipeops-system"}}
	s.Put(namespace, theirs)
	if err := c.MakeAccount(t.Context(), cluster.Standing{Adopted: true, Far: true}); err != nil { // their namespace is used
		t.Fatal(err)
	}
	if left, err := c.RemoveAccount(t.Context(), cluster.Standing{Adopted: true, Far: true}); err != nil || len(left) > 0 || !slices.Equal(s.Paths(), []string{namespace}) {
		t.Errorf("left %v, %v; there is %v", left, err, s.Paths())
	}

	role := map[string]any{"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": map[string]any{"name": "pipeops-agent"}}
	s.Put(rbac+"clusterroles/pipeops-agent", role)
	if err := c.MakeAccount(t.Context(), cluster.Standing{Adopted: true, Far: true}); !reason.Is(err, reason.ClusterObjectTaken) || !strings.Contains(err.Error(), "ClusterRole pipeops-agent") {
		t.Errorf("their role: %v", err)
	}
	if left, err := c.RemoveAccount(t.Context(), cluster.Standing{Adopted: true, Far: true}); err != nil || len(left) > 0 || len(s.Paths()) != 2 {
		t.Errorf("left %v, %v; there is %v", left, err, s.Paths())
	}
}

// TestOthersBindingStays: a binding of the name of ours that somebody else has made is neither changed nor made ours.
func TestOthersBindingStays(t *testing.T) {
	s := clustertest.Serve(t)
	c := admin(t, s)
	const path = rbac + "clusterrolebindings/pipeops-admins"
	s.Put(path, map[string]any{"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": map[string]any{"name": "pipeops-admins"},
		"roleRef":  map[string]any{"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
		"subjects": []any{map[string]any{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "ops"}}})
	if err := c.AccountTaken(t.Context(), cluster.Standing{Adopted: true, Far: true}); !reason.Is(err, reason.ClusterObjectTaken) || !strings.Contains(err.Error(), "pipeops-admins") {
		t.Errorf("seen before anything is made: %v", err)
	}
	if err := c.GrantAdmins(t.Context()); !reason.Is(err, reason.ClusterObjectTaken) {
		t.Errorf("given all the same: %v", err)
	}
	if granted, err := c.AdminsGranted(t.Context()); err != nil || granted {
		t.Errorf("%v, %v", granted, err)
	}
	if err := c.RevokeAdmins(t.Context()); err != nil || !slices.Equal(s.Paths(), []string{path}) {
		t.Errorf("%v; there is %v", err, s.Paths())
	}
}

// TestNamespaceWithAnyObjectOfOthersStays: with the namespace all that is in it would go.
func TestNamespaceWithAnyObjectOfOthersStays(t *testing.T) {
	for at, kind := range map[string]string{
		"/apis/networking.k8s.io/v1/namespaces/pipeops-system/ingresses/theirs":            "Ingress",
		"/apis/networking.k8s.io/v1/namespaces/pipeops-system/networkpolicies/theirs":      "NetworkPolicy",
		"/apis/rbac.authorization.k8s.io/v1/namespaces/pipeops-system/roles/theirs":        "Role",
		"/apis/rbac.authorization.k8s.io/v1/namespaces/pipeops-system/rolebindings/theirs": "RoleBinding",
		"/apis/apps/v1/namespaces/pipeops-system/replicasets/theirs":                       "ReplicaSet",
		"/api/v1/namespaces/pipeops-system/resourcequotas/theirs":                          "ResourceQuota",
		"/api/v1/namespaces/pipeops-system/limitranges/theirs":                             "LimitRange",
		"/apis/policy/v1/namespaces/pipeops-system/poddisruptionbudgets/theirs":            "PodDisruptionBudget",
		"/apis/autoscaling/v2/namespaces/pipeops-system/horizontalpodautoscalers/theirs":   "HorizontalPodAutoscaler",
	} {
		s := clustertest.Serve(t)
		c := admin(t, s)
		if err := c.MakeAccount(t.Context(), cluster.Standing{Adopted: true, Far: true}); err != nil {
			t.Fatal(err)
		}
		s.Put(at, map[string]any{"apiVersion": "x/v1", "kind": kind, "metadata": map[string]any{"name": "theirs"}})
		left, err := c.RemoveAccount(t.Context(), cluster.Standing{Adopted: true, Far: true})
		if err != nil || len(left) != 1 || !strings.Contains(left[0], "theirs") || !slices.Equal(sorted(s.Paths()), sorted([]string{namespace, at})) {
			t.Errorf("%s: left %v, %v; there is %v", kind, left, err, s.Paths())
		}
	}
}

func TestNamespaceWithOthersObjectsStays(t *testing.T) {
	s := clustertest.Serve(t)
	c := admin(t, s)
	if err := c.MakeAccount(t.Context(), cluster.Standing{Adopted: true, Far: true}); err != nil {
		t.Fatal(err)
	}
	s.Put(namespace+"/secrets/theirs", map[string]any{"apiVersion": "v1", "kind": "Secret", "metadata": map[string]any{"name": "theirs"}})
	left, err := c.RemoveAccount(t.Context(), cluster.Standing{Adopted: true, Far: true})
	if err != nil || len(left) != 1 || !strings.Contains(left[0], "secret theirs") || !slices.Equal(sorted(s.Paths()), []string{namespace, namespace + "/secrets/theirs"}) {
		t.Errorf("left %v, %v; there is %v", left, err, s.Paths())
	}
}

func TestCredential(t *testing.T) {
	s := clustertest.Serve(t)
	c := admin(t, s)
	path := filepath.Join(t.TempDir(), cluster.CredentialFile)
	if err := c.Mint(t.Context(), path, time.Hour); err == nil || !strings.Contains(err.Error(), "cannot get a token") {
		t.Errorf("without an account: %v", err)
	}
	if err := c.MakeAccount(t.Context(), cluster.Standing{}); err != nil {
		t.Fatal(err)
	}
	if err := c.Mint(t.Context(), path, time.Minute); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	held, err := cluster.ReadCredential(path)
	if err != nil || held.Expires.Sub(held.Issued) != 10*time.Minute || !held.Leads(c) { // the least that an API server gives
		t.Errorf("%v to %v, %v", held.Issued, held.Expires, err)
	}
	source := &cluster.Source{Path: path}
	first, err := source.Client()
	if err == nil {
		err = first.Ready(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := cluster.Renew(t.Context(), path, time.Hour); err != nil {
		t.Fatal(err)
	}
	second, err := source.Client() // in use without a restart
	if err != nil || second == first {
		t.Errorf("the same client, %v", err)
	}
	s.Forget()
	if err := second.Ready(t.Context()); !cluster.Unauthorized(err) {
		t.Errorf("a token that died: %v", err)
	}
	before, _ := os.ReadFile(path)
	if err := cluster.Renew(t.Context(), path, time.Hour); !cluster.Unauthorized(err) {
		t.Errorf("renewed by a token that died: %v", err)
	}
	if after, _ := os.ReadFile(path); string(after) != string(before) {
		t.Error("a renewal that failed has changed the file")
	}
	if other := admin(t, clustertest.Serve(t)); held.Leads(other) {
		t.Error("it leads to another cluster")
	}
}

func FuzzParseCredential(f *testing.F) {
	f.Add([]byte("clusters: [{name: pipeops-agent, cluster: {server: 'https://x'}}]\nusers: [{name: pipeops-agent, user: {token: e30.eyJpYXQiOjEsImV4cCI6Mn0.c2ln}}]\n"))
	f.Add([]byte("users: [{name: pipeops-agent, user: {token: e30.eyJpYXQiOjEsImV4cCI6OTk5OTk5OTk5OTk5OTk5OTk5OX0.c2ln}}]"))
	f.Add([]byte("{"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		c, err := cluster.ParseCredential(raw)
		if err == nil && (!c.Expires.After(c.Issued) || c.Issued.Year() < 1970 || c.Expires.Year() > 100_000) {
			t.Fatalf("%v to %v", c.Issued, c.Expires)
		}
	})
}

package cluster_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/pipeopshq/pipeops-agent/internal/cluster"
	"github.com/pipeopshq/pipeops-agent/internal/cluster/clustertest"
	"github.com/pipeopshq/pipeops-agent/internal/golden"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

func machineNode(name, providerID string, ready bool, labels map[string]any) map[string]any {
	status := "False"
	if ready {
		status = "True"
	}
	if labels == nil {
		labels = map[string]any{}
	}
	return map[string]any{"apiVersion": "v1", "kind": "Node", "metadata": map[string]any{"name": name, "labels": labels}, "spec": map[string]any{"providerID": providerID},
		"status": map[string]any{"conditions": []any{map[string]any{"type": "Ready", "status": status}}}}
}

func TestLook(t *testing.T) {
	s := clustertest.Serve(t)
	s.Version = "v1.30.4-eks-a737599"
	s.Put("/api/v1/nodes/a", machineNode("a", "aws:///eu-central-1a/i-0", true, nil))
	s.Put("/api/v1/nodes/b", machineNode("b", "aws:///eu-central-1a/i-1", false, nil))
	got := cluster.Survey(t.Context(), []cluster.Place{{Kubeconfig: s.Kubeconfig(t, clustertest.Admin)}, {Kubeconfig: s.Kubeconfig(t, "stolen")}})
	want := cluster.Seen{Server: s.URL, Kubernetes: "v1.30.4-eks-a737599", Nodes: 2, Ready: 1, Provider: "eks"}
	if got[0] != want {
		t.Errorf("got %+v", got[0])
	}
	if !reason.Is(got[1].Err, reason.KubeconfigRefused) {
		t.Errorf("got %+v", got[1])
	}
}

func TestProvider(t *testing.T) {
	for _, tt := range []struct {
		id, version, label, want string
	}{
		{"aws:///eu-central-1a/i-0a1b", "v1.30.4-eks-a737599", "", "eks"},
		{"aws:///eu-central-1a/i-0a1b", "v1.30.4", "eks.amazonaws.com/nodegroup", "eks"},
		{"aws:///eu-central-1a/i-0a1b", "v1.30.4", "", "aws"},
		{"gce://project/europe-west1-b/gke-pool-1", "v1.30.5-gke.1014001", "", "gke"},
		{"gce://project/europe-west1-b/vm", "v1.30.5", "", "gcp"},
		{"azure:///subscriptions/0/resourceGroups/mc/providers/x", "v1.29.7", "kubernetes.azure.com/cluster", "aks"},
		{"azure:///subscriptions/0/resourceGroups/mc/providers/x", "v1.29.7", "", "azure"},
		{"k3s://machine", "v1.33.2+k3s1", "", "k3s"},
		{"", "v1.33.2+rke2r1", "", "rke2"},
		{"hcloud://123", "v1.33.2+k3s1", "", "hetzner"},
		{"kind://docker/kind/kind-control-plane", "v1.33.1", "", "kind"},
		{"ocid1.instance.oc1.iad.anuwcl", "v1.31.1", "", "oracle"}, // as OKE writes it, without a scheme
		{"oci://ocid1.instance.oc1.iad.anuwcl", "v1.31.1", "", "oracle"},
		{"digitalocean://123", "v1.31.1", "", "digitalocean"},
		{"", "v1.31.1", "", ""},
		{"no scheme", "v1.31.1", "", ""},
		{"\x1b[31m://x", "v1.31.1", "", ""},
		{strings.Repeat("a", 100) + "://x", "v1.31.1", "", ""},
	} {
		labels := map[string]any{}
		if tt.label != "" {
			labels[tt.label] = "x"
		}
		if got := cluster.Provider(&unstructured.Unstructured{Object: machineNode("n", tt.id, true, labels)}, tt.version); got != tt.want {
			t.Errorf("%q, %q, %q: %q, want %q", tt.id, tt.version, tt.label, got, tt.want)
		}
	}
}

// certificate makes a certificate for 127.0.0.1 that signs itself, good between two times.
func certificate(t *testing.T, from, to time.Time) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "kube-apiserver"}, NotBefore: from, NotAfter: to,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

// TestTrouble: whatever is wrong with a kubeconfig or its cluster is a reason of its own, with what was seen.
func TestTrouble(t *testing.T) {
	s := clustertest.Serve(t)
	own := certificate(t, time.Now().Add(-time.Hour), time.Now().Add(time.Hour))
	old := certificate(t, time.Now().Add(-48*time.Hour), time.Now().Add(-24*time.Hour))
	expired := httptest.NewUnstartedServer(http.NotFoundHandler())
	expired.TLS = &tls.Config{Certificates: []tls.Certificate{old}}
	expired.StartTLS()
	t.Cleanup(expired.Close)
	broken := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) }))
	t.Cleanup(broken.Close)
	gone, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := "https://" + gone.Addr().String()
	if err := gone.Close(); err != nil {
		t.Fatal(err)
	}
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = silent.Close() })
	for name, tt := range map[string]struct {
		path, context string
		code          reason.Code
		says          string
	}{
		"no file":         {filepath.Join(t.TempDir(), "none"), "", reason.KubeconfigInvalid, "no such file"},
		"no kubeconfig":   {clustertest.Kubeconfig(t, "https://x", nil, "token: {"), "", reason.KubeconfigInvalid, "it is no kubeconfig"},
		"no context":      {s.Kubeconfig(t, clustertest.Admin), "prod", reason.KubeconfigInvalid, `no context "prod" with a cluster; it has c`},
		"a plugin":        {clustertest.Kubeconfig(t, s.URL, s.CA(), "exec: {apiVersion: client.authentication.k8s.io/v1, command: aws, interactiveMode: Never}"), "", reason.KubeconfigExec, "runs aws"},
		"an old plugin":   {clustertest.Kubeconfig(t, s.URL, s.CA(), "auth-provider: {name: gcp}"), "", reason.KubeconfigExec, "plugin gcp"},
		"nobody listens":  {clustertest.Kubeconfig(t, nobody, s.CA(), "token: x"), "", reason.KubeconfigDead, "connection refused"},
		"no such name":    {clustertest.Kubeconfig(t, "https://cluster.invalid:6443", s.CA(), "token: x"), "", reason.KubeconfigDead, "cluster.invalid"},
		"nobody answers":  {clustertest.Kubeconfig(t, "https://"+silent.Addr().String(), s.CA(), "token: x"), "", reason.KubeconfigDead, "does not answer within 5s"},
		"something else":  {clustertest.Kubeconfig(t, broken.URL, clustertest.PEM(broken.Certificate()), "token: x"), "", reason.KubeconfigDead, "502 Bad Gateway"},
		"another CA":      {clustertest.Kubeconfig(t, s.URL, clustertest.PEM(own.Leaf), "token: x"), "", reason.KubeconfigUntrusted, "signed by an authority"},
		"an ended one":    {clustertest.Kubeconfig(t, expired.URL, clustertest.PEM(old.Leaf), "token: x"), "", reason.KubeconfigUntrusted, "is good from"},
		"an unknown user": {s.Kubeconfig(t, "stolen"), "", reason.KubeconfigRefused, "401"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			seen := cluster.Look(t.Context(), tt.path, tt.context)
			if !reason.Is(seen.Err, tt.code) || !strings.Contains(seen.Err.Error(), tt.says) {
				t.Errorf("got %v, want %s: %s", seen.Err, tt.code, tt.says)
			}
		})
	}
}

func TestMissing(t *testing.T) {
	s := clustertest.Serve(t)
	c := admin(t, s)
	ask := func(allow func(string) bool) []string {
		t.Helper()
		s.Allow = allow
		missing, err := c.Missing(t.Context(), cluster.InstallNeeds())
		if err != nil {
			t.Fatal(err)
		}
		var all []string
		for _, n := range missing {
			all = append(all, n.String())
		}
		return all
	}
	if got := ask(nil); len(got) > 0 {
		t.Errorf("an administrator lacks %v", got)
	}
	if got := ask(func(string) bool { return false }); len(got) != len(cluster.InstallNeeds()) {
		t.Errorf("who may do nothing lacks %d of %d", len(got), len(cluster.InstallNeeds()))
	}
	want := []string{"create namespaces", "create serviceaccounts/token pipeops-agent in pipeops-system"}
	if got := ask(func(what string) bool { return what != "create namespaces" && what != "create serviceaccounts/token" }); !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
	// who has all rights of the account may give them without escalating or binding
	grants := func(what string) bool {
		return !strings.HasPrefix(what, "escalate ") && !strings.HasPrefix(what, "bind ")
	}
	if got := ask(grants); !slices.Equal(got, []string{"bind clusterroles.rbac.authorization.k8s.io cluster-admin"}) {
		t.Errorf("got %q", got)
	}
	if got := ask(func(what string) bool { return grants(what) && what != "impersonate users" }); !slices.Contains(got, "escalate clusterroles.rbac.authorization.k8s.io") {
		t.Errorf("who may not impersonate may not give that: %q", got)
	}
	if who := c.WhoAmI(t.Context()); who != "jane@example.com" {
		t.Errorf("who am I: %q", who)
	}
}

func TestInstallRole(t *testing.T) {
	for file, user := range map[string]string{"install-account.yaml": "", "install-user.yaml": "jane@example.com", "install-serviceaccount.yaml": "system:serviceaccount:default:jane"} {
		text, err := cluster.InstallRole(user)
		if err != nil {
			t.Fatal(err)
		}
		golden.Check(t, filepath.Join("testdata", file), text)
	}
}

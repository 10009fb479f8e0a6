package cluster_test

import (
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pipeopshq/pipeops-agent/internal/cluster"
	"github.com/pipeopshq/pipeops-agent/internal/cluster/clustertest"
)

// kubeconfig names a server, and the CA of one that there is.
func kubeconfig(server, user string, ca ...*x509.Certificate) string {
	authority := ""
	for _, c := range ca {
		block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})
		authority = `,"certificate-authority-data":"` + base64.StdEncoding.EncodeToString(block) + `"`
	}
	return `{"apiVersion":"v1","kind":"Config","current-context":"c","contexts":[{"name":"c","context":{"cluster":"c","user":"u"}}],` +
		`"clusters":[{"name":"c","cluster":{"server":"` + server + `"` + authority + `}}],"users":[{"name":"u","user":` + user + `}]}`
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestSourceFollowsItsFile(t *testing.T) {
	answer := http.StatusOK
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer secret" {
			t.Error("a request without the token")
		}
		w.WriteHeader(answer)
		_, _ = w.Write([]byte(`{"gitVersion":"v1.33.2"}`))
	}))
	defer server.Close()
	source := &cluster.Source{Path: filepath.Join(t.TempDir(), "kubeconfig")}
	if _, err := source.Client(); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("without a file: %v", err)
	}
	write(t, source.Path, kubeconfig(server.URL, `{"token":"secret"}`, server.Certificate()))
	first, err := source.Client()
	if err != nil {
		t.Fatal(err)
	}
	if version, err := first.Version(t.Context()); err != nil || version != "v1.33.2" {
		t.Errorf("version %q, %v", version, err)
	}
	if again, err := source.Client(); err != nil || again != first {
		t.Errorf("the same file gives another client: %v", err)
	}
	write(t, source.Path, kubeconfig("http://127.0.0.1:1", `{"token":"secret"}`))
	other, err := source.Client()
	if err != nil || other == first || other.Base.Port() != "1" {
		t.Errorf("another file gives the same client: %v", err)
	}
	answer = http.StatusInternalServerError
	if err := first.Ready(t.Context()); err == nil || !strings.Contains(err.Error(), "500") {
		t.Errorf("a server that is not ready: %v", err)
	}
}

func TestConnectRefuses(t *testing.T) {
	path := filepath.Join(t.TempDir(), "kubeconfig")
	for name, content := range map[string]string{
		"no yaml":         "{",
		"no context":      `{"apiVersion":"v1","kind":"Config"}`,
		"a program":       kubeconfig("https://x", `{"exec":{"apiVersion":"client.authentication.k8s.io/v1","command":"/bin/true","interactiveMode":"Never"}}`),
		"a provider":      kubeconfig("https://x", `{"auth-provider":{"name":"gcp"}}`),
		"a missing token": kubeconfig("https://x", `{"tokenFile":"/none/such","client-certificate":"/none/such"}`),
	} {
		write(t, path, content)
		if _, err := cluster.Connect(path); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestAdminsAreGrantedOnce(t *testing.T) {
	client := clustertest.New()
	if granted, err := client.AdminsGranted(t.Context()); err != nil || granted {
		t.Errorf("before: %v, %v", granted, err)
	}
	for range 2 {
		if err := client.GrantAdmins(t.Context()); err != nil {
			t.Fatal(err)
		}
		if granted, err := client.AdminsGranted(t.Context()); err != nil || !granted {
			t.Errorf("after: %v, %v", granted, err)
		}
	}
}

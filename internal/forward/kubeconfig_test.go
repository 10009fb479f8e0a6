package forward

import (
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

// file is a kubeconfig of several contexts: NAME SERVER, the first is the current one.
func file(t testing.TB, user string, contexts ...string) string {
	t.Helper()
	var clusters, names strings.Builder
	for _, c := range contexts {
		name, server, _ := strings.Cut(c, " ")
		fmt.Fprintf(&clusters, "- {name: %s, cluster: {server: %q, certificate-authority-data: %s}}\n", name, server, base64.StdEncoding.EncodeToString([]byte("CA of "+name)))
		fmt.Fprintf(&names, "- {name: %[1]s, context: {cluster: %[1]s, user: u}}\n", name)
	}
	current, _, _ := strings.Cut(contexts[0], " ")
	return fmt.Sprintf("apiVersion: v1\nkind: Config\ncurrent-context: %s\ncontexts:\n%sclusters:\n%susers:\n- {name: u, user: {%s}}\n", current, names.String(), clusters.String(), user)
}

func write(t testing.TB, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "kubeconfig")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestKubeconfig(t *testing.T) {
	const token = "token: put_1.secret"
	for name, tt := range map[string]struct {
		content string
		gateway string // "" means that it is refused
		ca      string
	}{
		"as the gateway prints it": {file(t, token, "shop https://gw.example.com:8443/v1/clusters/shop"), "gw.example.com:8443", "CA of shop"},
		"without a port":           {file(t, token, "shop https://gw.example.com/v1/clusters/shop/"), "gw.example.com:443", "CA of shop"},
		"by IPv6":                  {file(t, token, "shop https://[2001:db8::1]:8443/v1/clusters/shop"), "[2001:db8::1]:8443", "CA of shop"},
		"not the current one": {file(t, token, "home https://10.0.0.1:6443", "x https://other:1/v1/clusters/xshop", "shop https://gw:1/v1/clusters/shop"),
			"gw:1", "CA of shop"},
		"the current one first":  {file(t, token, "b https://b:1/v1/clusters/shop", "a https://a:1/v1/clusters/shop"), "b:1", "CA of b"},
		"of no gateway":          {file(t, token, "shop https://10.0.0.1:6443"), "", ""},
		"of another cluster":     {file(t, token, "shop https://gw:1/v1/clusters/other"), "", ""},
		"without TLS":            {file(t, token, "shop http://gw:1/v1/clusters/shop"), "", ""},
		"without a token":        {file(t, "username: x", "shop https://gw:1/v1/clusters/shop"), "", ""},
		"with two lines of one":  {file(t, `token: "put_1\nX-Other: y"`, "shop https://gw:1/v1/clusters/shop"), "", ""},
		"with a CA that is none": {strings.ReplaceAll(file(t, token, "shop https://gw:1/v1/clusters/shop"), "data: ", "data: '!'#"), "", ""},
		"empty":                  {"", "", ""},
		"no YAML":                {"put_1.secret: [", "", ""},
		"too long":               {strings.Repeat("# long\n", 50_000), "", ""},
	} {
		a, err := Kubeconfig(write(t, tt.content), "shop")
		if tt.gateway == "" {
			if !reason.Is(err, reason.KubeconfigInvalid) || strings.Contains(err.Error(), "put_1") {
				t.Errorf("%s: %+v, %v", name, a, err)
			}
			continue
		}
		if err != nil || a.Gateway != tt.gateway || string(a.CA) != tt.ca || a.Token != "put_1.secret" || a.Cluster != "shop" {
			t.Errorf("%s: %+v, %v", name, a, err)
		}
		if strings.Contains(fmt.Sprint(a), "secret") {
			t.Errorf("%s: it shows the token: %v", name, a)
		}
	}
}

func TestFromEnvironment(t *testing.T) {
	good := write(t, file(t, "token: put_1.secret", "shop https://gw:1/v1/clusters/shop"))
	bad := write(t, file(t, "token: put_1.secret", "home https://10.0.0.1:6443"))
	for _, tt := range []struct {
		paths []string
		ok    bool
	}{{nil, false}, {[]string{bad}, false}, {[]string{bad, filepath.Join(t.TempDir(), "none"), "", good}, true}} {
		t.Setenv("KUBECONFIG", strings.Join(tt.paths, string(filepath.ListSeparator)))
		if a, ok, err := FromEnvironment("shop"); ok != tt.ok || ok != (a.Token != "") || (err != nil) != (!tt.ok && tt.paths != nil) {
			t.Errorf("%v: %v, %v, %v", tt.paths, a, ok, err)
		}
	}
}

func FuzzKubeconfig(f *testing.F) {
	f.Add(file(f, "token: put_1.secret", "shop https://gw:1/v1/clusters/shop"))
	f.Add("clusters: [{cluster: {server: [}}]")
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, content string) {
		path := filepath.Join(dir, "kubeconfig")
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if a, err := Kubeconfig(path, "shop"); err == nil && (a.Token == "" || a.Gateway == "" || strings.ContainsAny(a.Token, "\r\n")) {
			t.Fatalf("%+v", a)
		}
	})
}

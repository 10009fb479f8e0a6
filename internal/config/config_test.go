package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestFileThenEnvironment(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config.yaml")
	want := Config{Gateway: "gw:8443", Cluster: "one", Disable: []string{"traefik"}, Consent: []string{"package"}}
	content, err := want.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error("after a round trip:", diff)
	}
	env := map[string]string{"PIPEOPS_TLS_SAN": "api.example.com", "PIPEOPS_CLUSTER": "two", "PIPEOPS_DISABLE": "traefik,servicelb", "PIPEOPS_CONSENT": "package,reboot", "PIPEOPS_DATA_DIR": "/data/k3s"}
	want.TLSSAN = []string{"api.example.com"}
	want.Cluster, want.Disable, want.Consent, want.DataDir = "two", []string{"traefik", "servicelb"}, []string{"package", "reboot"}, "/data/k3s"
	if diff := cmp.Diff(want, got.Environ(func(name string) string { return env[name] })); diff != "" {
		t.Error("with the environment:", diff)
	}
}

func TestProxies(t *testing.T) {
	file := Proxy{HTTP: "http://file", HTTPS: "http://file", NoProxy: "file", Containerd: &Proxy{HTTPS: "http://images"}, Found: "there"}
	for name, c := range map[string]struct {
		env  map[string]string
		want Proxy
	}{
		"file":                            {want: file},
		"environment":                     {map[string]string{"https_proxy": "http://env", "NO_PROXY": "env"}, Proxy{HTTPS: "http://env", NoProxy: "env", Containerd: file.Containerd}},
		"NO_PROXY is of no use by itself": {map[string]string{"NO_PROXY": "env"}, file},
		"our own": {map[string]string{"HTTPS_PROXY": "http://env", "NO_PROXY": "env", "PIPEOPS_PROXY": "http://own", "PIPEOPS_NO_PROXY": "own"},
			Proxy{HTTP: "http://own", HTTPS: "http://own", NoProxy: "own", Containerd: file.Containerd}},
		"only what goes past it": {map[string]string{"PIPEOPS_NO_PROXY": "own"}, Proxy{HTTP: "http://file", HTTPS: "http://file", NoProxy: "own", Containerd: file.Containerd, Found: "there"}},
		"for images":             {map[string]string{"CONTAINERD_HTTP_PROXY": "http://env"}, Proxy{HTTP: "http://file", HTTPS: "http://file", NoProxy: "file", Containerd: &Proxy{HTTP: "http://env"}, Found: "there"}},
	} {
		got := Config{Proxy: file}.Environ(func(name string) string { return c.env[name] }).Proxy
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	path := filepath.Join(t.TempDir(), "config.yaml")
	content, err := Config{Proxy: file}.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := Load(path); err != nil || !cmp.Equal(got.Proxy, file) {
		t.Errorf("after a round trip: %+v, %v", got.Proxy, err)
	}
	if content, err := (Config{}).Encode(); err != nil || len(content) > 120 {
		t.Errorf("an empty one: %s, %v", content, err)
	}
	if err := os.WriteFile(path, []byte("proxy: http://user:s3cret@proxy\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(path); err == nil || strings.Contains(err.Error(), "s3cret") {
		t.Errorf("not a mapping: %v", err)
	}
}

func TestLoadBadFiles(t *testing.T) {
	dir := t.TempDir()
	if c, err := Load(filepath.Join(dir, "absent")); err != nil || !cmp.Equal(c, Config{}) {
		t.Errorf("an absent file gives %v, %v", c, err)
	}
	for name, content := range map[string]string{
		"unknown key": "gatway: x\n",
		"no yaml":     "gateway: [\n",
		"twice":       "gateway: a\ngateway: b\n",
		"token":       "token: secret\n",
	} {
		path := filepath.Join(dir, "bad.yaml")
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Load(path); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if _, err := Load(dir); err == nil {
		t.Error("a folder: no error")
	}
}

// TestEmptyListsAreKept: that nothing is left out of k3s is a wish, too, and must not become the default at the next run.
func TestEmptyListsAreKept(t *testing.T) {
	no := false
	for _, want := range []Config{{}, {Disable: []string{}, Consent: []string{}, Adopt: &no}} {
		content, err := want.Encode()
		if err != nil {
			t.Fatal(err)
		}
		got, err := Decode(content)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	}
}

// FuzzDecode: the file may be anybody's; what is read of it is written again as the same.
func FuzzDecode(f *testing.F) {
	f.Add([]byte("gateway: gw:8443\ndisable: []\ntls_san: [a, b]\n"))
	f.Add([]byte("adopt: false\nconsent: [package]\n"))
	f.Fuzz(func(t *testing.T, content []byte) {
		c, err := Decode(content)
		if err != nil {
			return
		}
		again, err := c.Encode()
		if err != nil {
			t.Fatal(err)
		}
		got, err := Decode(again)
		if err != nil {
			t.Fatalf("%v: %q", err, again)
		}
		if diff := cmp.Diff(c, got, cmpopts.EquateEmpty()); diff != "" {
			t.Error(diff)
		}
	})
}

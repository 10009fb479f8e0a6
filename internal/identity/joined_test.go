package identity

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

// TestJoinedIsKept: what a cluster has said is there for a run that goes on, for root only, and damage is told without the token.
func TestJoinedIsKept(t *testing.T) {
	dir := t.TempDir()
	if _, err := LoadJoined(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("nothing is there: %v", err)
	}
	j := Joined{Role: wire.RoleServer, k3sToken: "K10" + strings.Repeat("ab", 32) + "::server:topsecret"}
	j.Servers, j.K3sVersion, j.Settings = []string{"https://10.0.0.1:6443"}, "v1.33.2+k3s1", map[string][]string{"disable": {"traefik"}}
	if err := folder(dir).storeJoined(j); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, joinedFile)
	if st, err := os.Stat(path); err != nil || st.Mode() != 0o600 {
		t.Errorf("%v, %v", st, err)
	}
	got, err := LoadJoined(dir)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(j, got, cmp.AllowUnexported(Joined{})); diff != "" {
		t.Error(diff)
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, change := range [][2]string{{"server\"", "owner\""}, {"K10", "K11"}, {"https:", "http:"}, {"disable", "kubelet-arg"}, {"v1.33.2", "1.33"}, {"{", "["}} {
		if err := os.WriteFile(path, []byte(strings.Replace(string(raw), change[0], change[1], 1)), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := LoadJoined(dir); err == nil || strings.Contains(err.Error(), "topsecret") {
			t.Errorf("%s for %s: %v", change[1], change[0], err)
		}
	}
	if err := Remove(dir); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("it stays: %v", err)
	}
}

// FuzzParseJoined reads a file that anything may have damaged.
func FuzzParseJoined(f *testing.F) {
	f.Add([]byte(`{"version":1,"role":"worker","servers":["https://10.0.0.1:6443"],"k3s_version":"v1.33.2+k3s1","token":"K10::x"}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		if j, err := parseJoined(raw); err == nil && (len(j.Servers) == 0 || j.Token() == "") {
			t.Errorf("%q: %+v", raw, j)
		}
	})
}

package main

import (
	"encoding/json"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pipeopshq/pipeops-agent/internal/artifact/manifest"
	"github.com/pipeopshq/pipeops-agent/internal/bootstrap"
	"github.com/pipeopshq/pipeops-agent/internal/config"
	"github.com/pipeopshq/pipeops-agent/internal/distro"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

// TestKeptSettings wants an install that goes on by itself to have the options of the one that began.
func TestKeptSettings(t *testing.T) {
	for name, c := range map[string]config.Config{
		"few":     {Gateway: "gw:8443", Cluster: "one"},
		"nothing": {Gateway: "gw:8443", Cluster: "one", Disable: []string{}},
		"all": {Gateway: "gw:8443", Cluster: "one", Distro: "k3s", Kubeconfig: "/k", Mirror: "http://m", K3sVersion: "v1.33.2+k3s1",
			DataDir: "/srv/k3s", Disable: []string{"traefik"}, TLSSAN: []string{"x"}, Consent: []string{"reboot"}, Proxy: config.Proxy{HTTPS: "http://p:1"}},
	} {
		g := &globals{config: "/etc/c.yaml", state: "/state", socket: "/run/s"}
		s := settings{adopt: true, reboot: true}
		before, err := s.options(g, c)
		if err != nil {
			t.Fatal(err)
		}
		text, err := before.Remember([]reason.Cost{reason.CostPackage})
		if err != nil {
			t.Fatal(err)
		}
		kept, err := parseKept(text)
		if err != nil || !kept.Reboot {
			t.Fatalf("%s: %v, %+v", name, err, kept)
		}
		after, err := kept.options(&globals{state: "/state"})
		if err != nil {
			t.Fatal(err)
		}
		before.Request.Consent = []reason.Cost{reason.CostPackage} // what was agreed to
		if diff := cmp.Diff(before.Request, after.Request); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		if diff := cmp.Diff([]any{before.Install.Disable, before.Install.Proxy}, []any{after.Install.Disable, after.Install.Proxy}); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		first, err := before.Config(distro.Decision{Chosen: distro.K3s, Kubeconfig: "/k"}, before.Request.Consent)
		if err != nil {
			t.Fatal(err)
		}
		second, err := after.Config(distro.Decision{Chosen: distro.K3s, Kubeconfig: "/k"}, after.Request.Consent)
		if err != nil || string(first) != string(second) {
			t.Errorf("%s: the configuration was\n%sand is\n%s", name, first, second)
		}
		if after.ConfigPath != g.config || after.Socket != g.socket || after.Gateway != "gw:8443" || after.Token == nil {
			t.Errorf("%s: %+v", name, after)
		}
		if _, err := after.Token(); !reason.Is(err, reason.IdentityMissing) {
			t.Errorf("%s: a token: %v", name, err)
		}
	}
}

// TestABundleThatIsGoneAtTheResume wants an install that was given a bundle to ask nobody else when it goes on, and one that was
// given it earlier to say that it does.
func TestABundleThatIsGoneAtTheResume(t *testing.T) {
	c := config.Config{Gateway: "gw:8443", Cluster: "one", Bundle: filepath.Join(t.TempDir(), "gone.tar"), Mirror: "http://m"}
	for _, given := range []bool{true, false} {
		text, err := (&settings{adopt: true, bundleGiven: given}).kept(&globals{}, c, nil)
		if err != nil {
			t.Fatal(err)
		}
		kept, err := parseKept(text)
		if err != nil {
			t.Fatal(err)
		}
		o, err := kept.options(&globals{state: t.TempDir()})
		if err != nil {
			t.Fatal(err)
		}
		if len(o.Notices) != 1 || !strings.Contains(o.Notices[0], c.Bundle) || !strings.Contains(o.Notices[0], "cannot be opened") {
			t.Errorf("given %v: it says %q", given, o.Notices)
		}
		if !given {
			if o.Install.Fetcher != nil || !slices.Equal(o.Install.Manifests.Mirrors, []string{"http://m"}) {
				t.Errorf("an earlier one: %v", o.Install.Manifests.Mirrors)
			}
			continue
		}
		o.Install.Manifests.Trust = manifest.Trust{Format: 1, Name: "test", Serial: 1, Keys: []manifest.Key{{Public: make([]byte, 32), NotAfter: time.Now().Add(time.Hour)}}}
		if _, err := o.Install.Manifests.Fetch(t.Context(), o.Install.Fetcher); !reason.Is(err, reason.BundleInvalid) || bootstrap.Transient(err) {
			t.Errorf("it asks %v: %v", o.Install.Manifests.Mirrors, err)
		}
	}
}

func TestKeptIsReadStrictly(t *testing.T) {
	for _, bad := range []string{
		``, `{}`, `{"config":{"gateway":"gw:1","cluster":"one"},"more":1}`, `{"config":{"gateway":"gw:1","cluster":"Not_One"}}`,
	} {
		if _, err := parseKept([]byte(bad)); err == nil {
			t.Errorf("%s is taken", bad)
		}
	}
}

func FuzzKept(f *testing.F) {
	f.Add([]byte(`{"config":{"gateway":"gw:1","cluster":"one","disable":["x"]},"adopt":true,"file":"/c","socket":"/s"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		k, err := parseKept(data)
		if err != nil {
			return
		}
		text, err := json.Marshal(k)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := parseKept(text); err != nil {
			t.Errorf("%s became %s: %v", data, text, err)
		}
	})
}

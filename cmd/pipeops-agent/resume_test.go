package main

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pipeopshq/pipeops-agent/internal/config"
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
		first, err := before.Config("k3s", "/k", before.Request.Consent)
		if err != nil {
			t.Fatal(err)
		}
		second, err := after.Config("k3s", "/k", after.Request.Consent)
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

package main

import (
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/pipeopshq/pipeops-agent/internal/bootstrap"
	"github.com/pipeopshq/pipeops-agent/internal/config"
	"github.com/pipeopshq/pipeops-agent/internal/distro"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

// resolved is what an install with these flags would have, on a machine in dir.
func resolved(t *testing.T, dir string, flags ...string) (bootstrap.Options, config.Config, error) {
	t.Helper()
	g := &globals{config: filepath.Join(dir, "config.yaml"), state: filepath.Join(dir, "state")}
	var s settings
	var c config.Config
	var o bootstrap.Options
	command := &cobra.Command{Use: "install", SilenceErrors: true, SilenceUsage: true, RunE: func(command *cobra.Command, _ []string) (err error) {
		if c, err = s.resolve(g, command); err == nil {
			o, err = s.options(g, c)
		}
		return err
	}}
	s.register(command)
	command.Flags().StringVar(&s.Gateway, "gateway", "", "")
	command.Flags().StringVar(&s.Cluster, "cluster", "", "")
	command.SetArgs(append([]string{}, flags...)) // nil would mean those of this test
	command.SetOut(io.Discard)
	err := command.ExecuteContext(t.Context())
	return o, c, err
}

// installed does what an install with these flags does with the settings, and returns what it says of them.
func installed(t *testing.T, dir string, flags ...string) (file string, difference []string) {
	t.Helper()
	o, c, err := resolved(t, dir, flags...)
	if err != nil {
		t.Fatal(err)
	}
	consent, err := parseConsent(c.Consent)
	if err != nil {
		t.Fatal(err)
	}
	content, err := o.Config(distro.Decision{Chosen: distro.K3s, Kubeconfig: "/etc/rancher/k3s/k3s.yaml"}, consent)
	if err != nil {
		t.Fatal(err)
	}
	if before, after := o.Settings(distro.Decision{Chosen: distro.K3s, Kubeconfig: "/etc/rancher/k3s/k3s.yaml"}, consent); before != nil {
		for _, change := range bootstrap.SettingChanges(before, after) {
			difference = append(difference, change.String())
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "config.yaml"), content, 0o600); err != nil {
		t.Fatal(err)
	}
	return string(content), difference
}

// TestSettingsAreStoredOnce: the second install without any flag is the first one; a flag changes its setting and no other.
func TestSettingsAreStoredOnce(t *testing.T) {
	dir := t.TempDir()
	first, difference := installed(t, dir, "--gateway", "gw:8443", "--cluster", "shop", "--mirror", "http://mirror", "--k3s-version", "v1.33.1+k3s1",
		"--data-dir", "/data/k3s", "--disable", "traefik,servicelb,metrics-server", "--tls-san", "one.example.com", "--tls-san", "two.example.com",
		"--consent", "package", "--adopt=false")
	if len(difference) > 0 {
		t.Errorf("the first install differs from nothing: %q", difference)
	}
	if second, difference := installed(t, dir); second != first || len(difference) > 0 {
		t.Errorf("without a flag: %q\nfirst:\n%s\nsecond:\n%s", difference, first, second)
	}
	for _, tt := range []struct {
		flags []string
		want  []string
	}{
		{[]string{"--tls-san", "+three.example.com"}, []string{"tls-san: + three.example.com"}},
		{[]string{"--tls-san", "+three.example.com"}, nil},
		{[]string{"--tls-san", "three.example.com,two.example.com,one.example.com"}, nil}, // the order is nobody's business
		{[]string{"--tls-san", "four.example.com"}, []string{"tls-san: one.example.com,two.example.com,three.example.com -> four.example.com"}},
		{[]string{"--tls-san", ""}, []string{"tls-san: four.example.com -> (none)"}},
		{[]string{"--disable", "servicelb"}, []string{"disable: traefik,servicelb,metrics-server -> servicelb"}},
		{[]string{"--disable", ""}, []string{"disable: servicelb -> (none)"}},
		{nil, nil}, // and that is not the default
		{[]string{"--disable", "+traefik"}, []string{"disable: + traefik"}},
		{[]string{"--mirror", "", "--consent", ""}, []string{"mirror: http://mirror -> (none)", "consent: package -> (none)"}},
		{[]string{"--k3s-version", ""}, []string{"k3s-version: v1.33.1+k3s1 -> " + distro.K3sVersion}},
		{[]string{"--adopt"}, []string{"adopt: false -> true"}},
		{nil, nil},
	} {
		if _, got := installed(t, dir, tt.flags...); !slices.Equal(got, tt.want) {
			t.Errorf("%q: %q, want %q", tt.flags, got, tt.want)
		}
	}
	o, _, err := resolved(t, dir)
	if err != nil || o.Gateway != "gw:8443" || o.Cluster != "shop" || o.Request.DataDir != "/data/k3s" || !slices.Equal(o.Install.Disable, []string{"traefik"}) {
		t.Errorf("%+v, %v", o, err)
	}
}

func TestDefaultsAreKept(t *testing.T) {
	dir := t.TempDir()
	file, _ := installed(t, dir, "--gateway", "gw:8443", "--cluster", "shop")
	c, err := config.Decode([]byte(file))
	if err != nil || c.K3sVersion != distro.K3sVersion || !slices.Equal(c.Disable, defaultDisable()) || c.Distro != distro.K3s {
		t.Errorf("%+v, %v", c, err)
	}
	if _, got := installed(t, dir, "--disable", "+metrics-server"); !slices.Equal(got, []string{"disable: + metrics-server"}) {
		t.Errorf("%q", got)
	}
}

// TestEditedFileIsTheWish: what root writes into the file is what root wants, comments and order included.
func TestEditedFileIsTheWish(t *testing.T) {
	dir := t.TempDir()
	first, _ := installed(t, dir, "--gateway", "gw:8443", "--cluster", "shop")
	remember(t, dir, first)
	edited := "# for the new name of the API\ntls_san: [api.example.com]\n" + first
	if err := os.WriteFile(filepath.Join(dir, "config.yaml"), []byte(edited), 0o600); err != nil {
		t.Fatal(err)
	}
	file, difference := installed(t, dir)
	if file != edited || !slices.Equal(difference, []string{"tls-san: + api.example.com"}) {
		t.Errorf("%q\n%s", difference, file)
	}
}

// remember writes what an install leaves in the state folder that ended well with this file.
func remember(t *testing.T, dir, file string) {
	t.Helper()
	state := filepath.Join(dir, "state")
	if err := os.MkdirAll(state, 0o700); err != nil {
		t.Fatal(err)
	}
	content, err := json.Marshal(map[string]string{"applied": file})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(state, "settings.json"), content, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestKubeconfigGoesWithItsDistribution: that of a k3s which was to be installed is no cluster to adopt.
func TestKubeconfigGoesWithItsDistribution(t *testing.T) {
	dir := t.TempDir()
	installed(t, dir)
	for _, tt := range []struct {
		flags []string
		want  string
	}{
		{nil, "/etc/rancher/k3s/k3s.yaml"},
		{[]string{"--distro", "k3s"}, "/etc/rancher/k3s/k3s.yaml"},
		{[]string{"--distro", "existing"}, ""},
		{[]string{"--distro", "existing", "--kubeconfig", "/root/other"}, "/root/other"},
		{[]string{"--distro", "existing", "--kubeconfig", "/etc/rancher/k3s/k3s.yaml"}, "/etc/rancher/k3s/k3s.yaml"},
	} {
		o, _, err := resolved(t, dir, tt.flags...)
		if err != nil || o.Request.Kubeconfig != tt.want {
			t.Errorf("%q: %q, %v", tt.flags, o.Request.Kubeconfig, err)
		}
	}
}

func TestSettingsThatAreRefused(t *testing.T) {
	dir := t.TempDir()
	installed(t, dir)
	for _, tt := range []struct {
		flags []string
		want  string
	}{
		{[]string{"--tls-san", "one,+two"}, "a list is either new"},
		{[]string{"--disable", "+"}, "a name is missing"},
	} {
		if _, _, err := resolved(t, dir, tt.flags...); !reason.Is(err, reason.Usage) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%q: %v", tt.flags, err)
		}
	}
}

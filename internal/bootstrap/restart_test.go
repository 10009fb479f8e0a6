package bootstrap

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/artifact"
	"github.com/pipeopshq/pipeops-agent/internal/bootstrap/plan"
	"github.com/pipeopshq/pipeops-agent/internal/distro"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
	"github.com/pipeopshq/pipeops-agent/internal/unit"
)

// starts is a systemd that counts the starts of its units.
type starts struct {
	distro.Units
	states map[string]unit.State
	count  map[string]int
}

func (s *starts) Reload(context.Context) error                { return nil }
func (s *starts) ResetFailed(context.Context, string) error   { return nil }
func (s *starts) WaitActive(context.Context, string) error    { return nil }
func (s *starts) Enable(_ context.Context, name string) error { return s.set(name, "enabled", "") }
func (s *starts) set(name, file, active string) error {
	st := s.states[name]
	if file != "" {
		st.File = file
	}
	if active != "" {
		st.Active = active
	}
	s.states[name] = st
	return nil
}

func (s *starts) RestartNoWait(_ context.Context, name string) error {
	s.count[name]++
	return s.set(name, "", "active")
}

func (s *starts) State(_ context.Context, name string) (unit.State, error) {
	return s.states[name], nil
}

// TestRestartsOnlyWhatChanged runs the steps of an install again and again on a machine in a folder, each time with one thing
// changed, and counts the starts of both units.
func TestRestartsOnlyWhatChanged(t *testing.T) {
	files := map[string][]byte{}
	release := func(version, binary string) {
		at, images := "/download/"+version+"/", []byte("images")
		files[at+"k3s"], files[at+"k3s-airgap-images-amd64.tar.zst"] = []byte(binary), images
		files[at+"sha256sum-amd64.txt"] = fmt.Appendf(nil, "%x  k3s\n%x  k3s-airgap-images-amd64.tar.zst\n", sha256.Sum256([]byte(binary)), sha256.Sum256(images))
	}
	release("v1.33.2+k3s1", "k3s")
	release("v1.33.3+k3s1", "newer k3s")
	serve := func() string {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(files[r.URL.Path]))
		}))
		t.Cleanup(srv.Close)
		return srv.URL
	}
	root, state := t.TempDir(), t.TempDir()
	write := func(name, text string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(filepath.Join(root, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(root, name), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	write("/usr/local/bin/pipeops-agent", "the agent")
	for _, name := range []string{"max_user_watches", "max_user_instances"} {
		write("/proc/sys/fs/inotify/"+name, "1048576\n")
	}
	units := &starts{states: map[string]unit.State{}, count: map[string]int{}}
	o := Options{
		Install: distro.Install{
			Root: root, Dir: state, Version: "v1.33.2+k3s1", Arch: "amd64", Mirror: serve(), Disable: []string{"traefik"},
			Fetcher: &artifact.Fetcher{}, LastWords: func(context.Context, string) string { return "" },
		},
		ConfigPath: "/etc/pipeops-agent/config.yaml", StateDir: state, Program: "/usr/local/bin/pipeops-agent",
	}
	d := distro.Decision{Chosen: distro.K3s, Kubeconfig: "/etc/rancher/k3s/k3s.yaml"}
	o.Config = func(distribution, kubeconfig string, _ []reason.Cost) ([]byte, error) {
		in := o.Install
		return fmt.Appendf(nil, "distro: %s\nkubeconfig: %s\nmirror: %s\ntls_san: %v\ndisable: %v\nversion: %s\n",
			distribution, kubeconfig, in.Mirror, in.TLSNames, in.Disable, in.Version), nil
	}
	for _, tt := range []struct {
		name       string
		change     func()
		k3s, agent int
	}{
		{"first", func() {}, 1, 1},
		{"nothing", func() {}, 0, 0},
		{"tls-san", func() { o.Install.TLSNames = []string{"api.example.com"} }, 1, 0},
		{"disable", func() { o.Install.Disable = []string{} }, 1, 0},
		{"mirror", func() { o.Install.Mirror = serve() }, 0, 0},
		{"kubeconfig", func() { d.Kubeconfig = "/root/other" }, 0, 1},
		{"a newer agent", func() { write("/usr/local/bin/pipeops-agent", "a newer agent") }, 0, 1},
		{"k3s-version", func() { o.Install.Version = "v1.33.3+k3s1" }, 1, 0},
		{"nothing again", func() {}, 0, 0},
	} {
		tt.change()
		clear(units.count)
		steps, err := o.changes(d, units)
		if err != nil {
			t.Fatal(err)
		}
		steps = slices.DeleteFunc(steps, func(s plan.Step) bool { return s.ID == "layer-api" || s.ID == "access" }) // ask a cluster
		store, err := plan.Open(state, root)
		if err != nil {
			t.Fatal(err)
		}
		result, err := (&plan.Runner{Store: store}).Run(t.Context(), plan.Plan{Name: "install", Steps: steps})
		if err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		if err := store.Close(); err != nil {
			t.Fatal(err)
		}
		if units.count["k3s.service"] != tt.k3s || units.count["pipeops-agent.service"] != tt.agent {
			t.Errorf("%s: starts %v, want k3s %d, agent %d", tt.name, units.count, tt.k3s, tt.agent)
		}
		if nothing := strings.HasPrefix(tt.name, "nothing"); nothing != (len(result.Changed) == 0) {
			t.Errorf("%s: changed %v", tt.name, result.Changed)
		}
	}
}

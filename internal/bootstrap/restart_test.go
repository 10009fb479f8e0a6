package bootstrap

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
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
	"github.com/pipeopshq/pipeops-agent/internal/artifact/manifest"
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

func (s *starts) Reload(context.Context) error                 { return nil }
func (s *starts) ResetFailed(context.Context, string) error    { return nil }
func (s *starts) WaitActive(context.Context, string) error     { return nil }
func (s *starts) Enable(_ context.Context, name string) error  { return s.set(name, "enabled", "") }
func (s *starts) StopAll(_ context.Context, name string) error { return s.set(name, "", "inactive") }
func (s *starts) Disable(_ context.Context, name string) error { return s.set(name, "disabled", "") }
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

// folder is a machine in a folder, with a mirror of two releases of k3s and a systemd that counts.
type folder struct {
	t           *testing.T
	root, state string
	mirror      k3sMirror
	units       *starts
	o           Options
	d           distro.Decision
}

// newFolder makes the machine below root. The binary of k3s and its images have so many bytes.
func newFolder(t *testing.T, root, state string, mirror k3sMirror) *folder {
	t.Helper()
	f := &folder{t: t, root: root, state: state, mirror: mirror, units: &starts{states: map[string]unit.State{}, count: map[string]int{}}}
	f.write("/usr/local/bin/pipeops-agent", "the agent")
	for _, name := range []string{"max_user_watches", "max_user_instances"} {
		f.write("/proc/sys/fs/inotify/"+name, "8192\n")
	}
	f.o = Options{
		Install: distro.Install{
			Root: root, Dir: state, Version: "v1.33.2+k3s1", Arch: "amd64", Disable: []string{"traefik"}, Units: f.units,
			Fetcher: &artifact.Fetcher{}, LastWords: func(context.Context, string) string { return "" },
		},
		ConfigPath: "/etc/pipeops-agent/config.yaml", StateDir: state, Program: "/usr/local/bin/pipeops-agent",
	}
	f.d = distro.Decision{Chosen: distro.K3s, Kubeconfig: "/etc/rancher/k3s/k3s.yaml"}
	f.o.Config = func(d distro.Decision, _ []reason.Cost) ([]byte, error) {
		in := f.o.Install
		return fmt.Appendf(nil, "distro: %s\nkubeconfig: %s\nmirror: %s\ntls_san: %v\ndisable: %v\nversion: %s\n",
			d.Chosen, d.Kubeconfig, f.mirror.url, in.TLSNames, in.Disable, in.Version), nil
	}
	return f
}

func (f *folder) write(name, text string) {
	f.t.Helper()
	if err := os.MkdirAll(filepath.Dir(filepath.Join(f.root, name)), 0o755); err != nil {
		f.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(f.root, name), []byte(text), 0o755); err != nil {
		f.t.Fatal(err)
	}
}

// run runs the steps that change the machine, but for those that ask a cluster.
func (f *folder) run(onEvent func(plan.Event)) (result plan.Result, err error) {
	f.t.Helper()
	f.o.Install.Manifests = f.manifests()
	steps, err := f.o.changes(f.d, f.units)
	if err != nil {
		f.t.Fatal(err)
	}
	steps = slices.DeleteFunc(steps, func(s plan.Step) bool { return s.ID == "layer-api" || s.ID == "account" || s.ID == "access" })
	store, err := plan.Open(f.state, f.root)
	if err != nil {
		return result, named(err)
	}
	store.Undo = f.o.Install.Undo()
	result, err = (&plan.Runner{Store: store, OnEvent: onEvent}).Run(f.t.Context(), plan.Plan{Name: "install", Steps: steps})
	return result, named(errors.Join(err, store.Close()))
}

// k3sMirror is a mirror of two releases of k3s, and the trust in who signed them.
type k3sMirror struct {
	url   string
	trust manifest.Trust
	files map[string][]byte
}

// serveK3s serves two releases whose binaries and images have so many bytes.
func serveK3s(t *testing.T, bytesEach int) k3sMirror {
	t.Helper()
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	list := manifest.Manifest{Format: 1, Serial: 1, Created: now, Expires: now.Add(time.Hour)}
	k := k3sMirror{files: map[string][]byte{}, trust: manifest.Trust{Format: 1, Name: "test", Serial: 1,
		Keys: []manifest.Key{{Public: public, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour)}}}}
	for _, version := range []string{"v1.33.2+k3s1", "v1.33.3+k3s1"} {
		for role, name := range map[string]string{"binary": "k3s", "images": "k3s-airgap-images-amd64.tar.zst"} {
			content := bytes.Repeat([]byte(role+version), bytesEach/len(role+version))
			path := "k3s-io/k3s/releases/download/" + version + "/" + name
			k.files["/"+path] = content
			list.Files = append(list.Files, manifest.File{
				Product: "k3s", Version: version, Arch: "amd64", Name: role, Origin: manifest.Origin, Path: path,
				Bytes: int64(len(content)), SHA256: fmt.Sprintf("%x", sha256.Sum256(content)),
			})
		}
	}
	sealed, err := manifest.Seal(manifest.ManifestType, list)
	if err == nil {
		sealed, err = sealed.Signed(private)
	}
	if err == nil {
		k.files["/"+manifest.Path], err = sealed.Encode()
	}
	if err != nil {
		t.Fatal(err)
	}
	k.serve(t)
	return k
}

// serve serves the same at another address.
func (k *k3sMirror) serve(t *testing.T) {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(k.files[r.URL.Path]))
	}))
	t.Cleanup(srv.Close)
	k.url = srv.URL
}

// manifests is what a new run of the program begins with.
func (f *folder) manifests() *artifact.Manifests {
	return &artifact.Manifests{Trust: f.mirror.trust, Mirrors: []string{f.mirror.url}, Dir: filepath.Join(f.state, "manifest")}
}

// TestRestartsOnlyWhatChanged runs the steps of an install again and again on a machine in a folder, each time with one thing
// changed, and counts the starts of both units.
func TestRestartsOnlyWhatChanged(t *testing.T) {
	f := newFolder(t, t.TempDir(), t.TempDir(), serveK3s(t, 100))
	in := &f.o.Install
	for _, tt := range []struct {
		name       string
		change     func()
		k3s, agent int
	}{
		{"first", func() {}, 1, 1},
		{"nothing", func() {}, 0, 0},
		{"tls-san", func() { in.TLSNames = []string{"api.example.com"} }, 1, 0},
		{"disable", func() { in.Disable = []string{} }, 1, 0},
		{"mirror", func() { f.mirror.serve(t) }, 0, 0},
		{"kubeconfig", func() { f.d.Kubeconfig = "/root/other" }, 0, 0}, // the agent does not use it
		{"a newer agent", func() { f.write("/usr/local/bin/pipeops-agent", "a newer agent") }, 0, 1},
		{"k3s-version", func() { in.Version = "v1.33.3+k3s1" }, 1, 0},
		{"nothing again", func() {}, 0, 0},
	} {
		tt.change()
		clear(f.units.count)
		result, err := f.run(nil)
		if err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		if got := f.units.count; got["k3s.service"] != tt.k3s || got["pipeops-agent.service"] != tt.agent {
			t.Errorf("%s: starts %v, want k3s %d, agent %d", tt.name, got, tt.k3s, tt.agent)
		}
		if nothing := strings.HasPrefix(tt.name, "nothing"); nothing != (len(result.Changed) == 0) {
			t.Errorf("%s: changed %v", tt.name, result.Changed)
		}
	}
}

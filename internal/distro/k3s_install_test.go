package distro

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pipeopshq/pipeops-agent/internal/artifact"
	"github.com/pipeopshq/pipeops-agent/internal/artifact/manifest"
	"github.com/pipeopshq/pipeops-agent/internal/bootstrap/plan"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
	"github.com/pipeopshq/pipeops-agent/internal/unit"
)

// fakeUnits is systemd: it starts whatever is asked for, unless it has a failure for it.
type fakeUnits struct {
	calls  []string
	states map[string]unit.State
	fail   error // of the next start
}

func (u *fakeUnits) call(verb, name string, change func(*unit.State)) error {
	u.calls = append(u.calls, strings.TrimSpace(verb+" "+name))
	if change != nil {
		s := u.states[name]
		change(&s)
		u.states[name] = s
	}
	return nil
}

// boot starts what is enabled, and nothing else.
func (u *fakeUnits) boot() {
	for name, s := range u.states {
		s.Active = "inactive"
		if s.Enabled() {
			s.Active = "active"
		}
		u.states[name] = s
	}
}

func (u *fakeUnits) Reload(context.Context) error { return u.call("reload", "", nil) }
func (u *fakeUnits) ResetFailed(_ context.Context, name string) error {
	return u.call("reset", name, nil)
}

func (u *fakeUnits) Enable(_ context.Context, name string) error {
	return u.call("enable", name, func(s *unit.State) { s.File = "enabled" })
}

func (u *fakeUnits) Disable(_ context.Context, name string) error {
	return u.call("disable", name, func(s *unit.State) { s.File = "" })
}

func (u *fakeUnits) RestartNoWait(_ context.Context, name string) error {
	return u.call("restart", name, func(s *unit.State) { s.Active = "active" })
}

func (u *fakeUnits) Stop(_ context.Context, name string) error {
	return u.call("stop", name, func(s *unit.State) { s.Active = "inactive" })
}

func (u *fakeUnits) StopAll(_ context.Context, name string) error {
	return u.call("stop", name, func(s *unit.State) { s.Active = "inactive" })
}

func (u *fakeUnits) State(_ context.Context, name string) (unit.State, error) {
	return u.states[name], nil
}

func (u *fakeUnits) WaitActive(context.Context, string) error {
	err := u.fail
	u.fail = nil
	return err
}

// since returns the calls since the last time that it was asked.
func (u *fakeUnits) since() []string {
	calls := u.calls
	u.calls = nil
	return calls
}

// bench is a machine in a folder, a mirror and a systemd.
type bench struct {
	t      *testing.T
	in     Install
	units  *fakeUnits
	mirror map[string][]byte // by path
	asked  atomic.Int32
	key    ed25519.PrivateKey
	list   manifest.Manifest
}

func newBench(t *testing.T) *bench {
	b := &bench{t: t, units: &fakeUnits{states: map[string]unit.State{}}, mirror: map[string][]byte{}}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b.asked.Add(1)
		content, ok := b.mirror[r.URL.Path]
		if !ok {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content))
	}))
	t.Cleanup(srv.Close)
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	b.key, b.list = private, manifest.Manifest{Format: 1, Created: now, Expires: now.Add(time.Hour)}
	trust := manifest.Trust{Format: 1, Name: "test", Serial: 1, Keys: []manifest.Key{{Public: public, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour)}}}
	b.release("v1.33.2+k3s1", "the k3s binary")
	b.in = Install{
		Root: t.TempDir(), Dir: filepath.Join(t.TempDir(), "state"),
		Version: "v1.33.2+k3s1", Arch: "amd64", Disable: []string{"traefik"},
		Remedies:  []Remedy{{ID: RemedyOOMScore}},
		Fetcher:   &artifact.Fetcher{Pause: func(ctx context.Context, _ time.Duration) error { return ctx.Err() }},
		Units:     b.units,
		LastWords: func(context.Context, string) string { return "level=fatal msg=\"no cgroups\"" },
	}
	b.in.Manifests = &artifact.Manifests{Trust: trust, Mirrors: []string{srv.URL}, Dir: filepath.Join(b.in.Dir, "manifest")}
	b.write("/proc/sys/fs/inotify/max_user_watches", "8192\n")
	b.write("/proc/sys/fs/inotify/max_user_instances", "8192\n")
	b.write("/proc/sys/net/ipv4/tcp_wmem", "4096\t16384\t4194304\n")
	return b
}

// anew is what a new run of the program begins with.
func (b *bench) anew() {
	m := b.in.Manifests
	b.in.Manifests = &artifact.Manifests{Trust: m.Trust, Mirrors: m.Mirrors, Dir: m.Dir}
}

func (b *bench) release(version, binary string) {
	images := []byte("the images of " + version)
	at := "/k3s-io/k3s/releases/download/" + version + "/"
	for name, content := range map[string][]byte{"k3s": []byte(binary), "k3s-airgap-images-amd64.tar.zst": images} {
		b.mirror[at+name] = content
		role := map[bool]string{true: "binary", false: "images"}[name == "k3s"]
		b.list.Files = append(b.list.Files, manifest.File{
			Product: "k3s", Version: version, Arch: "amd64", Name: role, Origin: manifest.Origin, Path: strings.TrimPrefix(at, "/") + name,
			Bytes: int64(len(content)), SHA256: fmt.Sprintf("%x", sha256.Sum256(content)),
		})
	}
	b.publish()
}

// publish signs the list as the next one.
func (b *bench) publish() {
	b.t.Helper()
	b.list.Serial++
	e, err := manifest.Seal(manifest.ManifestType, b.list)
	if err != nil {
		b.t.Fatal(err)
	}
	if e, err = e.Signed(b.key); err != nil {
		b.t.Fatal(err)
	}
	if b.mirror["/"+manifest.Path], err = e.Encode(); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) write(target, content string) {
	b.t.Helper()
	if err := os.MkdirAll(filepath.Dir(b.in.path(target)), 0o755); err != nil {
		b.t.Fatal(err)
	}
	if err := os.WriteFile(b.in.path(target), []byte(content), 0o644); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) read(target string) string {
	b.t.Helper()
	text, err := os.ReadFile(b.in.path(target))
	if err != nil {
		b.t.Error(err)
	}
	return string(text)
}

func (b *bench) run(onEvent func(plan.Event)) (plan.Result, error) {
	b.t.Helper()
	b.anew()
	steps, err := k3sSteps(b.in)
	if err != nil {
		return plan.Result{}, err
	}
	return b.runSteps(steps, onEvent)
}

func (b *bench) runSteps(steps []plan.Step, onEvent func(plan.Event)) (plan.Result, error) {
	b.t.Helper()
	s, err := plan.Open(b.in.Dir, b.in.Root)
	if err != nil {
		b.t.Fatal(err)
	}
	s.Undo = b.in.Undo()
	defer s.Close()
	return (&plan.Runner{Store: s, OnEvent: onEvent}).Run(b.t.Context(), plan.Plan{Name: "install", Steps: steps})
}

// must runs and wants these steps to change something.
func (b *bench) must(changed ...string) {
	b.t.Helper()
	res, err := b.run(nil)
	if err != nil || !slices.Equal(res.Changed, changed) {
		b.t.Errorf("changed %v, %v; want %v", res.Changed, err, changed)
	}
}

func (b *bench) tree() string {
	b.t.Helper()
	var out strings.Builder
	err := filepath.WalkDir(b.in.Root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		st, err := d.Info()
		if err != nil {
			return err
		}
		content := ""
		switch {
		case st.Mode().IsRegular():
			content = b.read(strings.TrimPrefix(path, b.in.Root))
		case st.Mode()&fs.ModeSymlink != 0:
			content, err = os.Readlink(path)
		}
		fmt.Fprintf(&out, "%s %v %q\n", strings.TrimPrefix(path, b.in.Root), st.Mode(), content)
		return err
	})
	if err != nil {
		b.t.Fatal(err)
	}
	return out.String()
}

var _ Units = (*unit.Manager)(nil)

func TestK3sInstall(t *testing.T) {
	b := newBench(t)
	b.must("k3s-binary", "k3s-images", "sysctl", "k3s-config", "k3s-containerd", "k3s-unit")
	for target, want := range map[string]string{
		"/usr/local/bin/k3s": "the k3s binary",
		"/var/lib/rancher/k3s/agent/images/k3s-airgap-images-amd64.tar.zst": "the images of v1.33.2+k3s1",
		"/proc/sys/fs/inotify/max_user_watches":                             "524288\n",
		"/proc/sys/fs/inotify/max_user_instances":                           "8192\n",
		"/etc/sysctl.d/90-pipeops-agent.conf":                               "# Written by pipeops-agent.\nfs.inotify.max_user_watches = 524288\nnet.ipv4.tcp_wmem = 4096 16384 16777216\n",
		"/proc/sys/net/ipv4/tcp_wmem":                                       "4096\t16384\t16777216\n",
		"/etc/systemd/system/k3s.service":                                   k3sUnitFile,
	} {
		if got := b.read(target); got != want {
			t.Errorf("%s: %q", target, got)
		}
	}
	if got := b.read(k3sConfig); !strings.Contains(got, "\ndisable:\n- traefik\nwrite-kubeconfig-mode: \"0600\"\n") {
		t.Errorf("config.yaml: %s", got)
	}
	for target, mode := range map[string]fs.FileMode{k3sBinary: 0o755, k3sConfig: 0o600, k3sUnit: 0o644} {
		if st, err := os.Stat(b.in.path(target)); err != nil || st.Mode() != mode {
			t.Errorf("%s: mode %v, %v", target, st.Mode(), err)
		}
	}
	if to, err := os.Readlink(b.in.path("/usr/local/bin/kubectl")); err != nil || to != "k3s" {
		t.Errorf("kubectl -> %s, %v", to, err)
	}
	want := []string{"reload", "enable k3s.service", "reset k3s.service", "restart k3s.service"}
	if got := b.units.since(); !slices.Equal(got, want) {
		t.Errorf("systemd was told %v", got)
	}
	if left, err := filepath.Glob(filepath.Join(b.in.Dir, "artifacts", "*")); err != nil || len(left) != 0 {
		t.Errorf("there are left %v, %v", left, err)
	}

	tree, asked := b.tree(), b.asked.Load()
	b.must()
	if got := b.tree(); got != tree {
		t.Error(cmp.Diff(tree, got))
	}
	if got := b.units.since(); len(got) != 0 || b.asked.Load() != asked {
		t.Errorf("a second run tells systemd %v and asks the mirror %d times", got, b.asked.Load()-asked)
	}
}

func TestOnlyWhatChangedIsDoneAgain(t *testing.T) {
	b := newBench(t)
	if _, err := b.run(nil); err != nil {
		t.Fatal(err)
	}
	b.units.since()
	b.in.Disable = append(b.in.Disable, "servicelb")
	b.must("k3s-config", "k3s-unit")
	if got := b.units.since(); !slices.Contains(got, "restart k3s.service") {
		t.Errorf("systemd was told %v", got)
	}
	b.release("v1.33.3+k3s1", "a newer binary")
	b.in.Version = "v1.33.3+k3s1"
	b.must("k3s-binary", "k3s-images", "k3s-unit")
	if got := b.read(k3sBinary); got != "a newer binary" {
		t.Error(got)
	}
	b.must()
	if err := os.Chmod(b.in.path(k3sBinary), 0o644); err != nil {
		t.Fatal(err)
	}
	b.must("k3s-binary")
}

func TestEveryEventIsACrashPoint(t *testing.T) {
	clean := newBench(t)
	if _, err := clean.run(nil); err != nil {
		t.Fatal(err)
	}
	want := clean.tree()
	for n := 0; ; n++ {
		b := newBench(t)
		events, died := 0, false
		func() {
			defer func() { died = recover() != nil }()
			if _, err := b.run(func(e plan.Event) {
				if e.State == plan.Progress { // comes from goroutines, whose panics nobody can catch
					return
				}
				if events++; events > n {
					panic("crash")
				}
			}); err != nil {
				t.Fatal(err)
			}
		}()
		if !died {
			if n < 14 {
				t.Errorf("only %d events", n)
			}
			return
		}
		if _, err := b.run(nil); err != nil {
			t.Errorf("after a crash at event %d: %v", n, err)
		}
		if got := b.tree(); got != want {
			t.Errorf("after a crash at event %d:\n%s", n, cmp.Diff(want, got))
		}
	}
}

func TestSomebodyElsesFilesStay(t *testing.T) {
	b := newBench(t)
	b.write(k3sConfig, "disable: [metrics-server]\n")
	b.write("/usr/bin/kubectl", "another kubectl")
	b.in.ResolvConf = []byte("nameserver 10.0.0.2\n")
	if _, err := b.run(nil); err != nil {
		t.Fatal(err)
	}
	if got := b.read(k3sConfig); got != "disable: [metrics-server]\n" {
		t.Errorf("config.yaml: %s", got)
	}
	want := "disable+:\n- traefik\nresolv-conf: /etc/rancher/k3s/resolv.pipeops.conf\nwrite-kubeconfig-mode: \"0600\"\n"
	if got := b.read(k3sConfigDropIn); !strings.HasSuffix(got, want) {
		t.Errorf("drop-in: %s", got)
	}
	if got := b.read(k3sResolvConf); got != "nameserver 10.0.0.2\n" {
		t.Errorf("resolv.conf: %s", got)
	}
	if _, err := os.Lstat(b.in.path("/usr/local/bin/kubectl")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("kubectl is hidden by ours: %v", err)
	}
	b.must()

	b = newBench(t)
	b.write(k3sDataDir+containerdTemplate, "somebody's template")
	_, err := b.run(nil)
	if !reason.Is(err, reason.ClusterDebris) || b.read(k3sDataDir+containerdTemplate) != "somebody's template" {
		t.Errorf("err = %v", err)
	}
	if _, err := os.Lstat(b.in.path(k3sDataDir + containerdDropIn)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the step is half undone: %v", err)
	}
}

func TestK3sThatDoesNotStart(t *testing.T) {
	b := newBench(t)
	b.units.fail = errors.New("k3s.service does not start")
	_, err := b.run(nil)
	if !reason.Is(err, reason.StepFailed) || !strings.Contains(err.Error(), "no cgroups") {
		t.Errorf("err = %v", err)
	}
	want := []string{"disable k3s.service", "stop k3s.service", "reset k3s.service", "reload"}
	if got := b.units.since(); !slices.Equal(got[len(got)-4:], want) {
		t.Errorf("systemd was told %v", got)
	}
	if _, err := os.Lstat(b.in.path(k3sUnit)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the unit's file is left: %v", err)
	}
	b.must("k3s-unit")

	// a cluster that has worked is not taken down by a change that does not work
	b.in.Disable = nil
	b.units.since()
	b.units.fail = errors.New("k3s.service does not start")
	if _, err := b.run(nil); !reason.Is(err, reason.StepFailed) {
		t.Errorf("err = %v", err)
	}
	got := b.units.since()
	if slices.Contains(got, "stop k3s.service") || slices.Contains(got, "disable k3s.service") || got[len(got)-1] != "restart k3s.service" {
		t.Errorf("systemd was told %v", got)
	}
}

func TestStepsCannotBeMade(t *testing.T) {
	for _, c := range []struct {
		want   reason.Code
		change func(*Install)
	}{
		{reason.Usage, func(in *Install) { in.Version = "newest" }},
		{reason.Usage, func(in *Install) { in.TLSNames = []string{"api.example.com", "foo bar"} }},
		{reason.Usage, func(in *Install) { in.Disable = []string{"traefik", "--x"} }},
		{reason.HostArch, func(in *Install) { in.Arch = "riscv64" }},
		{reason.HostOOMScore, func(in *Install) { in.Version = "v1.30.1+k3s1" }},
	} {
		in := Install{Dir: t.TempDir(), Arch: "amd64", Remedies: []Remedy{{ID: RemedyOOMScore}}, TLSNames: []string{"API.example.com", "10.0.0.1", "fd00::1"}, Disable: []string{"metrics-server"}}
		if _, err := k3sSteps(in); err != nil {
			t.Errorf("with defaults: %v", err)
		}
		c.change(&in)
		if _, err := k3sSteps(in); !reason.Is(err, c.want) {
			t.Errorf("%s: %v", c.want, err)
		}
	}
}

func TestContainerdTemplateOnlyForReleasesWithoutImports(t *testing.T) {
	for version, want := range map[string]int{
		"v1.31.6+k3s1": 2, "v1.32.2+k3s1": 2, "v1.32.13+k3s1": 2, "v1.33.2+k3s1": 2, "v1.33.8+k3s1": 2,
		"v1.33.9+k3s1": 1, "v1.34.4+k3s1": 2, "v1.34.5+k3s1": 1, "v1.35.1+k3s1": 2, "v1.35.2+k3s1": 1, "v1.36.0+k3s1": 1,
		"v1.31.5+k3s1": 0, "v1.32.1+k3s1": 0, "v1.29.9+k3s1": 0,
	} {
		files, err := (&k3sInstall{Install: Install{Version: version}}).containerdFiles()
		if len(files) != want || (err != nil) != (want == 0) {
			t.Errorf("%s: %d files, %v; want %d", version, len(files), err, want)
		}
	}
}

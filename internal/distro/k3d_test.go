package distro

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pipeopshq/pipeops-agent/internal/bootstrap/plan"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

// theirs is what the engine of a bench has that is not ours.
func theirs() []string { return []string{"network bridge", "network theirs", "volume theirs"} }

func (b *k3dBench) mustChange(want ...string) {
	b.t.Helper()
	result, err := b.runSteps(b.steps(), nil)
	if err != nil || !slices.Equal(result.Changed, want) {
		b.t.Errorf("changed %v, %v; want %v", result.Changed, err, want)
	}
}

// refused runs the steps and wants them to fail for a reason.
func (b *k3dBench) refused(code reason.Code, evidence string) {
	b.t.Helper()
	_, err := b.runSteps(b.steps(), nil)
	if !reason.Is(err, code) || !strings.Contains(err.Error(), evidence) {
		b.t.Errorf("%v, want %s with %q", err, code, evidence)
	}
}

func TestK3dInstall(t *testing.T) {
	b := newK3dBench(t)
	before := b.tree()
	b.mustChange("k3d-images", "k3d-binary", "sysctl", "k3d-config", "k3d-cluster", "cluster-unit")
	if got := MadeCluster(b.in); got != K3d {
		t.Errorf("the cluster that was made is %q", got)
	}
	want := append(theirs(), "container k3d-pipeops-server-0 running", "image rancher/k3s:v1.33.2-k3s1", "network k3d-pipeops", "volume anonymous of k3d-pipeops-server-0")
	slices.Sort(want)
	if got := b.engine.holds(); !slices.Equal(got, want) {
		t.Error(cmp.Diff(want, got))
	}
	if len(b.engine.refused) > 0 {
		t.Errorf("the engine did not speak %v", b.engine.refused)
	}
	for target, mode := range map[string]os.FileMode{"/usr/local/bin/k3d": 0o755, "/etc/pipeops-agent/k3d/cluster.yaml": 0o600, "/etc/pipeops-agent/k3d/kubeconfig": 0o600} {
		if st, err := os.Stat(b.in.path(target)); err != nil || st.Mode() != mode {
			t.Errorf("%s: %v", target, err)
		}
	}
	if got := b.read("/etc/systemd/system/pipeops-agent-cluster.service"); !strings.Contains(got, "\nExecStart=/usr/local/bin/pipeops-agent cluster start\n") {
		t.Error(got)
	}
	tree, calls := b.tree(), len(b.calls)
	b.mustChange()
	if got := b.tree(); got != tree || len(b.calls) != calls {
		t.Errorf("a second run calls %v, and changes %s", b.calls[calls:], cmp.Diff(tree, got))
	}
	b.uninstalled(before)
	if got := b.engine.holds(); !slices.Equal(got, theirs()) || MadeCluster(b.in) != "" {
		t.Errorf("after the uninstall: %s", cmp.Diff(theirs(), got))
	}
}

// TestEveryRecordOfK3dIsACrashPoint kills an install at each write of journal and ledger, and goes on.
func TestEveryRecordOfK3dIsACrashPoint(t *testing.T) {
	if _, err := os.Stat("/dev/shm"); err == nil {
		t.Setenv("TMPDIR", "/dev/shm")
	}
	clean := newK3dBench(t)
	if _, err := clean.runSteps(clean.steps(), nil); err != nil {
		t.Fatal(err)
	}
	tree, changes, holds := clean.tree(), clean.changes(), clean.engine.holds()
	for n := 1; ; n++ {
		b := newK3dBench(t)
		b.api = clean.api // the same in all files
		before := b.tree()
		if b.dieWith(n, b.steps()) {
			if n < 30 {
				t.Errorf("only %d crash points: are they still called?", n)
			}
			return
		}
		if _, err := b.runSteps(b.steps(), nil); err != nil {
			t.Fatalf("crash point %d: it does not go on: %v", n, err)
		}
		if got := b.tree(); got != tree {
			t.Errorf("crash point %d: another end state:\n%s", n, cmp.Diff(tree, got))
		}
		if got := b.changes(); !cmp.Equal(changes, got) {
			t.Errorf("crash point %d: lost or repeated changes:\n%s", n, cmp.Diff(changes, got))
		}
		if got := b.engine.holds(); !slices.Equal(got, holds) {
			t.Errorf("crash point %d: the engine holds\n%s", n, cmp.Diff(holds, got))
		}
		b.uninstalled(before)
		if got := b.engine.holds(); !slices.Equal(got, theirs()) {
			t.Errorf("crash point %d: after the uninstall: %s", n, cmp.Diff(theirs(), got))
		}
	}
}

// TestK3dIsMadeAnew wants half a cluster of a run that was killed to go, and one that was lost to come back.
func TestK3dIsMadeAnew(t *testing.T) {
	b := newK3dBench(t)
	killed := errors.New("killed")
	b.fail = func(args []string) error {
		if args[0] == "cluster" {
			b.engine.make("pipeops", "server", 0, "")
			panic(crash{})
		}
		return nil
	}
	func() {
		defer func() { _ = recover() }()
		_, _ = b.runSteps(b.steps(), nil)
	}()
	b.fail = func(args []string) error {
		if _, half := b.engine.containers["k3d-pipeops-server-0"]; half && args[0] == "cluster" {
			return killed
		}
		return nil
	}
	if _, err := b.runSteps(b.steps(), nil); err != nil {
		t.Fatal(err)
	}
	b.engine.mu.Lock()
	clear(b.engine.containers)
	b.engine.mu.Unlock()
	b.mustChange("k3d-cluster")
}

// TestK3dIsMadeAnewAfterThat: what fails, or is killed, while a cluster is made in place of one that was lost is half a cluster like any
// other. The kubeconfig of the lost one does not lead to it.
func TestK3dIsMadeAnewAfterThat(t *testing.T) {
	for name, end := range map[string]func() error{"fails": func() error { return errors.New("no space left") }, "is killed": func() error { panic(crash{}) }} {
		t.Run(name, func(t *testing.T) {
			b := newK3dBench(t)
			before := b.tree()
			b.mustChange("k3d-images", "k3d-binary", "sysctl", "k3d-config", "k3d-cluster", "cluster-unit")
			clear(b.engine.containers)
			b.fail = func(args []string) error {
				if strings.Join(args[:2], " ") != "cluster create" {
					return nil
				}
				b.engine.make("pipeops", "server", 0, "")
				return end()
			}
			func() {
				defer func() { _ = recover() }()
				_, _ = b.runSteps(b.steps(), nil)
			}()
			half := b.engine.containers["k3d-pipeops-server-0"].id
			b.fail = nil
			b.mustChange("k3d-cluster")
			if c := b.engine.containers["k3d-pipeops-server-0"]; c == nil || c.id == half {
				t.Errorf("half a cluster was taken for a whole one: %+v", c)
			}
			b.mustChange()
			b.uninstalled(before)
		})
	}
}

func TestK3dThatFailsIsTakenAway(t *testing.T) {
	b := newK3dBench(t)
	before := b.tree()
	b.fail = func(args []string) error {
		if args[0] == "kubeconfig" {
			return errors.New("no such cluster")
		}
		return nil
	}
	if _, err := b.runSteps(b.steps(), nil); err == nil {
		t.Fatal("it does not fail")
	}
	if slices.ContainsFunc(b.engine.holds(), func(s string) bool { return strings.HasPrefix(s, "container ") || s == "network k3d-pipeops" }) {
		t.Errorf("there are left %v", b.engine.holds())
	}
	b.uninstalled(before)
}

func TestK3dOfSomebodyElse(t *testing.T) {
	t.Run("the name is taken", func(t *testing.T) {
		b := newK3dBench(t)
		b.engine.make("pipeops", "server", 0, "")
		b.refused(reason.EngineNameTaken, "container k3d-pipeops-server-0")
		if _, there := b.engine.containers["k3d-pipeops-server-0"]; !there {
			t.Error("it was taken away")
		}
	})
	t.Run("a volume", func(t *testing.T) {
		b := newK3dBench(t)
		b.engine.volumes["k3d-pipeops-images"] = true
		b.refused(reason.EngineNameTaken, "volume k3d-pipeops-images")
		if !b.engine.volumes["k3d-pipeops-images"] || len(b.engine.containers) > 0 {
			t.Errorf("the engine holds %v", b.engine.holds())
		}
		b.engine.volumes = map[string]bool{"theirs": true}
		b.mustChange("k3d-cluster", "cluster-unit")
	})
	t.Run("what was there stays", func(t *testing.T) {
		b := newK3dBench(t)
		b.engine.make("other", "server", 0, "")
		b.engine.images["rancher/k3s:v1.33.2-k3s1"] = "sha256:theirs"
		b.engine.networks["k3d-pipeops"] = true
		b.write("/usr/local/bin/k3d", "their k3d")
		before, holds := b.tree(), b.engine.holds()
		b.mustChange("k3d-binary", "sysctl", "k3d-config", "k3d-cluster", "cluster-unit")
		if got := b.read("/usr/local/bin/k3d"); got != "their k3d" {
			t.Error("their k3d was replaced")
		}
		b.mustChange()
		b.uninstalled(before)
		if got := b.engine.holds(); !slices.Equal(got, holds) {
			t.Error(cmp.Diff(holds, got))
		}
	})
	t.Run("what is in use by now stays", func(t *testing.T) {
		b := newK3dBench(t)
		b.mustChange("k3d-images", "k3d-binary", "sysctl", "k3d-config", "k3d-cluster", "cluster-unit")
		b.engine.inUse["k3d-pipeops"], b.engine.inUse["rancher/k3s:v1.33.2-k3s1"] = true, true
		s, err := plan.Open(b.in.Dir, b.in.Root)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		s.Undo, s.Run = b.in.Undo(), b.in.Run
		reversed, err := (&plan.Uninstaller{Store: s}).Run(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var left []string
		for _, r := range reversed {
			left = append(left, r.Left...)
		}
		if text := strings.Join(left, "\n"); !strings.Contains(text, "network k3d-pipeops") || !strings.Contains(text, "image rancher/k3s:v1.33.2-k3s1") {
			t.Errorf("left: %q", left)
		}
	})
}

// TestK3dKeepsWhatItHolds wants a cluster that was finished to stay, with its data, when only the file that leads to it is gone or was
// opened to others.
func TestK3dKeepsWhatItHolds(t *testing.T) {
	for name, damage := range map[string]func(file string) error{
		"removed":          os.Remove,
		"readable for all": func(file string) error { return os.Chmod(file, 0o644) },
	} {
		t.Run(name, func(t *testing.T) {
			b := newK3dBench(t)
			b.mustChange("k3d-images", "k3d-binary", "sysctl", "k3d-config", "k3d-cluster", "cluster-unit")
			id, file := b.engine.containers["k3d-pipeops-server-0"].id, b.in.path("/etc/pipeops-agent/k3d/kubeconfig")
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if err := damage(file); err != nil {
				t.Fatal(err)
			}
			b.engine.containers["k3d-pipeops-server-0"].state = "exited"
			b.mustChange("k3d-cluster")
			if c := b.engine.containers["k3d-pipeops-server-0"]; c == nil || c.id != id || c.state != "running" {
				t.Errorf("the node is another one: %+v", c)
			}
			if got, err := os.ReadFile(file); err != nil || string(got) != string(text) {
				t.Errorf("the kubeconfig is %q, %v", got, err)
			}
			if st, err := os.Stat(file); err != nil || st.Mode() != 0o600 {
				t.Errorf("%v, %v", st, err)
			}
			b.mustChange()
		})
	}
}

// TestK3dOfTheSameNameThatCameLater wants a cluster that somebody has made under our name, after ours was removed by hand, to be left alone.
func TestK3dOfTheSameNameThatCameLater(t *testing.T) {
	b := newK3dBench(t)
	b.mustChange("k3d-images", "k3d-binary", "sysctl", "k3d-config", "k3d-cluster", "cluster-unit")
	clear(b.engine.containers)
	clear(b.engine.volumes)
	b.engine.make("pipeops", "server", 0, "6443")
	b.engine.containers["k3d-pipeops-server-0"].state = "exited"
	holds := b.engine.holds()
	unchanged := func(what string) {
		t.Helper()
		if got := b.engine.holds(); !slices.Equal(got, holds) || len(b.engine.started) > 0 {
			t.Errorf("after %s: %s %v", what, cmp.Diff(holds, got), b.engine.started)
		}
	}
	b.refused(reason.EngineNameTaken, "container k3d-pipeops-server-0")
	unchanged("an install")
	if err := os.Remove(b.in.path("/etc/pipeops-agent/k3d/kubeconfig")); err != nil {
		t.Fatal(err)
	}
	b.refused(reason.EngineNameTaken, "container k3d-pipeops-server-0")
	unchanged("an install without a kubeconfig")
	if err := StartCluster(t.Context(), b.in, K3d, func(string) {}); !reason.Is(err, reason.EngineNameTaken) {
		t.Errorf("start: %v", err)
	}
	unchanged("a start")
	if err := StopCluster(t.Context(), b.in, K3d); err != nil { // none of ours runs: an uninstall goes on
		t.Errorf("stop: %v", err)
	}
	unchanged("a stop")
	s, err := plan.Open(b.in.Dir, b.in.Root)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	s.Undo, s.Run = b.in.Undo(), b.in.Run
	if _, err := (&plan.Uninstaller{Store: s}).Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	delete(b.engine.images, "rancher/k3s:v1.33.2-k3s1") // ours, that the engine may keep or not
	holds = slices.DeleteFunc(holds, func(s string) bool { return strings.HasPrefix(s, "image ") })
	unchanged("an uninstall")
}

func TestK3dImages(t *testing.T) {
	t.Run("by digest", func(t *testing.T) {
		b := newK3dBench(t)
		b.list.Files[1].Name, b.list.Files[1].Origin = "node-image-digest", "https://registry-1.docker.io"
		b.publish()
		b.mustChange("k3d-images", "k3d-binary", "sysctl", "k3d-config", "k3d-cluster", "cluster-unit")
		if got := b.engine.images["rancher/k3s:v1.33.2-k3s1"]; got != "sha256:"+b.list.Files[1].SHA256 {
			t.Errorf("the image is %q", got)
		}
	})
	t.Run("from nowhere", func(t *testing.T) {
		b := newK3dBench(t)
		b.list.Files = b.list.Files[:1]
		b.publish()
		b.refused(reason.ManifestLacks, "node-image")
		if got := b.engine.holds(); !slices.Equal(got, theirs()) {
			t.Errorf("the engine holds %v", got)
		}
	})
	t.Run("another one in the archive", func(t *testing.T) {
		b := newK3dBench(t)
		b.list.Files = b.list.Files[:1]
		b.listed("node-image", "v1.33.2+k3s1", b.list.Files[0].Path+".tar", "archive of rancher/k3s:v0")
		b.publish()
		if _, err := b.runSteps(b.steps(), nil); err == nil || !strings.Contains(err.Error(), "No such image") {
			t.Errorf("%v", err)
		}
	})
}

func TestK3dChanges(t *testing.T) {
	b := newK3dBench(t)
	b.mustChange("k3d-images", "k3d-binary", "sysctl", "k3d-config", "k3d-cluster", "cluster-unit")
	b.in.Workers = 2
	b.mustChange("k3d-config", "k3d-cluster")
	if n := len(b.engine.containers); n != 3 {
		t.Errorf("%d nodes, want 3", n)
	}
	for _, tt := range []struct {
		what   string
		change func(*Install)
		want   string
	}{
		{"fewer workers", func(in *Install) { in.Workers = 1 }, "1 workers in place of 2"},
		{"more servers", func(in *Install) { in.Nodes = 3 }, "servers: 3"},
		{"another port", func(in *Install) { in.APIPort = 16444 }, `hostPort: "16444"`},
		{"another version", func(in *Install) { in.Version = "v1.33.3+k3s1" }, "image: rancher/k3s:v1.33.3-k3s1"},
		{"another name in the certificate", func(in *Install) { in.TLSNames = []string{"api.example.com"} }, "--tls-san=api.example.com"},
		{"one component more", func(in *Install) { in.Disable = nil }, "no - arg: --disable=traefik"},
	} {
		t.Run(tt.what, func(t *testing.T) {
			held := b.in
			defer func() { b.in = held }()
			tt.change(&b.in)
			if b.in.Version != held.Version { // the image would be had
				b.engine.images[k3sImage(b.in.Version)] = "sha256:newer"
			}
			b.refused(reason.ClusterFixed, tt.want)
		})
	}
	b.mustChange() // nothing of all that was begun
}

func TestK3dCannotBe(t *testing.T) {
	for _, change := range []func(*Install){
		func(in *Install) { in.Nodes = 2 }, func(in *Install) { in.Nodes = -1 }, func(in *Install) { in.Workers = 1000 },
		func(in *Install) { in.APIPort = 70000 }, func(in *Install) { in.Version = "newest" },
	} {
		b := newK3dBench(t)
		change(&b.in)
		if _, err := k3dNodes().steps(b.in); !reason.Is(err, reason.Usage) {
			t.Errorf("%v", err)
		}
	}
}

// TestStartCluster boots: the nodes are started in their order, their address and policy mended, and pods have the machine's
// name again.
func TestStartCluster(t *testing.T) {
	b := newK3dBench(t)
	b.in.Workers = 1
	b.mustChange("k3d-images", "k3d-binary", "sysctl", "k3d-config", "k3d-cluster", "cluster-unit")
	other := httptest.NewServer(http.HandlerFunc(b.serveAPI)) // the engine has chosen another port
	defer other.Close()
	at := strings.TrimPrefix(other.URL, "http://")
	for _, c := range b.engine.containers {
		c.state, c.restart = "exited", "always"
		if c.port != "" {
			c.port = strings.TrimPrefix(at, "127.0.0.1:")
		}
	}
	for range 2 {
		b.engine.started = nil
		if err := StartCluster(t.Context(), b.in, K3d, func(string) {}); err != nil {
			t.Fatal(err)
		}
		for name, c := range b.engine.containers {
			if c.state != "running" || c.restart != restartPolicy {
				t.Errorf("%s is %s, restarted %s", name, c.state, c.restart)
			}
		}
		if got := b.read("/etc/pipeops-agent/k3d/kubeconfig"); !strings.Contains(got, "server: http://"+at+"\n") {
			t.Errorf("the kubeconfig does not lead to %s:\n%s", at, got)
		}
		if zone, _ := b.zone.Load().(string); !strings.Contains(zone, "172.20.0.1 host.k3d.internal") {
			t.Errorf("the zone is %q", zone)
		}
		if len(b.engine.started) > 0 && !slices.Equal(b.engine.started, []string{"k3d-pipeops-server-0", "k3d-pipeops-agent-0"}) {
			t.Errorf("started %v", b.engine.started)
		}
	}
	if len(b.engine.started) > 0 {
		t.Errorf("a second start starts %v", b.engine.started)
	}
	state, err := LookAtCluster(t.Context(), b.in, K3d)
	if err != nil || !state.API.Answers || state.API.Address != at || len(state.Nodes) != 2 || state.Nodes[0].Role != "server" {
		t.Errorf("%+v, %v", state, err)
	}
	if err := StopCluster(t.Context(), b.in, K3d); err != nil || !slices.Equal(b.engine.started, []string{"stop k3d-pipeops-agent-0", "stop k3d-pipeops-server-0"}) {
		t.Errorf("%v, %v", b.engine.started, err)
	}
}

func TestStartClusterThatIsGone(t *testing.T) {
	b := newK3dBench(t)
	if err := StartCluster(t.Context(), b.in, K3d, func(string) {}); !reason.Is(err, reason.ClusterGone) {
		t.Errorf("%v", err)
	}
	if err := StartCluster(t.Context(), b.in, K3s, func(string) {}); !reason.Is(err, reason.Usage) {
		t.Errorf("%v", err)
	}
	b.in.EngineSocket += "-gone"
	if err := StopCluster(t.Context(), b.in, K3d); err != nil { // with the engine its containers are gone
		t.Errorf("%v", err)
	}
	for _, want := range []reason.Code{reason.DockerUnreachable, reason.EngineStopped} {
		ctx, cancel := context.WithTimeout(t.Context(), 2*pollEvery)
		if err := StartCluster(ctx, b.in, K3d, func(string) {}); !reason.Is(err, want) {
			t.Errorf("%v, want %s", err, want)
		}
		if _, err := LookAtCluster(t.Context(), b.in, K3d); !reason.Is(err, want) {
			t.Errorf("%v, want %s", err, want)
		}
		cancel()
		b.write("/usr/lib/systemd/system/docker.service", "")
	}
}

package distro

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/artifact/manifest"
	"github.com/pipeopshq/pipeops-agent/internal/bootstrap/plan"
	"github.com/pipeopshq/pipeops-agent/internal/command"
	"github.com/pipeopshq/pipeops-agent/internal/host"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
	"github.com/pipeopshq/pipeops-agent/internal/unit"
)

// noneBench is a machine with all that minikube's driver none needs, and a stand-in for minikube that is an executable.
type noneBench struct {
	*nodesBench
	kubelet string // is there as long as the kubelet runs
	starts  int    // of minikube
}

func newNoneBench(t *testing.T) *noneBench {
	b := &noneBench{nodesBench: newNodesBench(t, minikubeNoneNode(), nil), kubelet: filepath.Join(t.TempDir(), "kubelet")}
	b.steps = minikubeNoneSteps
	minikube := filepath.Join(filepath.SplitList(os.Getenv("PATH"))[0], "minikube")
	if _, err := os.Stat(minikube); err != nil {
		t.Fatal(err)
	}
	b.list.Files = []manifest.File{b.file(Minikube, MinikubeVersion, "binary", "#!/bin/sh\nexec "+minikube+` "$@"`+"\n")}
	b.publish()
	for _, name := range []string{"conntrack", "crictl", "dockerd", "docker", "cri-dockerd", "iptables", "sudo"} {
		b.program(name)
	}
	for _, name := range host.BarePlugins() {
		b.write("/opt/cni/bin/"+name, "")
	}
	for target, content := range map[string]string{
		"/var/lib/dpkg/status": "", "/etc/systemd/system/theirs.service": "", "/etc/hosts": "127.0.0.1\tlocalhost\n192.0.2.10\tshop.example.com\n", "/etc/docker/key.json": "{}",
		"/etc/containerd/config.toml": "[plugins]\n  SystemdCgroup = false\n", "/etc/crictl.yaml": "timeout: 10\n",
		"/usr/lib/systemd/system/cri-docker.service": "", "/usr/lib/systemd/system/cri-docker.socket": "", "/lib/systemd/system/ssh.service": "",
		"/usr/libexec/sudo/sudoers.so": "", "/etc/ssl/certs/ca.pem": "of somebody", "/var/tmp/theirs": "", "/tmp/theirs": "", "/var/log/syslog": "",
	} {
		b.write(target, content)
	}
	if err := os.Symlink("ca.pem", b.in.path("/etc/ssl/certs/0a775a30.0")); err != nil {
		t.Fatal(err)
	}
	for name, state := range map[string]unit.State{
		"docker.service":     {Load: "loaded", File: "enabled", Active: "active"},
		"docker.socket":      {Load: "loaded", File: "enabled", Active: "active"},
		"containerd.service": {Load: "loaded", File: "enabled", Active: "active"},
		criDockerUnit:        {Load: "loaded", File: "disabled", Active: "inactive"},
		criSocketUnit:        {Load: "loaded", File: "disabled", Active: "inactive"},
	} {
		b.units.states[name] = state
	}
	b.in.APIPort = 0
	b.in.Ready = func(context.Context) error {
		if _, err := os.Stat(b.kubelet); err != nil {
			return errors.New("connection refused")
		}
		return nil
	}
	before := []string{"/usr/bin/env", "PATH=" + os.Getenv("PATH"), "STAND_IN_ROOT=" + b.in.Root, "STAND_IN_KUBELET=" + b.kubelet}
	b.in.Run = func(ctx context.Context, limit time.Duration, argv ...string) ([]byte, error) {
		if i := slices.IndexFunc(argv, func(word string) bool { return filepath.Base(word) == Minikube }); i >= 0 {
			b.calls = append(b.calls, argv)
			if argv[i+1] == "start" {
				b.starts++
			}
		}
		out, err := command.Run(ctx, limit, append(slices.Clone(before), argv...)...)
		if b.in.Ready(ctx) == nil { // it calls systemd itself
			b.units.states[kubeletUnit] = unit.State{Load: "loaded", File: "disabled", Active: "active"}
		}
		return out, err
	}
	return b
}

func (b *noneBench) program(name string) {
	b.write("/usr/bin/"+name, "")
	if err := os.Chmod(b.in.path("/usr/bin/"+name), 0o755); err != nil {
		b.t.Fatal(err)
	}
}

// cut cuts the power.
func (b *noneBench) cut() {
	b.engine.cut()
	if err := os.Remove(b.kubelet); err != nil {
		b.t.Fatal(err)
	}
	b.units.boot()
}

func (b *noneBench) start() {
	b.t.Helper()
	if err := StartCluster(b.t.Context(), b.in, MadeCluster(b.in), func(string) {}); err != nil {
		b.t.Fatal(err)
	}
}

func TestMinikubeNoneInstall(t *testing.T) {
	b := newNoneBench(t)
	b.engine.images["postgres:17"], b.engine.images["registry.k8s.io/pause:3.10"] = true, true
	before, units := b.tree(), b.unitStates()
	changed, err := b.install()
	want := []string{"minikube-download", "minikube-binary", "minikube-config", "minikube-user", "minikube-runtime", "minikube-cluster", "cluster-unit"}
	if err != nil || !equalButFor(changed, want, "sysctl", "minikube-download") {
		t.Fatalf("changed %v, %v", changed, err)
	}
	first := strings.Join(b.calls[0], " ")
	for _, part := range []string{
		"env HOME=" + b.in.Root + minikubeHome + " ", "MINIKUBE_HOME=" + b.in.Root + minikubeHome, "--profile=minikube", "--driver=none", "--container-runtime=docker",
		"--kubernetes-version=v1.34.0", "--apiserver-port=8443", "--interactive=false", "DOCKER_HOST=unix://" + b.engine.socket,
	} {
		if !strings.Contains(first, part) {
			t.Errorf("%s is missing in %s", part, first)
		}
	}
	if strings.Contains(first, "runuser") || strings.Contains(first, "--force") {
		t.Error(first)
	}
	file := b.in.path("/etc/pipeops-agent/minikube/kubeconfig")
	if st, err := os.Stat(file); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("the kubeconfig: %v, %v", st, err)
	}
	if got := b.read("/etc/pipeops-agent/minikube/kubeconfig"); !strings.Contains(got, "https://127.0.0.1:8443") {
		t.Errorf("the kubeconfig leads elsewhere: %s", got)
	}
	text := b.read("/etc/systemd/system/pipeops-agent-cluster.service")
	for _, line := range []string{"\nAfter=docker.service cri-docker.socket network-online.target\n", "\nWants=docker.service cri-docker.socket network-online.target\n", "\nWantedBy=multi-user.target\n"} {
		if !strings.Contains(text, line) {
			t.Errorf("%q is missing in the unit:\n%s", line, text)
		}
	}
	if strings.Contains(text, "PartOf=") {
		t.Errorf("it would be stopped when minikube starts Docker anew:\n%s", text)
	}
	if changed, err := b.install(); err != nil || len(changed) > 0 {
		t.Errorf("again: changed %v, %v", changed, err)
	}
	if b.starts != 1 {
		t.Errorf("minikube was started %d times", b.starts)
	}

	b.units.calls = nil
	b.uninstalled(before)
	if got := b.unitStates(); got != units {
		t.Errorf("units are %s, were %s", got, units)
	}
	if len(b.engine.containers) > 0 || len(b.engine.images) != 2 {
		t.Errorf("left are %v, %v", b.engine.containers, b.engine.images)
	}
	calls := b.units.since()
	stop, restart := slices.Index(calls, "stop kubelet.service"), slices.Index(calls, "restart docker.service")
	if stop < 0 || restart < stop || slices.Contains(calls, "restart cri-docker.service") {
		t.Errorf("%v", calls)
	}
}

// unitStates are those of the units that are not ours, in one line.
func (b *noneBench) unitStates() string {
	var out strings.Builder
	for _, name := range []string{"containerd.service", criDockerUnit, criSocketUnit, "docker.service", dockerSockets} {
		s := b.units.states[name]
		if s.File == "" {
			s.File = "disabled" // as the stand-in for systemd has it
		}
		out.WriteString(name + " " + s.File + " " + s.Active + "\n")
	}
	return out.String()
}

// TestMinikubeNoneAfterReboot: the unit has minikube start the node, after a stop in order and after a power cut; on one that runs
// nothing is done, for minikube would start Docker anew.
func TestMinikubeNoneAfterReboot(t *testing.T) {
	t.Parallel()
	b := newNoneBench(t)
	before := b.tree()
	if _, err := b.install(); err != nil {
		t.Fatal(err)
	}
	b.start()
	if b.starts != 1 {
		t.Errorf("minikube was started %d times on a node that runs", b.starts)
	}
	for boot := range 3 {
		if boot == 1 {
			if err := StopCluster(t.Context(), b.in, MadeCluster(b.in)); err != nil {
				t.Fatal(err)
			}
			if b.in.Ready(t.Context()) == nil {
				t.Error("it runs after a stop")
			}
		} else {
			b.cut()
		}
		state, err := LookAtCluster(t.Context(), b.in, MadeCluster(b.in))
		if err != nil || state.API.Answers || state.Nodes[0].State != "stopped" {
			t.Errorf("%+v, %v", state, err)
		}
		b.start()
		b.start()
		if b.starts != 2+boot {
			t.Errorf("after boot %d minikube was started %d times", boot, b.starts)
		}
		state, err = LookAtCluster(t.Context(), b.in, MadeCluster(b.in))
		if err != nil || !state.API.Answers || state.Name != "minikube" || state.API.Address != "127.0.0.1:8443" || state.Nodes[0].State != "running" {
			t.Errorf("%+v, %v", state, err)
		}
	}
	b.units.states[kubeletUnit] = unit.State{Active: "failed"} // and its pods run on
	if err := os.Remove(b.kubelet); err != nil {
		t.Fatal(err)
	}
	if changed, err := b.install(); err != nil || !slices.Equal(changed, []string{"minikube-cluster"}) {
		t.Errorf("a kubelet that died: changed %v, %v", changed, err)
	}
	b.uninstalled(before)
}

// TestMinikubeNoneKilled kills the install before and after each write of the journal and of the ledger: the next one ends well, and
// the uninstall leaves the machine as it was.
func TestMinikubeNoneKilled(t *testing.T) {
	t.Parallel()
	for n, ended := 1, false; !ended; n += 13 {
		b := newNoneBench(t)
		before := b.tree()
		steps, err := minikubeNoneSteps(b.in)
		if err != nil {
			t.Fatal(err)
		}
		if ended = b.dieWith(n, steps); !ended && n%2 == 0 {
			if _, err := b.install(); err != nil {
				t.Fatalf("killed at %d: %v", n, err)
			}
		}
		b.uninstalled(before)
		if len(b.engine.containers) > 0 || len(b.engine.images) > 0 {
			t.Errorf("killed at %d: left are %v, %v", n, b.engine.containers, b.engine.images)
		}
	}
}

// TestMinikubeNoneLeavesWhatIsNotOurs: what somebody has put there since stays.
func TestMinikubeNoneLeavesWhatIsNotOurs(t *testing.T) {
	b := newNoneBench(t)
	for _, dir := range []string{"/etc/kubernetes/", "/var/lib/minikube/"} { // as a package may have made them
		b.write(dir+"theirs", "before")
	}
	if _, err := b.install(); err != nil {
		t.Fatal(err)
	}
	b.write("/etc/docker/daemon.json", `{"data-root":"/srv/docker"}`)
	b.write("/etc/hosts", b.read("/etc/hosts")+"192.0.2.11\tnew.example.com\n")
	b.write("/etc/cni/net.d/20-theirs.conflist", "{}")
	b.engine.images["redis:8"] = true
	b.units.states["containerd.service"] = unit.State{Load: "not-found", Active: "inactive"}
	b.units.calls = nil
	s := b.store()
	defer s.Close()
	s.Run = b.in.Run
	if got := Volumes(s.Ledger.Changes()); got != minikubeNoneVolumes {
		t.Errorf("volumes are said to be in %q", got)
	}
	if _, err := (&plan.Uninstaller{Store: s}).Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	for target, want := range map[string]string{
		"/etc/kubernetes/theirs": "before", "/var/lib/minikube/theirs": "before",
		"/etc/docker/daemon.json":     `{"data-root":"/srv/docker"}`,
		"/etc/hosts":                  "127.0.0.1\tlocalhost\n192.0.2.10\tshop.example.com\n192.0.2.11\tnew.example.com\n",
		"/etc/containerd/config.toml": "[plugins]\n  SystemdCgroup = false\n", "/etc/crictl.yaml": "timeout: 10\n",
		"/etc/cni/net.d/20-theirs.conflist": "{}",
	} {
		if got := b.read(target); got != want {
			t.Errorf("%s is %q", target, got)
		}
	}
	for _, target := range []string{"/etc/kubernetes/manifests", "/var/lib/minikube/certs", "/etc/cni/net.d/1-k8s.conflist", "/etc/ssl/certs/b5213941.0", "/lib/systemd/system/kubelet.service"} {
		if _, err := os.Lstat(b.in.path(target)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is there: %v", target, err)
		}
	}
	if !b.engine.images["redis:8"] || len(b.engine.images) != 1 {
		t.Errorf("%v", b.engine.images)
	}
	if calls := b.units.since(); slices.Contains(calls, "restart containerd.service") || !slices.Contains(calls, "restart docker.service") {
		t.Errorf("%v", calls)
	}
}

// TestMinikubeNoneStaysAsMade: what cannot be changed is told, and nothing is.
func TestMinikubeNoneStaysAsMade(t *testing.T) {
	b := newNoneBench(t)
	if _, err := b.install(); err != nil {
		t.Fatal(err)
	}
	before := b.tree()
	b.in.APIPort = 9443
	_, err := b.install()
	if !reason.Is(err, reason.ClusterFixed) || !strings.Contains(err.Error(), "apiserver-port=9443") {
		t.Errorf("%v", err)
	}
	if got := b.tree(); got != before {
		t.Error("something was changed")
	}
}

// TestMinikubeNoneSays: what minikube itself does not find is told with a reason, and undone.
func TestMinikubeNoneSays(t *testing.T) {
	for _, missing := range []string{"/usr/bin/conntrack", "/usr/bin/crictl", "/usr/bin/cri-dockerd", "/usr/bin/dockerd", "/opt/cni/bin"} {
		b := newNoneBench(t)
		if err := os.RemoveAll(b.in.path(missing)); err != nil {
			t.Fatal(err)
		}
		before := b.tree()
		if _, err := b.install(); !reason.Is(err, reason.MinikubeNone) {
			t.Errorf("without %s: %v", missing, err)
		}
		b.uninstalled(before)
	}
	for name, change := range map[string]func(b *noneBench){
		"OpenRC":       func(b *noneBench) { b.in.OpenRC = true },
		"a supervisor": func(b *noneBench) { b.in.Supervised = true },
	} {
		b := newNoneBench(t)
		change(b)
		if _, err := b.install(); !reason.Is(err, reason.HostNoSystemd) {
			t.Errorf("%s: %v", name, err)
		}
	}
	b := newNoneBench(t)
	b.in.Workers = 1
	if _, err := b.install(); !reason.Is(err, reason.Usage) {
		t.Errorf("%v", err)
	}
}

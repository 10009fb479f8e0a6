package distro

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/command"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

// standInMinikube is a stand-in for minikube, by its documented contract: start makes the profile or starts it, writes the kubeconfig
// where KUBECONFIG says, publishes the API at a random port and at that of --ports, and does not let root do so.
func standInMinikube(b *nodesBench, env map[string]string, args []string) ([]byte, error) {
	flags := map[string]string{}
	for _, arg := range args {
		name, value, _ := strings.Cut(arg, "=")
		flags[name] = value
	}
	_, forced := flags["--force"]
	user := b.calls[len(b.calls)-1][0] == "runuser"
	switch {
	case args[0] != "start" || flags["--driver"] != "docker" || flags["--interactive"] != "false":
		return nil, fmt.Errorf("minikube has no %q", args)
	case !user && !forced:
		return nil, &command.Error{Argv: args, Exit: 57, Stderr: `X Exiting due to DRV_AS_ROOT: The "docker" driver should not be used with root privileges.`, Err: errors.New("exit status 37")}
	case b.fail != nil:
		return nil, b.fail
	}
	profile := flags["--profile"]
	for _, n := range b.engine.containers {
		if n.name == profile {
			b.engine.mu.Lock()
			defer b.engine.mu.Unlock()
			return nil, b.engine.start(n)
		}
	}
	if !b.engine.images[flags["--base-image"]] {
		return nil, errors.New("minikube would pull its image")
	}
	b.engine.networks[profile] = &standInNetwork{name: profile, subnet: "192.168.49.0/16", chosen: true}
	ip, rest, _ := strings.Cut(flags["--ports"], ":")
	port, inside, _ := strings.Cut(rest, ":")
	if inside != "8443" {
		return nil, fmt.Errorf("--ports=%s", flags["--ports"])
	}
	err := b.engine.run(&standInNode{
		name: profile, network: profile, published: map[string]string{"8443/tcp": ip + ":" + port},
		labels: map[string]string{"name.minikube.sigs.k8s.io": profile, "created_by.minikube.sigs.k8s.io": "true", "role.minikube.sigs.k8s.io": ""},
	})
	if err != nil {
		return nil, err
	}
	text := "apiVersion: v1\nclusters:\n- cluster: {server: \"https://127.0.0.1:32769\"}\n  name: pipeops\n"
	return nil, os.WriteFile(env["KUBECONFIG"], []byte(text), 0o600)
}

func newMinikubeBench(t *testing.T) *nodesBench {
	b := newNodesBench(t, minikubeNodes(), standInMinikube)
	b.list.Files = append(b.list.Files, b.file(Minikube, minikubeBaseTag, "node-image", minikubeBase+":"+minikubeBaseTag))
	b.publish()
	b.write("/var/lib/dpkg/status", "")
	b.writeUserPrograms()
	users := map[string]string{} // with their groups
	tool := b.in.Run
	b.in.Run = func(ctx context.Context, limit time.Duration, argv ...string) ([]byte, error) {
		switch as := argv[0]; {
		case as == "getent":
			return []byte("docker:x:999:\n"), nil
		case as == "id":
			groups, ok := users[argv[2]]
			if !ok {
				return nil, errors.New("no such user")
			}
			return []byte(groups), nil
		case as == "useradd":
			users[argv[len(argv)-1]] = "pipeops-minikube docker\n"
			return nil, nil
		case as == "userdel":
			delete(users, argv[1])
			return nil, nil
		case as == "install":
			return nil, os.MkdirAll(argv[len(argv)-1], 0o700)
		case as == "cat" || as == "runuser" && argv[4] == "cat":
			return os.ReadFile(argv[len(argv)-1])
		}
		return tool(ctx, limit, argv...)
	}
	t.Cleanup(func() {
		if len(users) > 0 && !t.Failed() && b.left {
			t.Errorf("left are %v", slices.Collect(maps.Keys(users)))
		}
	})
	return b
}

// writeUserPrograms puts what makes users where it is looked for.
func (b *nodesBench) writeUserPrograms() {
	for _, name := range []string{"useradd", "userdel", "runuser", "getent"} {
		b.write("/usr/sbin/"+name, "")
		if err := os.Chmod(b.in.path("/usr/sbin/"+name), 0o755); err != nil {
			b.t.Fatal(err)
		}
	}
}

// TestMinikubeWithoutUsers: where no user can be made, nothing is begun.
func TestMinikubeWithoutUsers(t *testing.T) {
	b := newMinikubeBench(t)
	if err := os.Remove(b.in.path("/usr/sbin/runuser")); err != nil {
		t.Fatal(err)
	}
	before := b.tree()
	if _, err := b.install(); !reason.Is(err, reason.MinikubeRoot) || !strings.Contains(err.Error(), "there is no runuser") {
		t.Errorf("%v", err)
	}
	if got := b.tree(); got != before {
		t.Errorf("changed:\n%s", got)
	}
	b.in.MinikubeForce = true
	if _, err := b.install(); err != nil {
		t.Error(err)
	}
}

func TestMinikubeInstall(t *testing.T) {
	b := newMinikubeBench(t)
	b.left = true
	before := b.tree()
	changed, err := b.install()
	want := []string{"minikube-download", "minikube-images", "minikube-binary", "minikube-config", "minikube-user", "minikube-cluster", "cluster-unit"}
	if err != nil || !equalButFor(changed, want, "sysctl", "minikube-download") {
		t.Fatalf("changed %v, %v", changed, err)
	}
	first := strings.Join(b.calls[0], " ")
	for _, part := range []string{
		"runuser --user pipeops-minikube -- env HOME=", "MINIKUBE_HOME=" + b.in.Root + minikubeHome, "--profile=pipeops", "--kubernetes-version=v1.34.0",
		"--ports=127.0.0.1:16443:8443", "--embed-certs", "DOCKER_HOST=unix://" + b.engine.socket,
	} {
		if !strings.Contains(first, part) {
			t.Errorf("%s is missing in %s", part, first)
		}
	}
	if strings.Contains(first, "--force") {
		t.Errorf("--force: %s", first)
	}
	if changed, err := b.install(); err != nil || len(changed) > 0 {
		t.Errorf("again: changed %v, %v", changed, err)
	}

	calls := len(b.calls)
	for range 3 {
		b.engine.cut()
		if len(b.engine.addresses()) > 0 {
			t.Error("the engine starts the node by itself, without minikube")
		}
		for range 2 { // the second time nothing is to do
			if err := StartCluster(t.Context(), b.in, Minikube, func(string) {}); err != nil {
				t.Fatal(err)
			}
		}
	}
	if n := len(b.calls) - calls; n != 3 {
		t.Errorf("minikube was called %d times for 3 boots", n)
	}
	if got := b.read("/etc/pipeops-agent/minikube/kubeconfig"); !strings.Contains(got, "https://127.0.0.1:16443") {
		t.Errorf("the kubeconfig leads elsewhere: %s", got)
	}
	b.uninstalled(before)
	if len(b.engine.containers) > 0 || b.engine.networks[ClusterName] != nil || len(b.engine.images) > 0 {
		t.Errorf("left are %v, %v, %v", b.engine.containers, b.engine.networks, b.engine.images)
	}
}

func TestMinikubeByRoot(t *testing.T) {
	b := newMinikubeBench(t)
	b.in.MinikubeForce = true
	if _, err := b.install(); err != nil {
		t.Fatal(err)
	}
	if first := strings.Join(b.calls[0], " "); strings.Contains(first, "runuser") || !strings.Contains(first, "--force") {
		t.Error(first)
	}
	m := machine(t, "port-10250-taken-docker-up")
	d := Decide(m.facts, m.trials, Request{Distro: Minikube, MinikubeForce: true})
	if k, _ := d.Candidate(Minikube); k.Verdict != string(Waived) || !slices.Contains(refusals(d, Minikube), string(reason.MinikubeRoot)) {
		t.Errorf("%+v", k)
	}
	if d := Decide(m.facts, m.trials, Request{MinikubeForce: true}); d.Chosen == Minikube {
		t.Error("chosen without being asked for by name")
	}
	// a root that is not forced is refused by minikube itself, and the reason is told
	without := newMinikubeBench(t)
	without.nodes.user = ""
	if _, err := without.install(); !reason.Is(err, reason.MinikubeRoot) {
		t.Errorf("%v", err)
	}
}

func TestMinikubeHasOneNode(t *testing.T) {
	b := newMinikubeBench(t)
	for _, change := range []func(){func() { b.in.Nodes = 3 }, func() { b.in.Nodes, b.in.Workers = 1, 1 }} {
		change()
		if _, err := b.install(); !reason.Is(err, reason.Usage) {
			t.Errorf("%v", err)
		}
	}
}

// TestMinikubeArgs: what has been changed by hand is not run.
func TestMinikubeArgs(t *testing.T) {
	good, err := minikubeConfig(Install{TLSNames: []string{"a.example.com", "192.0.2.7"}, KubeletArgs: []string{"fail-cgroupv1=false"}}, 6550)
	if err != nil {
		t.Fatal(err)
	}
	args, err := minikubeArgs(good)
	for _, want := range []string{"--apiserver-names=a.example.com", "--apiserver-ips=192.0.2.7", "--extra-config=kubelet.fail-cgroupv1=false", "--listen-address=0.0.0.0"} {
		if !slices.Contains(args, want) || err != nil {
			t.Errorf("%s is missing in %q, %v", want, args, err)
		}
	}
	if port := minikubePort(good); port != 6550 {
		t.Errorf("port %d", port)
	}
	for _, bad := range []string{"", "start: [delete]", "start: []", "x: y", "\x00", `start: [start, ""]`} {
		if args, err := minikubeArgs([]byte(bad)); err == nil {
			t.Errorf("%q: %q", bad, args)
		}
	}
}

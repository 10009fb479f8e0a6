package distro

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/pipeopshq/pipeops-agent/internal/artifact/manifest"
	"github.com/pipeopshq/pipeops-agent/internal/bootstrap/plan"
	"github.com/pipeopshq/pipeops-agent/internal/command"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
	"github.com/pipeopshq/pipeops-agent/internal/unit"
)

// nodesBench is a machine with a stand-in for an engine, and a stand-in for the tool that makes clusters in it.
type nodesBench struct {
	*bench
	engine *standInEngine
	nodes  nodeContainers
	calls  [][]string // of the tool: its environment and its arguments
	fail   error      // of the next making
	left   bool       // what is left at the end is a fault

	steps func(Install) ([]plan.Step, error) // nil means those of the nodes
}

func newNodesBench(t *testing.T, d nodeContainers, tool func(b *nodesBench, env map[string]string, args []string) ([]byte, error)) *nodesBench {
	b := &nodesBench{bench: newBench(t), engine: newStandInEngine(t), nodes: d}
	b.in.Remedies, b.in.Disable, b.in.EngineSocket, b.in.APIPort = nil, nil, b.engine.socket, 16443
	b.in.Ready = func(context.Context) error { return nil }
	b.write("/usr/lib/systemd/system/docker.service", "")
	b.units.states["docker.service"] = unit.State{Load: "loaded", File: "enabled", Active: "active"}
	b.in.Run = func(_ context.Context, _ time.Duration, argv ...string) ([]byte, error) {
		env := map[string]string{}
		i := slices.Index(argv, "env")
		if i < 0 {
			return nil, fmt.Errorf("nobody knows %q", argv)
		}
		for _, word := range argv[i+1:] {
			name, value, ok := strings.Cut(word, "=")
			if !ok {
				break
			}
			env[name] = value
			i++
		}
		if filepath.Base(argv[i+1]) != d.name {
			return nil, fmt.Errorf("%q is not the tool", argv)
		}
		b.calls = append(b.calls, argv)
		return tool(b, env, argv[i+2:])
	}
	b.list.Files = append(b.list.Files, b.file(d.name, d.version, "binary", "the program "+d.name))
	b.publish()
	return b
}

// file puts a file into the mirror.
func (b *nodesBench) file(product, version, role, content string) manifest.File {
	path := product + "/" + version + "/" + role
	b.mirror["/"+path] = []byte(content)
	return manifest.File{
		Product: product, Version: version, Arch: "amd64", Name: role, Origin: manifest.Origin, Path: path,
		Bytes: int64(len(content)), SHA256: fmt.Sprintf("%x", sha256.Sum256([]byte(content))),
	}
}

// install runs the steps and returns which changed something.
func (b *nodesBench) install() ([]string, error) {
	b.t.Helper()
	b.anew()
	make := b.nodes.steps
	if b.steps != nil {
		make = b.steps
	}
	steps, err := make(b.in)
	if err != nil {
		return nil, err
	}
	res, err := b.runSteps(steps, nil)
	return res.Changed, err
}

// standInKind makes what kind makes, by the file that it is given, and says what kind says.
func standInKind(b *nodesBench, env map[string]string, args []string) ([]byte, error) {
	switch strings.Join(args[:2], " ") {
	case "create cluster":
		text, err := os.ReadFile(args[3])
		if err != nil {
			return nil, err
		}
		var f kindFile
		if err := yaml.UnmarshalStrict(text, &f); err != nil {
			return nil, err
		}
		if b.fail != nil {
			return nil, b.fail
		}
		network := env["KIND_EXPERIMENTAL_DOCKER_NETWORK"]
		if b.engine.networks[network] == nil {
			return nil, errors.New("kind would make a network by itself")
		}
		add := func(role, name string, published string) error {
			if !b.engine.images[kindImage(b.in).ref] {
				return errors.New("kind would pull its image")
			}
			return b.engine.run(&standInNode{
				name: f.Name + "-" + name, policy: "on-failure", network: network,
				labels: map[string]string{"io.x-k8s.kind.cluster": f.Name, "io.x-k8s.kind.role": role}, published: map[string]string{"6443/tcp": published},
			})
		}
		if err := os.MkdirAll(b.in.path("/lib/modules"), 0o755); err != nil { // which nodes mount: the engine makes what is missing
			return nil, err
		}
		counts := map[string]int{}
		servers := 0
		for _, n := range f.Nodes {
			if n.Role == "control-plane" {
				servers++
			}
		}
		at := fmt.Sprintf("%s:%d", f.Networking.APIServerAddress, f.Networking.APIServerPort)
		if servers > 1 {
			if err := add("external-load-balancer", "external-load-balancer", at); err != nil {
				return nil, err
			}
			at = "127.0.0.1:0"
		}
		for _, n := range f.Nodes {
			name := n.Role
			if counts[n.Role]++; counts[n.Role] > 1 {
				name += fmt.Sprint(counts[n.Role])
			}
			published := at
			if n.Role == "worker" {
				published = "127.0.0.1:0"
			}
			if err := add(n.Role, name, published); err != nil {
				return nil, err
			}
		}
		return nil, os.WriteFile(env["KUBECONFIG"], nil, 0o600)
	case "get kubeconfig":
		return []byte("apiVersion: v1\nclusters:\n- cluster: {server: \"https://127.0.0.1:16443\"}\n  name: kind-pipeops\n"), nil
	}
	return nil, fmt.Errorf("kind has no %q", args)
}

func newKindBench(t *testing.T) *nodesBench {
	b := newNodesBench(t, kindNodes(), standInKind)
	b.list.Files = append(b.list.Files, b.file(Kind, KindKubernetes, "node-image", "kindest/node:"+KindKubernetes), b.file(Kind, KindVersion, "proxy-image", "envoyproxy/envoy:v1.36.2"))
	b.publish()
	return b
}

func TestKindInstall(t *testing.T) {
	b := newKindBench(t)
	before := b.tree()
	changed, err := b.install()
	if want := []string{"kind-download", "kind-images", "kind-binary", "sysctl", "kind-config", "kind-cluster", "cluster-unit"}; err != nil || !equalButFor(changed, want, "sysctl", "kind-download") {
		t.Fatalf("changed %v, %v", changed, err)
	}
	if got := b.read("/usr/local/bin/kind"); got != "the program kind" {
		t.Errorf("the program is %q", got)
	}
	for file, mode := range map[string]os.FileMode{"/etc/pipeops-agent/kind/cluster.yaml": 0o600, "/etc/pipeops-agent/kind/kubeconfig": 0o600} {
		if st, err := os.Stat(b.in.path(file)); err != nil || st.Mode().Perm() != mode {
			t.Errorf("%s: %v, %v", file, st, err)
		}
	}
	for _, argv := range b.calls {
		all := strings.Join(argv, " ")
		for _, want := range []string{"HOME=" + b.in.Dir, "KUBECONFIG=" + b.in.Dir, "DOCKER_HOST=unix://" + b.engine.socket, "KIND_EXPERIMENTAL_PROVIDER=docker"} {
			if !strings.Contains(all, want) {
				t.Errorf("%s is missing in %s", want, all)
			}
		}
	}
	if changed, err := b.install(); err != nil || len(changed) > 0 {
		t.Errorf("again: changed %v, %v", changed, err)
	}
	b.uninstalled(before)
	if len(b.engine.containers) > 0 || b.engine.networks[kindNetwork] != nil || len(b.engine.images) > 0 {
		t.Errorf("left are %v, %v, %v", b.engine.containers, b.engine.networks, b.engine.images)
	}
}

// TestKindReplaced: a newer program takes the place of the one that is there, and an image that is gone is given again; the cluster stays,
// and none of the downloads does.
func TestKindReplaced(t *testing.T) {
	b := newKindBench(t)
	replace := func(want ...string) {
		t.Helper()
		made := len(b.engine.containers)
		if changed, err := b.install(); err != nil || !equalButFor(changed, want, "sysctl", "kind-download") {
			t.Fatalf("changed %v, %v, want %v", changed, err, want)
		}
		if left, err := filepath.Glob(filepath.Join(b.in.Dir, "artifacts", "*")); err != nil || len(left) != 0 {
			t.Errorf("there are left %v, %v", left, err)
		}
		if made > 0 && len(b.engine.containers) != made {
			t.Errorf("the engine has %d nodes, and had %d", len(b.engine.containers), made)
		}
	}
	replace("kind-images", "kind-binary", "kind-config", "kind-cluster", "cluster-unit")
	b.nodes.version = "v0.99.0"
	b.list.Files = append(b.list.Files, b.file(Kind, b.nodes.version, "binary", "a newer program"))
	b.publish()
	replace("kind-binary")
	if got := b.read("/usr/local/bin/kind"); got != "a newer program" {
		t.Errorf("the program is %q", got)
	}
	delete(b.engine.images, kindImage(b.in).ref)
	replace("kind-images")
}

// equalButFor compares lists, in which some may be missing.
func equalButFor(got, want []string, optional ...string) bool {
	without := func(all []string) []string {
		return slices.DeleteFunc(slices.Clone(all), func(s string) bool { return slices.Contains(optional, s) })
	}
	return slices.Equal(without(got), without(want))
}

// TestKindAfterReboot: nodes have the addresses that they were made with, after a stop in order and after a power cut, though they are
// started in another order than they were made in.
func TestKindAfterReboot(t *testing.T) {
	b := newKindBench(t)
	b.in.Nodes, b.in.Workers = 3, 2
	if _, err := b.install(); err != nil {
		t.Fatal(err)
	}
	start := func() {
		t.Helper()
		if err := StartCluster(t.Context(), b.in, Kind, func(string) {}); err != nil {
			t.Fatal(err)
		}
	}
	start() // as the unit does at the end of the install
	made := b.engine.addresses()
	if len(made) != 6 {
		t.Fatalf("%v", made)
	}
	for name, down := range map[string]func(){
		"a power cut": b.engine.cut,
		"a reboot": func() {
			if err := StopCluster(t.Context(), b.in, Kind); err != nil {
				t.Error(err)
			}
			b.engine.cut()
		},
		"nothing": func() {},
	} {
		down()
		start()
		if got := b.engine.addresses(); !maps.Equal(got, made) {
			t.Errorf("after %s: %v, before: %v", name, got, made)
		}
		for _, n := range b.engine.containers {
			if n.policy != "no" {
				t.Errorf("after %s the engine starts %s by itself: %s", name, n.name, n.policy)
			}
		}
	}
	if got := b.read("/etc/pipeops-agent/kind/kubeconfig"); !strings.Contains(got, "https://127.0.0.1:16443") {
		t.Errorf("the kubeconfig leads behind the balancer: %s", got)
	}
}

func TestKindConfig(t *testing.T) {
	for name, c := range map[string]struct {
		in   Install
		want string
		err  bool
	}{
		"one node": {want: `kind: Cluster
apiVersion: kind.x-k8s.io/v1alpha4
name: pipeops
networking: {apiServerAddress: 127.0.0.1, apiServerPort: 6550}
nodes: [{role: control-plane, image: "kindest/node:v1.37.0"}]
`},
		"another version": {in: Install{Version: "v1.33.2", Workers: 1}, want: `kind: Cluster
apiVersion: kind.x-k8s.io/v1alpha4
name: pipeops
networking: {apiServerAddress: 127.0.0.1, apiServerPort: 6550}
nodes: [{role: control-plane, image: "kindest/node:v1.33.2"}, {role: worker, image: "kindest/node:v1.33.2"}]
`},
		"names, and what a decision tells the kubelet": {in: Install{Version: K3sVersion, TLSNames: []string{"k8s.example.com"}, KubeletArgs: []string{"fail-cgroupv1=false", "feature-gates=KubeletInUserNamespace=true"}}, want: `kind: Cluster
apiVersion: kind.x-k8s.io/v1alpha4
name: pipeops
networking: {apiServerAddress: 0.0.0.0, apiServerPort: 6550}
nodes: [{role: control-plane, image: "kindest/node:v1.37.0"}]
kubeadmConfigPatches:
- |
  apiServer:
    certSANs:
    - localhost
    - 127.0.0.1
    - k8s.example.com
  kind: ClusterConfiguration
- |
  failCgroupV1: false
  featureGates:
    KubeletInUserNamespace: true
  kind: KubeletConfiguration
`},
		"an argument that nobody knows": {in: Install{KubeletArgs: []string{"v=9"}}, err: true},
	} {
		got, err := kindConfig(c.in, 6550)
		if (err != nil) != c.err {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if err != nil {
			continue
		}
		var g, w any
		if err := errors.Join(yaml.Unmarshal(got, &g), yaml.Unmarshal([]byte(c.want), &w)); err != nil || fmt.Sprint(g) != fmt.Sprint(w) {
			t.Errorf("%s: %v\n%s\nwant\n%s", name, err, got, c.want)
		}
		if port := kindPort(got); port != 6550 {
			t.Errorf("%s: port %d", name, port)
		}
	}
}

// TestNodesThatCannotBeMade: each failure of the tool has its reason, nothing of somebody else is touched, and the next install goes on.
func TestNodesThatCannotBeMade(t *testing.T) {
	says := func(stderr string) error {
		return &command.Error{Argv: []string{"kind"}, Exit: 1, Stderr: stderr, Err: errors.New("exit status 1")}
	}
	for name, c := range map[string]struct {
		before func(b *nodesBench)
		want   reason.Code
	}{
		// as kind v0.33.0 said it with Docker 20.10.24 in a machine of the lab, but for the full disk
		"port taken": {func(b *nodesBench) {
			b.fail = says("Command Output: e9e075c34c41\ndocker: Error response from daemon: driver failed programming external connectivity on endpoint pipeops-control-plane (f58c7846281f): Bind for 0.0.0.0:16443 failed: port is already allocated.")
		}, reason.NetPortTaken},
		"name taken by a container": {func(b *nodesBench) {
			b.fail = says(`Command Output: docker: Error response from daemon: Conflict. The container name "/pipeops-control-plane" is already in use by container "12a7d7e7b0f8". You have to remove (or rename) that container to be able to reuse that name.`)
		}, reason.EngineNameTaken},
		"image gone meanwhile": {func(b *nodesBench) {
			b.fail = says(`ERROR: failed to create cluster: failed to pull image "kindest/node:v1.37.0": command "docker pull kindest/node:v1.37.0" failed with error: exit status 1`)
		}, reason.EngineImageMissing},
		"engine stopped meanwhile": {func(b *nodesBench) {
			b.fail = says("Command Output: Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?")
		}, reason.DockerUnreachable},
		"kind has left one behind": {func(b *nodesBench) {
			b.fail = says(`ERROR: failed to create cluster: node(s) already exist for a cluster with the name "pipeops"`)
		}, reason.EngineNameTaken},
		"disk full": {func(b *nodesBench) { b.fail = says("write /var/lib/docker/x: no space left on device") }, reason.HostDiskLow},
		"network taken": {func(b *nodesBench) {
			b.engine.networks[kindNetwork] = &standInNetwork{name: kindNetwork, subnet: "10.9.0.0/16"}
		}, reason.EngineNameTaken},
		"cluster of somebody else": {func(b *nodesBench) {
			b.engine.networks["kind"] = &standInNetwork{name: "kind", subnet: "172.18.0.0/16"}
			if err := b.engine.run(&standInNode{name: "pipeops-control-plane", network: "kind", labels: map[string]string{"io.x-k8s.kind.cluster": ClusterName, "io.x-k8s.kind.role": "control-plane"}}); err != nil {
				panic(err)
			}
		}, reason.EngineNameTaken},
		"no image": {func(b *nodesBench) {
			b.list.Files = slices.DeleteFunc(b.list.Files, func(f manifest.File) bool { return f.Name == "node-image" })
			b.publish()
		}, reason.EngineImageMissing},
		"no image of that version, and no digest": {func(b *nodesBench) { b.in.Version = "v1.36.9" }, reason.EngineImageMissing},
	} {
		t.Run(name, func(t *testing.T) {
			b := newKindBench(t)
			c.before(b)
			containers, networks := len(b.engine.containers), slices.Sorted(maps.Keys(b.engine.networks))
			if _, err := b.install(); !reason.Is(err, c.want) {
				t.Errorf("%v, want %s", err, c.want)
			}
			if len(b.engine.containers) != containers || !slices.Equal(slices.Sorted(maps.Keys(b.engine.networks)), networks) {
				t.Errorf("somebody else's was touched, or something stayed: %v", b.engine.networks)
			}
			if b.fail == nil {
				return
			}
			b.fail = nil
			if _, err := b.install(); err != nil {
				t.Errorf("once the cause is gone: %v", err)
			}
		})
	}
}

// TestKindImageByDigest: an image that no mirror has is pulled by the digest that is built in, and by no other name.
func TestKindImageByDigest(t *testing.T) {
	b := newKindBench(t)
	b.list.Files = slices.DeleteFunc(b.list.Files, func(f manifest.File) bool { return f.Name == "node-image" })
	b.publish()
	if _, err := b.install(); err == nil || !slices.Equal(b.engine.pulls, []string{"kindest/node@sha256:" + kindNodeDigest}) {
		t.Errorf("%v, %v", err, b.engine.pulls)
	}
	if _, err := os.Lstat(b.in.path("/usr/local/bin/kind")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the program is here, for nodes that cannot be made: %v", err)
	}
}

// TestHalfACluster: what an install that was killed has left in the engine is removed, and made anew.
func TestHalfACluster(t *testing.T) {
	b := newKindBench(t)
	if _, err := b.install(); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{b.in.path(kindNodes().kubeconfigFile()), filepath.Join(b.in.Dir, "kind-nodes.json")} { // they are written last
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
	}
	first := b.engine.containers[0].id
	b.engine.containers[0].id += "-old"
	if changed, err := b.install(); err != nil || !slices.Contains(changed, "kind-cluster") {
		t.Fatalf("%v, %v", changed, err)
	}
	if len(b.engine.containers) != 1 || b.engine.containers[0].id != first {
		t.Errorf("%+v", b.engine.containers)
	}
}

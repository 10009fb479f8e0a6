package distro

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pipeopshq/pipeops-agent/internal/bootstrap/plan"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

const nodeToken = "K100123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef::abcdef.0123456789abcdef"

func joining(role wire.Role) *JoinInfo {
	return &JoinInfo{Role: role, Server: "https://10.0.0.1:6443", Token: nodeToken}
}

// TestWorker: the worker gets the settings that k3s knows there and no others, its token in a file of root's, and its own unit.
func TestWorker(t *testing.T) {
	b := newBench(t)
	b.in.Join = joining(wire.RoleWorker)
	b.in.NodeName, b.in.TLSNames, b.in.KubeletArgs = "w1", []string{"api.example.com"}, []string{"max-pods=30"}
	b.in.Remedies = append(b.in.Remedies, Remedy{ID: RemedySnapshotter, Values: []string{"native"}},
		Remedy{ID: RemedyCIDR, Values: []string{"10.142.0.0/16", "10.143.0.0/16"}}, Remedy{ID: RemedySharedRoot})
	b.must("k3s-binary", "k3s-images", "sysctl", "shared-root", "k3s-token", "k3s-config", "k3s-containerd", "k3s-unit")
	_, config, _ := strings.Cut(b.read(k3sConfig), "config.yaml.d/.\n")
	want := `kubelet-arg:
- max-pods=30
node-name: w1
server: https://10.0.0.1:6443
snapshotter: native
token-file: /etc/rancher/k3s/pipeops-agent.token
`
	if diff := cmp.Diff(want, config); diff != "" {
		t.Errorf("configuration:\n%s", diff)
	}
	if got := b.read(k3sJoinToken); got != nodeToken+"\n" {
		t.Errorf("token file: %q", got)
	}
	if st, err := os.Stat(b.in.path(k3sJoinToken)); err != nil || st.Mode() != 0o600 {
		t.Errorf("token file: %v, %v", st, err)
	}
	unit := b.read("/etc/systemd/system/k3s-agent.service")
	if !strings.Contains(unit, "\nExecStart=/usr/local/bin/k3s agent\n") || !strings.Contains(unit, "EnvironmentFile=-/etc/systemd/system/k3s-agent.service.env\n") {
		t.Errorf("unit:\n%s", unit)
	}
	b.read("/etc/systemd/system/k3s-agent.service.d/50-pipeops-shared-root.conf")
	if _, err := os.Stat(b.in.path(k3sUnit)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a worker has the unit of a server: %v", err)
	}
	if calls := b.units.since(); !slices.Contains(calls, "restart k3s-agent.service") || strings.Contains(strings.Join(calls, " "), "k3s.service") {
		t.Errorf("calls: %v", calls)
	}
	b.must() // all of it is done
	b.in.Join.Token = strings.Replace(nodeToken, "abcdef.", "fedcba.", 1)
	b.must("k3s-token", "k3s-unit")
}

// TestFurtherServer: what servers must share is the cluster's, whatever this machine would have had.
func TestFurtherServer(t *testing.T) {
	b := newBench(t)
	b.in.Join = joining(wire.RoleServer)
	b.in.Join.Settings = map[string][]string{
		"cluster-cidr": {"10.42.0.0/16"}, "disable": {"traefik", "servicelb"}, "secrets-encryption": {"true"}, "tls-san": {"api.example.com"},
	}
	b.in.ClusterInit, b.in.Disable, b.in.TLSNames = true, []string{"metrics-server"}, []string{"own.example.com"}
	b.in.Remedies = append(b.in.Remedies, Remedy{ID: RemedyFlannelBackend, Values: []string{"host-gw"}}, Remedy{ID: RemedySnapshotter, Values: []string{"native"}})
	b.must("k3s-binary", "k3s-images", "sysctl", "k3s-token", "k3s-config", "k3s-containerd", "k3s-unit")
	_, config, _ := strings.Cut(b.read(k3sConfig), "config.yaml.d/.\n")
	want := `cluster-cidr: 10.42.0.0/16
disable:
- traefik
- servicelb
secrets-encryption: true
server: https://10.0.0.1:6443
snapshotter: native
tls-san:
- api.example.com
token-file: /etc/rancher/k3s/pipeops-agent.token
write-kubeconfig-mode: "0600"
`
	if diff := cmp.Diff(want, config); diff != "" {
		t.Errorf("configuration:\n%s", diff)
	}
	if unit := b.read(k3sUnit); !strings.Contains(unit, "ExecStart=/usr/local/bin/k3s server\n") {
		t.Errorf("unit:\n%s", unit)
	}
}

// TestWorkerUnderOpenRC: the script is that of the server in the worker's words, and the kubelet is asked, not an API server.
func TestWorkerUnderOpenRC(t *testing.T) {
	b := newBench(t)
	b.in.Join, b.in.OpenRC = joining(wire.RoleWorker), true
	k := &k3sInstall{Install: b.in, binDir: k3sBinDir}
	script := k.script()
	for _, want := range []string{"command_args=\"agent\"\n", "pidfile=/run/k3s-agent.pid\n", "output_log=/var/log/k3s-agent.log\n", "/etc/default/k3s-agent "} {
		if !strings.Contains(script, want) {
			t.Errorf("the script lacks %q:\n%s", want, script)
		}
	}
}

// TestJoinInfoIsChecked: what would end in a configuration, or be sent to the wrong cluster, is refused, and no error tells of the token.
func TestJoinInfoIsChecked(t *testing.T) {
	for name, change := range map[string]func(*JoinInfo){
		"role":           func(j *JoinInfo) { j.Role = "owner" },
		"no server":      func(j *JoinInfo) { j.Server = "" },
		"plain HTTP":     func(j *JoinInfo) { j.Server = "http://10.0.0.1:6443" },
		"server + path":  func(j *JoinInfo) { j.Server = "https://10.0.0.1:6443/x" },
		"unpinned token": func(j *JoinInfo) { j.Token = "abcdef.0123456789abcdef" },
		"lines in token": func(j *JoinInfo) { j.Token += "\nserver: x" },
		"other setting":  func(j *JoinInfo) { j.Settings = map[string][]string{"kubelet-arg": {"x=y"}} },
	} {
		b := newBench(t)
		b.in.Join = joining(wire.RoleServer)
		change(b.in.Join)
		_, err := k3sSteps(b.in)
		if err == nil || strings.Contains(err.Error(), "0123456789abcdef") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if got := fmt.Sprintf("%v %+v %#v %s", *joining(wire.RoleWorker), *joining(wire.RoleWorker), *joining(wire.RoleWorker), joining(wire.RoleWorker)); strings.Contains(got, "0123456789abcdef") {
		t.Errorf("it is told: %s", got)
	}
}

// TestClusterInit: a k3s with SQLite is started anew with etcd, and nothing else is.
func TestClusterInit(t *testing.T) {
	b := newBench(t)
	b.must("k3s-binary", "k3s-images", "sysctl", "k3s-config", "k3s-containerd", "k3s-unit")
	if strings.Contains(b.read(k3sConfig), "cluster-init") {
		t.Error("etcd, and nobody asked for it")
	}
	b.units.since()
	b.in.ClusterInit = true
	b.must("k3s-config", "k3s-unit")
	if !strings.Contains(b.read(k3sConfig), "\ncluster-init: true\n") {
		t.Error(b.read(k3sConfig))
	}
	b.must()
	b.in.ClusterInit, b.in.Remedies = false, append(b.in.Remedies, Remedy{ID: RemedyClusterInit})
	b.must() // it stays so
}

// TestNodeIsUndone: whatever a join has made goes again, and the token with it.
func TestNodeIsUndone(t *testing.T) {
	b := newBench(t)
	before := b.tree()
	b.in.Join = joining(wire.RoleWorker)
	if _, err := b.run(nil); err != nil {
		t.Fatal(err)
	}
	s, err := plan.Open(b.in.Dir, b.in.Root)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	s.Undo = b.in.Undo()
	if _, err := (&plan.Uninstaller{Store: s}).Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, b.tree()); diff != "" {
		t.Errorf("left:\n%s", diff)
	}
}

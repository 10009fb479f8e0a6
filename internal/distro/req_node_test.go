package distro

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pipeopshq/pipeops-agent/internal/host"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
	"github.com/pipeopshq/pipeops-agent/internal/trial"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

// TestNodes changes one thing of a machine on which k3s fits, and says what comes of it for each kind of node.
func TestNodes(t *testing.T) {
	yes, no := true, false
	memory := func(n uint64) func(*captured) {
		return func(m *captured) { m.facts.Memory.Total, m.facts.Memory.Limit = host.Is(n), host.Known[uint64]{} }
	}
	fsync := func(ms float64) func(*captured) {
		return func(m *captured) { m.trials[trial.Fsync] = trial.Result{OK: host.Is(true), Value: host.Is(ms)} }
	}
	port := func(proto string, n int) func(*captured) {
		return func(m *captured) {
			m.facts.Listening = append(m.facts.Listening, host.Listener{Proto: proto, Port: n, Owner: "other"})
		}
	}
	ours := func(role string, settings map[string]string) func(*captured) {
		return func(m *captured) {
			m.facts.Clusters = []host.Cluster{{Name: K3s, State: host.Running, Role: role, Ours: host.Is(true), Settings: settings, Evidence: []string{"/etc/rancher/k3s/config.yaml"}}}
		}
	}
	nothing := func(*captured) {}
	worker, server := Request{Node: wire.RoleWorker}, Request{Node: wire.RoleServer}
	for name, c := range map[string]struct {
		change  func(*captured)
		request Request
		want    sight
	}{
		"worker":                  {nothing, worker, sight{chosen: K3s}},
		"server":                  {nothing, server, sight{chosen: K3s}},
		"etcd":                    {nothing, Request{ClusterInit: &yes}, sight{chosen: K3s}},
		"600 MB, worker":          {memory(600 * mib), worker, sight{K3s, "", "HOST_MEMORY_LOW", ""}},
		"450 MB, worker":          {memory(450 * mib), worker, sight{"", "HOST_MEMORY_LOW", "HOST_MEMORY_LOW", ""}},
		"1 GB, SQLite":            {memory(gib), Request{}, sight{K3s, "", "HOST_MEMORY_LOW", ""}},
		"1 GB, etcd":              {memory(gib), Request{ClusterInit: &yes}, sight{"", "HOST_MEMORY_LOW", "HOST_MEMORY_LOW", ""}},
		"1 GB, server":            {memory(gib), server, sight{"", "HOST_MEMORY_LOW", "HOST_MEMORY_LOW", ""}},
		"1 GB, etcd by name":      {memory(gib), Request{Distro: K3s, ClusterInit: &yes}, sight{K3s, "HOST_MEMORY_LOW", "HOST_MEMORY_LOW", ""}},
		"7 ms, SQLite":            {fsync(7), Request{}, sight{chosen: K3s}},
		"7 ms, etcd":              {fsync(7), Request{ClusterInit: &yes}, sight{K3s, "", "HOST_DISK_SLOW", ""}},
		"80 ms, SQLite":           {fsync(80), Request{}, sight{K3s, "", "HOST_DISK_SLOW", ""}},
		"80 ms, etcd":             {fsync(80), Request{ClusterInit: &yes}, sight{"", "HOST_DISK_SLOW", "", ""}},
		"80 ms, server":           {fsync(80), server, sight{"", "HOST_DISK_SLOW", "", ""}},
		"80 ms, worker":           {fsync(80), worker, sight{chosen: K3s}},
		"2379 taken, SQLite":      {port("tcp", 2379), Request{}, sight{chosen: K3s}},
		"2379 taken, etcd":        {port("tcp", 2379), Request{ClusterInit: &yes}, sight{"", "NET_PORT_TAKEN", "", ""}},
		"2380 taken, server":      {port("tcp", 2380), server, sight{"", "NET_PORT_TAKEN", "", ""}},
		"2380 taken, worker":      {port("tcp", 2380), worker, sight{chosen: K3s}},
		"6443 taken, worker":      {port("tcp", 6443), worker, sight{chosen: K3s}},
		"10250 taken, worker":     {port("tcp", 10250), worker, sight{"", "NET_PORT_TAKEN", "", ""}},
		"8472/udp taken, worker":  {port("udp", 8472), worker, sight{"", "NET_PORT_TAKEN", "", ""}},
		"8472/udp taken, alone":   {port("udp", 8472), Request{}, sight{chosen: K3s}},
		"own cluster, worker":     {ours("server", map[string]string{}), worker, sight{"", "CLUSTER_OWN", "", ""}},
		"worker again":            {ours("agent", map[string]string{"server": "https://10.0.0.1:6443"}), worker, sight{chosen: K3s}},
		"server again":            {ours("server", map[string]string{"server": "https://10.0.0.1:6443"}), server, sight{chosen: K3s}},
		"worker becomes a server": {ours("agent", map[string]string{"server": "https://10.0.0.1:6443"}), server, sight{"", "CLUSTER_MEMBER", "", ""}},
		"install on a worker":     {ours("agent", map[string]string{"server": "https://10.0.0.1:6443"}), Request{Distro: K3s}, sight{"", "CLUSTER_MEMBER", "", ""}},
		"SQLite to etcd":          {ours("server", map[string]string{}), Request{ClusterInit: &yes}, sight{chosen: K3s}},
		"etcd stays":              {ours("server", map[string]string{"cluster-init": "true"}), Request{}, sight{K3s, "", "", "cluster-init"}},
		"etcd to SQLite":          {ours("server", map[string]string{"cluster-init": "true"}), Request{ClusterInit: &no}, sight{"", "CLUSTER_DATASTORE", "", ""}},
		"never etcd":              {nothing, Request{ClusterInit: &no}, sight{chosen: K3s}},
		"no vxlan, worker": {func(m *captured) { m.trials[trial.Vxlan] = trial.Result{OK: host.Is(false)} }, worker,
			sight{K3s, "", "HOST_VXLAN", ""}},
		"ufw, worker": {func(m *captured) { m.facts.Firewall.UFW = host.Is(true) },
			Request{Node: wire.RoleWorker, Networks: []string{"10.142.0.0/16", "10.143.0.0/16"}, Peers: []string{"10.0.0.1", "fd00::1"}},
			sight{K3s, "", "", "ufw 10.142.0.0/16 10.143.0.0/16 10.0.0.1/32 fd00::1/128"}},
	} {
		t.Run(name, func(t *testing.T) {
			m := machine(t, "debian12-vm")
			m.facts.Modules.States, m.facts.Inotify = nil, host.Inotify{}
			c.change(&m)
			d := Decide(m.facts, m.trials, c.request)
			if diff := cmp.Diff(c.want, sightOf(d), cmp.AllowUnexported(sight{})); diff != "" {
				t.Errorf("%s\n%v", diff, d.Err())
			}
		})
	}
}

// TestNodeDecision: a machine that joins has no other choice, and what a worker is administered with is that of its kubelet.
func TestNodeDecision(t *testing.T) {
	m := machine(t, "debian12-vm")
	d := Decide(m.facts, m.trials, Request{Node: wire.RoleWorker, DataDir: "/data/k3s"})
	if len(d.Candidates) != 1 || d.Kubeconfig != "/data/k3s/agent/kubelet.kubeconfig" {
		t.Errorf("%d candidates, kubeconfig %q", len(d.Candidates), d.Kubeconfig)
	}
	m.facts.Memory.Total = host.Is(uint64(256 * mib))
	err := Decide(m.facts, m.trials, Request{Node: wire.RoleWorker}).Err()
	if !reason.Is(err, reason.HostMemoryLow) || reason.Exit(err) != reason.ExitHostRefused {
		t.Errorf("256 MB: %v", err)
	}
}

// TestFirewallOfANode: which workers there are, and will be, is not known here, so that who joins behind a firewall is told what is left
// for people to do.
func TestFirewallOfANode(t *testing.T) {
	for name, change := range map[string]func(*host.Firewall){
		"ufw":       func(f *host.Firewall) { f.UFW = host.Is(true) },
		"firewalld": func(f *host.Firewall) { f.Firewalld = host.Is(true) },
		"rejects":   func(f *host.Firewall) { f.Rejects = []string{"-A INPUT -j REJECT"} },
	} {
		m := machine(t, "debian12-vm")
		change(&m.facts.Firewall)
		for _, request := range []Request{{}, {Node: wire.RoleWorker, Peers: []string{"10.0.0.1"}}} {
			d := Decide(m.facts, m.trials, request)
			found := false
			for _, r := range d.Remedies {
				if r.Code == reason.NetFirewall {
					found = true
					if told := strings.Contains(r.Risk, "8472/udp"); told != (request.Node != "") {
						t.Errorf("%s, %q: risk %q", name, request.Node, r.Risk)
					}
				}
			}
			if !found {
				t.Errorf("%s, %q: no remedy", name, request.Node)
			}
		}
	}
}

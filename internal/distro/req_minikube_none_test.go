package distro

import (
	"slices"
	"strings"
	"testing"

	"github.com/pipeopshq/pipeops-agent/internal/host"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

// TestMinikubeNoneWants takes from a machine that has all, or puts in its way, one thing after the other: each is named, with a way out.
func TestMinikubeNoneWants(t *testing.T) {
	wanted := Request{Distro: Minikube, MinikubeDriver: MinikubeNone}
	for name, c := range map[string]struct {
		change func(f *host.Facts)
		code   reason.Code
		tells  string // part of what is seen
		fix    string // part of the way out
	}{
		"all":              {change: func(*host.Facts) {}},
		"swap":             {change: func(f *host.Facts) { f.Swap.Total = host.Is(uint64(1 << 30)) }},
		"no conntrack":     {func(f *host.Facts) { delete(f.Commands, "conntrack") }, reason.MinikubeNone, "there is no conntrack", "the package conntrack"},
		"no crictl":        {func(f *host.Facts) { delete(f.Commands, "crictl") }, reason.MinikubeNone, "there is no crictl", "cri-tools"},
		"no dockerd":       {func(f *host.Facts) { delete(f.Commands, "dockerd") }, reason.MinikubeNone, "there is no dockerd", "Docker's packages"},
		"no docker":        {func(f *host.Facts) { delete(f.Commands, "docker") }, reason.MinikubeNone, "there is no docker,", "docker-cli"},
		"no cri-dockerd":   {func(f *host.Facts) { delete(f.Commands, "cri-dockerd") }, reason.MinikubeNone, "there is no cri-dockerd", "Mirantis/cri-dockerd"},
		"no iptables":      {func(f *host.Facts) { delete(f.Commands, "iptables") }, reason.MinikubeNone, "there is no iptables", "the package iptables"},
		"no sudo":          {func(f *host.Facts) { delete(f.Commands, "sudo") }, reason.MinikubeNone, "there is no sudo", "the package sudo"},
		"no units":         {func(f *host.Facts) { f.BareNode.CRIDocker = host.Is(false) }, reason.MinikubeNone, "cri-docker.socket", "packaging/systemd"},
		"no plugins":       {func(f *host.Facts) { f.BareNode.Plugins = nil }, reason.MinikubeNone, "bridge, firewall, host-local, loopback, portmap", "containernetworking/plugins"},
		"a plugin less":    {func(f *host.Facts) { f.BareNode.Plugins = []string{"bridge", "host-local", "loopback", "portmap"} }, reason.MinikubeNone, "the CNI plugins firewall", "containernetworking/plugins"},
		"not root":         {func(f *host.Facts) { f.UID = host.Is(1000) }, reason.HostNotRoot, "user 1000", ""},
		"OpenRC":           {func(f *host.Facts) { f.Init.Systemd, f.Init.Name = host.Is(false), "openrc-init" }, reason.HostNoSystemd, "openrc-init", "--minikube-driver docker"},
		"a container":      {func(f *host.Facts) { f.Virtualization.UserNamespace = host.Is(true) }, reason.MinikubeNone, "this is a container", "--distro k3s"},
		"a kubelet":        {func(f *host.Facts) { f.Commands["kubelet"] = "/usr/bin/kubelet" }, reason.MinikubeNone, "/usr/bin/kubelet", "remove its package"},
		"networks":         {func(f *host.Facts) { f.BareNode.Networks = []string{"/etc/cni/net.d/87-podman.conflist"} }, reason.MinikubeNone, "87-podman.conflist", "move it away"},
		"settings":         {func(f *host.Facts) { f.BareNode.EngineConfig = host.Is(true) }, reason.MinikubeNone, "/etc/docker/daemon.json", "drop-in of docker.service"},
		"another's engine": {func(f *host.Facts) { f.Docker.Desktop = host.Is(true) }, reason.MinikubeNone, "not one that root runs", "install Docker"},
		"an old engine":    {func(f *host.Facts) { f.Docker.Server = "17.3.2" }, reason.DockerTooOld, "17.3.2", ""},
		"SELinux":          {func(f *host.Facts) { f.LSM.SELinux = "enforcing" }, reason.HostSELinux, "enforcing", "setenforce 0"},
		"the API's port": {func(f *host.Facts) {
			f.Listening = append(f.Listening, host.Listener{Proto: "tcp", Port: 8443, Owner: "tomcat"})
		}, reason.NetPortTaken, "port 8443 is held by tomcat", "--api-port"},
		"the kubelet's": {func(f *host.Facts) {
			f.Listening = append(f.Listening, host.Listener{Proto: "tcp", Port: 10250, Owner: "exporter"})
		}, reason.NetPortTaken, "port 10250 is held by exporter", ""},
		"a network": {func(f *host.Facts) {
			f.Routes = append(f.Routes, host.Route{Destination: "10.100.0.0/16", Interface: "wg0"})
		}, reason.NetCIDROverlap, "10.100.0.0/16 leads to wg0", "--distro k3s"},
		"one CPU": {func(f *host.Facts) { f.CPU.Count = host.Is(1) }, reason.HostCPU, "", ""},
		"another cluster": {func(f *host.Facts) {
			f.Clusters = append(f.Clusters, host.Cluster{Name: "kubeadm", State: host.Running, Ours: host.Is(false)})
		}, reason.ClusterForeign, "kubeadm", ""},
		"with the driver docker": {func(f *host.Facts) {
			f.Clusters = append(f.Clusters, host.Cluster{Name: Minikube, Cluster: ClusterName, State: host.Running, Ours: host.Is(true)})
		}, reason.ClusterFixed, "with the driver docker", ""},
	} {
		t.Run(name, func(t *testing.T) {
			m := machine(t, "docker-cri-dockerd")
			c.change(&m.facts)
			d := Decide(m.facts, m.trials, wanted)
			k, _ := d.Candidate(Minikube)
			if c.code == "" {
				if d.Chosen != Minikube || d.MinikubeDriver != MinikubeNone || k.Verdict != Chosen {
					t.Errorf("%+v", k)
				}
				return
			}
			if d.Chosen != "" && k.Verdict != string(Waived) {
				t.Fatalf("chosen is %q", d.Chosen)
			}
			i := slices.IndexFunc(k.Reasons, func(r Reason) bool {
				return r.Code == c.code && strings.Contains(r.Evidence, c.tells) && strings.Contains(r.Fix, c.fix) && r.Fix != ""
			})
			if i < 0 || len(k.Reasons) != 1 {
				t.Errorf("%+v", k.Reasons)
			}
		})
	}
}

// TestMinikubeNoneFirewall: a firewall lets through what is minikube's, not what is k3s's.
func TestMinikubeNoneFirewall(t *testing.T) {
	m := machine(t, "docker-cri-dockerd")
	m.facts.Firewall.UFW = host.Is(true)
	d := Decide(m.facts, m.trials, Request{Distro: Minikube, MinikubeDriver: MinikubeNone})
	i := slices.IndexFunc(d.Remedies, func(r Remedy) bool { return r.ID == RemedyUFW })
	if d.Chosen != Minikube || i < 0 || !slices.Equal(d.Remedies[i].Values, []string{"10.244.0.0/16", "10.96.0.0/12"}) {
		t.Errorf("%+v", d.Remedies)
	}
}

// TestMinikubeNoneByName: without minikube by name the driver is never used, and what was made with one stays with it.
func TestMinikubeNoneByName(t *testing.T) {
	m := machine(t, "docker-cri-dockerd")
	for _, r := range []Request{{}, {MinikubeDriver: MinikubeNone}, {Distro: Minikube}, {Distro: K3d, MinikubeDriver: MinikubeNone}} {
		if d := Decide(m.facts, m.trials, r); d.MinikubeDriver != "" || d.Chosen == "" {
			t.Errorf("%+v: chosen is %s, by %q", r, d.Chosen, d.MinikubeDriver)
		}
	}
	ours := host.Cluster{Name: Minikube, Cluster: host.MinikubeProfile, State: host.Running, Ours: host.Is(true)}
	m.facts.Clusters = []host.Cluster{ours}
	m.facts.Commands["kubelet"], m.facts.BareNode.EngineConfig = "/usr/bin/kubelet", host.Is(true)
	m.facts.BareNode.Networks = []string{"/etc/cni/net.d/1-k8s.conflist"}
	m.facts.Listening = append(m.facts.Listening, host.Listener{Proto: "tcp", Port: 8443, Owner: "kube-apiserver"})
	for _, r := range []Request{{}, {Distro: Minikube}, {Distro: Minikube, MinikubeDriver: MinikubeNone}} {
		d := Decide(m.facts, m.trials, r)
		if d.Chosen != Minikube || d.MinikubeDriver != MinikubeNone {
			t.Errorf("%+v: chosen is %s, by %q", r, d.Chosen, d.MinikubeDriver)
		}
		if dist, ok := d.Distribution(); !ok || !strings.Contains(dist.Title, "driver none") {
			t.Errorf("%q", dist.Title)
		}
	}
	d := Decide(m.facts, m.trials, Request{Distro: Minikube, MinikubeDriver: MinikubeDocker})
	if k, _ := d.Candidate(Minikube); d.Chosen != "" || !slices.ContainsFunc(k.Reasons, func(r Reason) bool { return r.Code == reason.ClusterFixed }) {
		t.Errorf("%+v", k)
	}
}

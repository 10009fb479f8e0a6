package distro

import (
	"strings"
	"testing"

	"github.com/pipeopshq/pipeops-agent/internal/host"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

// TestEngineCases changes one thing of a machine on which a cluster in containers would do, and says for what reason it then
// does not, with what way out, and what an install would do by itself.
func TestEngineCases(t *testing.T) {
	docker := func(change func(*host.Docker)) func(*captured) {
		return func(m *captured) { change(&m.facts.Docker) }
	}
	off := func(state host.ClusterState, evidence ...string) func(*captured) {
		return func(m *captured) {
			m.facts.Docker = host.Docker{Reachable: host.Is(false)}
			delete(m.facts.Commands, "docker")
			m.facts.Runtimes = []host.Runtime{{Name: "docker", State: state, Evidence: evidence}}
		}
	}
	missing := func(id, version, family string) func(*captured) {
		return func(m *captured) {
			off(host.Debris, "/var/lib/docker/image")(m)
			m.facts.OS = host.OS{Kind: "linux", ID: id, Version: version, Family: family}
		}
	}
	user := func(change func(*captured)) func(*captured) {
		return func(m *captured) { change(m); m.facts.UID = host.Is(1000) }
	}
	openrc := func(change func(*captured)) func(*captured) {
		return func(m *captured) {
			change(m)
			m.facts.Init = host.Init{Name: "init", OpenRC: host.Is(true), Systemd: host.Is(false)}
		}
	}
	cluster := func(c host.Cluster) func(*captured) {
		return func(m *captured) {
			if !c.Ours.OK {
				c.Ours = host.Is(false)
			}
			m.facts.Clusters = append(m.facts.Clusters, c)
		}
	}
	for name, c := range map[string]struct {
		change   func(*captured)
		distro   string
		port     int
		code     reason.Code // of the reason, or of the warning
		evidence string
		fix      string
		cost     reason.Cost
		cures    string // ids of the remedies with their values
		warns    bool
	}{
		"nothing": {distro: K3d},

		"stopped":            {change: off(host.Stopped, "/usr/lib/systemd/system/docker.service"), distro: K3d, code: reason.EngineStopped, evidence: "docker.service", fix: "systemctl start docker", cost: reason.CostNone, cures: "engine-start docker.service"},
		"stopped snap":       {change: off(host.Stopped, "/etc/systemd/system/snap.docker.dockerd.service"), distro: K3d, code: reason.EngineStopped, fix: "systemctl start snap.docker.dockerd", cures: "engine-start snap.docker.dockerd.service"},
		"stopped, OpenRC":    {change: openrc(off(host.Stopped, "/etc/init.d/docker")), distro: Minikube, code: reason.EngineStopped, fix: "rc-service docker start", cures: "engine-start docker.service"},
		"stopped, no root":   {change: user(off(host.Stopped, "/etc/init.d/docker")), distro: K3d, code: reason.EngineStopped, fix: "systemctl start docker"},
		"runs, and is mute":  {change: off(host.Running, "/usr/bin/dockerd"), distro: K3d, code: reason.DockerUnreachable, evidence: "dockerd runs", fix: "journalctl -u docker", cost: reason.CostNone},
		"not for this user":  {change: user(docker(func(d *host.Docker) { *d = host.Docker{Reachable: host.Is(false), Denied: host.Is(true)} })), distro: K3d, code: reason.DockerUnreachable, evidence: "may not use it", fix: "sudo", cost: reason.CostNone},
		"unseen":             {change: docker(func(d *host.Docker) { *d = host.Docker{} }), distro: K3d, code: reason.DockerUnreachable, evidence: "could not be seen"},
		"stopped, Podman":    {change: func(m *captured) { off(host.Stopped, "x")(m); m.facts.Commands["podman"] = "/usr/bin/podman" }, distro: Kind},
		"stopped, no Podman": {change: off(host.Stopped, "x"), distro: Kind, code: reason.EngineStopped, cures: "engine-start docker.service"},

		"missing on Debian 12": {change: missing("debian", "12", "debian"), distro: K3d, code: reason.DockerUnreachable, evidence: "no engine is installed", fix: "--consent package", cost: reason.CostPackage, cures: "package docker.io, engine-start docker.service"},
		"missing on Debian 13": {change: missing("debian", "13", "debian"), distro: K3d, code: reason.DockerUnreachable, cures: "package docker.io docker-cli, engine-start docker.service"},
		"missing on Ubuntu":    {change: missing("ubuntu", "24.04", "debian"), distro: Kind, code: reason.DockerUnreachable, cures: "package docker.io, engine-start docker.service"},
		"missing on Fedora 40": {change: missing("fedora", "40", "rhel"), distro: K3d, code: reason.DockerUnreachable, cures: "package moby-engine, engine-start docker.service"},
		"missing on Fedora 42": {change: missing("fedora", "42", "rhel"), distro: K3d, code: reason.DockerUnreachable, cures: "package moby-engine docker-cli, engine-start docker.service"},
		"missing on Alpine":    {change: openrc(missing("alpine", "3.22", "alpine")), distro: Minikube, code: reason.DockerUnreachable, cures: "package docker, engine-start docker.service"},
		"missing on Rocky 9":   {change: missing("rocky", "9.4", "rhel"), distro: Kind, code: reason.DockerUnreachable, fix: "podman", cures: "package podman"},
		"k3d on Rocky 9":       {change: missing("rocky", "9.4", "rhel"), distro: K3d, code: reason.DockerUnreachable, fix: "docs.docker.com"},
		"missing on NixOS":     {change: func(m *captured) { missing("nixos", "25.05", "nixos")(m); m.facts.Roots.Immutable = "nix" }, distro: K3d, code: reason.DockerUnreachable, fix: "docs.docker.com"},
		"missing for a user":   {change: user(missing("debian", "12", "debian")), distro: K3d, code: reason.DockerUnreachable, fix: "docker.io", cost: reason.CostPackage},
		"Docker Desktop for the Mac is off": {change: func(m *captured) {
			*m = captured{facts: host.Facts{OS: host.OS{Kind: "darwin"}, Docker: host.Docker{Reachable: host.Is(false)}}}
		}, distro: K3d, code: reason.DockerUnreachable, fix: "start Docker Desktop"},

		"no docker command":    {change: func(m *captured) { delete(m.facts.Commands, "docker") }, distro: Kind, code: reason.DockerUnreachable, evidence: "no docker command", fix: "docker-cli"},
		"k3d needs no command": {change: func(m *captured) { delete(m.facts.Commands, "docker") }, distro: K3d},
		"too old for k3d":      {change: docker(func(d *host.Docker) { d.Server = "20.10.4" }), distro: K3d, code: reason.DockerTooOld, evidence: "20.10.4; needed is 20.10.5", cost: reason.CostPackage},
		"old enough for kind":  {change: docker(func(d *host.Docker) { d.Server = "20.10.4" }), distro: Kind},
		"too old for minikube": {change: docker(func(d *host.Docker) { d.Server = "18.06.1-ce" }), distro: Minikube, code: reason.DockerTooOld},
		"29 for kind":          {change: docker(func(d *host.Docker) { d.Server, d.MinAPI = "29.0.2", "1.44" }), distro: Kind},

		"rootless on v1": {change: func(m *captured) { m.facts.Docker.Rootless, m.facts.Cgroup.Version = host.Is(true), "v1" }, distro: Kind, code: reason.DockerRootless, fix: "unified_cgroup_hierarchy"},
		"rootless on v2": {change: func(m *captured) { m.facts.Docker.Rootless, m.facts.Cgroup.Version = host.Is(true), "v2" }, distro: Kind, code: reason.DockerRootless, fix: "enable-linger", warns: true},
		"that of a user": {change: docker(func(d *host.Docker) { d.Rootless, d.Socket = host.Is(true), "/run/user/1000/docker.sock" }), distro: K3d, code: reason.DockerRootless, evidence: "/run/user/1000/docker.sock", fix: "systemctl start docker", cost: reason.CostNone},
		"that of a user, alone": {change: func(m *captured) {
			m.facts.Docker.Rootless, m.facts.Docker.Socket, m.facts.Runtimes = host.Is(true), "/run/user/1000/docker.sock", nil
		}, distro: Kind, code: reason.DockerRootless, fix: "install docker.io, and then systemctl start docker", cost: reason.CostPackage},
		"beside that of a user": {change: docker(func(d *host.Docker) {
			d.Rootless, d.Denied, d.Socket = host.Is(true), host.Is(true), "/run/user/1000/docker.sock"
		}), distro: K3d, code: reason.DockerUnreachable, fix: "sudo", cost: reason.CostNone},
		"of the environment": {change: docker(func(d *host.Docker) { d.Socket = "/srv/docker.sock" }), distro: Minikube, code: reason.DockerUnreachable, evidence: "/srv/docker.sock", fix: "daemon.json", cost: reason.CostNone},
		"of the Mac": {change: func(m *captured) {
			m.facts.OS.Kind, m.facts.Docker.Socket = "darwin", "/Users/a/.docker/run/docker.sock"
		}, distro: K3d},
		"at the usual link": {change: docker(func(d *host.Docker) { d.Socket = "/var/run/docker.sock" }), distro: K3d},
		"swarm":             {change: docker(func(d *host.Docker) { d.Swarm = host.Is(true) }), distro: K3d, code: reason.EngineSwarm, warns: true},

		"name taken":               {change: cluster(host.Cluster{Name: K3d, Cluster: ClusterName, State: host.Running, Evidence: []string{"container k3d-pipeops-server-0"}}), distro: K3d, code: reason.EngineNameTaken, evidence: "k3d-pipeops-server-0", fix: "k3d cluster delete pipeops"},
		"name taken, stopped":      {change: cluster(host.Cluster{Name: Kind, Cluster: ClusterName, State: host.Stopped}), distro: Kind, code: reason.EngineNameTaken, fix: "kind delete cluster --name pipeops"},
		"name taken, unfinished":   {change: cluster(host.Cluster{Name: Minikube, Cluster: ClusterName, State: host.Unfinished}), distro: Minikube, code: reason.EngineNameTaken, fix: "minikube delete --profile pipeops"},
		"name of another kind":     {change: cluster(host.Cluster{Name: K3d, Cluster: ClusterName, State: host.Running}), distro: Kind, code: reason.ClusterForeign},
		"ours":                     {change: cluster(host.Cluster{Name: Kind, Cluster: ClusterName, State: host.Stopped, Ours: host.Is(true)}), distro: Kind},
		"ours, unfinished":         {change: cluster(host.Cluster{Name: Kind, Cluster: ClusterName, State: host.Unfinished, Ours: host.Is(true)}), distro: Kind},
		"whose it is, is not seen": {change: cluster(host.Cluster{Name: Kind, Cluster: ClusterName, State: host.Running, Ours: host.Known[bool]{}}), distro: Minikube, code: reason.ClusterForeign},
		"another, unfinished":      {change: cluster(host.Cluster{Name: Kind, Cluster: "dev", State: host.Unfinished, Evidence: []string{"container dev-control-plane"}}), distro: K3d, code: reason.ClusterUnfinished, evidence: "dev-control-plane", fix: "kind delete cluster --name dev"},

		"port of a program": {change: func(m *captured) {
			m.facts.Listening = append(m.facts.Listening, host.Listener{Proto: "tcp", Port: 6550, Owner: "nginx", PID: 7})
		}, distro: K3d, port: 6550, code: reason.NetPortTaken, evidence: "nginx (pid 7)", fix: "--api-port"},
		"port of our cluster": {change: func(m *captured) {
			m.facts.Listening = append(m.facts.Listening, host.Listener{Proto: "tcp", Port: 6550, Owner: "docker-proxy"})
			m.facts.Clusters = append(m.facts.Clusters, host.Cluster{Name: K3d, Cluster: ClusterName, State: host.Running, Ours: host.Is(true), Port: 6550})
		}, distro: K3d, port: 6550},
		"ports unseen": {change: func(m *captured) { m.facts.Listening = nil }, distro: K3d, port: 6550},
	} {
		t.Run(name, func(t *testing.T) {
			m := machine(t, "debian12-vm")
			m.facts.Docker = host.Docker{Reachable: host.Is(true), Server: "27.3.1", Root: "/var/lib/docker"}
			m.facts.Commands["docker"] = "/usr/bin/docker"
			m.facts.Runtimes = []host.Runtime{{Name: "docker", State: host.Running}}
			m.facts.Memory.Total, m.facts.CPU.Count = host.Is(uint64(8*gib)), host.Is(4)
			if c.change != nil {
				c.change(&m)
			}
			d, _ := Get(c.distro)
			k := d.judge(Case{Facts: m.facts, Trials: m.trials, Request: Request{Distro: Auto, APIPort: c.port}})
			reasons := k.Reasons
			if c.warns {
				if reasons = k.Warnings; len(k.Reasons) > 0 {
					t.Errorf("refused: %+v", k.Reasons)
				}
				reasons = withCode(reasons, c.code)
			}
			var cures []string
			for _, r := range append(k.remedies, k.consent...) {
				if r.ID == RemedyPackage || r.ID == RemedyEngineStart {
					cures = append(cures, r.ID+" "+strings.Join(r.Values, " "))
				}
				if r.ID == RemedyEngineStart && r.Code == reason.EngineStopped { // it costs nothing, so that it is no reason
					reasons = append(reasons, Finding{Evidence: r.Evidence, Fix: c.fix, Remedies: []Remedy{r}}.reason(r.Code))
				}
			}
			if got := strings.Join(cures, ", "); got != c.cures {
				t.Errorf("cured by %q, want %q", got, c.cures)
			}
			switch {
			case c.code == "" && len(reasons) == 0:
			case c.code == "":
				t.Errorf("refused: %+v", reasons)
			case len(reasons) == 0 || reasons[0].Code != c.code:
				t.Errorf("%s is not the first of %+v", c.code, reasons)
			case !strings.Contains(reasons[0].Evidence, c.evidence), !strings.Contains(reasons[0].Fix, c.fix), c.cost != "" && reasons[0].Cost != c.cost:
				t.Errorf("%+v", reasons[0])
			}
		})
	}
}

func withCode(all []Reason, code reason.Code) []Reason {
	var some []Reason
	for _, r := range all {
		if r.Code == code {
			some = append(some, r)
		}
	}
	return some
}

// TestOurContainersStay: what we have made is chosen again, also where another distribution would come first today.
func TestOurContainersStay(t *testing.T) {
	for _, name := range inContainers() {
		m := machine(t, "debian12-vm")
		m.facts.Docker = host.Docker{Reachable: host.Is(true), Server: "27.3.1"}
		m.facts.Commands["docker"] = "/usr/bin/docker"
		m.facts.Clusters = append(m.facts.Clusters, host.Cluster{Name: name, Cluster: ClusterName, State: host.Stopped, Ours: host.Is(true)})
		if d := Decide(m.facts, m.trials, Request{}); d.Chosen != name {
			t.Errorf("%s: %q is chosen (%v)", name, d.Chosen, d.Err())
		}
		for _, other := range Names() {
			d := Decide(m.facts, m.trials, Request{Distro: other})
			if refused := refusals(d, other); other != name && other != Existing && (d.Chosen != "" || refused[0] != string(reason.ClusterOurs)) {
				t.Errorf("%s beside ours, %s: %q is chosen, %v", other, name, d.Chosen, refused)
			}
		}
	}
}

package distro

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/pipeopshq/pipeops-agent/internal/host"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

// containers says what a distribution that runs in containers needs.
type containers struct {
	name               string // of the distribution
	memory, memoryWarn uint64
	disk, diskWarn     uint64
	engine             version                   // the oldest Docker
	api                version                   // the newest API of Docker that its tool speaks; the zero value is that of the docker command
	podman             bool                      // Podman will do
	command            bool                      // its tool calls the docker command
	kubernetes         func(asked string) string // the version of Kubernetes that it runs; nil: the one that is asked for
	proxy              bool                      // kube-proxy sets the table of connections; kind and minikube tell it not to
}

// requirements lists what such a distribution needs of a machine. What is asked of kernel, disk and rights is asked only
// where the engine runs on this machine.
func (k containers) requirements() []Requirement {
	all := []Requirement{
		system("linux", "darwin"),
		wsl1(),
		openvz(),
		single(k.name),
		k.nameFree(),
		beside(foreignCluster()),
		beside(debris()),
		k.reachable(),
		machineEngine(),
		k.commanded(),
		k.recent(),
		k.spoken(),
		rootless(),
		apiPort(),
		here(nesting()),
		architecture(),
		here(k.running(kernel())),
		here(k.running(cgroupVersion())),
		here(cgroupControllers()),
		cpus(dockerCPUs),
		memory(k.memory),
		here(diskFree(inEngine(k.disk))),
		here(netfilter()),
		here(namespaces()),
		clock(),
		here(inotify()),
		memoryAdvised(k.memoryWarn, "pods are short of it"),
		here(diskAdvised(inEngine(k.diskWarn))),
		here(k.running(cgroupAdvised())),
		untested(),
		swarm(),
		lingering(),
		panel(),
		portable(),
		atBoot(),
	}
	if k.proxy {
		all = append(all, here(conntrack()))
	}
	return all
}

// engineHere reports whether the engine's containers run on the kernel, and with the rights, of this machine.
func engineHere(c Case) bool {
	d := c.Facts.Docker
	return !d.Outside.Value && !d.Desktop.Value && c.Facts.OS.Kind != "darwin"
}

// here asks a requirement only where the engine is.
func here(q Requirement) Requirement {
	judge := q.Judge
	q.Judge = func(c Case) Finding {
		if !engineHere(c) {
			return unknown()
		}
		return judge(c)
	}
	return q
}

// reachable needs an engine that answers. One that is installed and stopped is started, one that is missing is installed if
// the user agrees: that needs root, and something that starts it at every boot.
func (k containers) reachable() Requirement {
	return Requirement{Name: "engine", Code: reason.DockerUnreachable, Judge: func(c Case) Finding {
		up, ok := c.Facts.Docker.Reachable.Get()
		_, podman := c.Facts.Commands["podman"]
		engine := dockerOf(c.Facts)
		const want = "a running Docker engine"
		switch {
		case up, k.podman && podman:
			return met()
		case !ok:
			// what is not known to be there is not chosen in place of what fits, and does not refuse it either
			return unmet("it could not be seen whether an engine answers", want)
		case c.Facts.OS.Kind == "darwin":
			f := unmet("no engine answers at "+dockerSocket, want).fixed("start Docker Desktop, or another engine with the same socket")
			f.Cost = reason.CostNone
			return f
		case c.Facts.Docker.Denied.Value:
			f := unmet("the socket of the engine is there, and this user may not use it", "the rights to ask the engine").
				fixed("run the command with sudo, or as a user who may: usermod -aG docker NAME gives the rights of root")
			f.Cost = reason.CostNone
			return f
		case engine.State == host.Running:
			f := unmet("dockerd runs, and does not answer at "+dockerSocket, "an engine that answers").
				fixed("see what it says: " + logLine(c.Facts, "docker") + "; it must answer at that socket, whatever else \"hosts\" in /etc/docker/daemon.json names")
			f.Cost = reason.CostNone
			return f
		case engine.Name != "":
			return stoppedEngine(c, engine)
		}
		_, installed := c.Facts.Commands["docker"]
		f := unmet("no engine answers at "+dockerSocket, want)
		switch {
		case c.Facts.Virtualization.WSL.Value == 2 && !installed:
			return f.fixed("start Docker Desktop with the integration of this distribution on, or install Docker")
		case installed && c.Facts.Runtimes == nil:
			f.Cost = reason.CostNone
			return f.fixed("start Docker: " + startingLine(c.Facts, "docker"))
		}
		return k.missingEngine(c, f)
	}}
}

// commanded needs the docker command, where the tool is but a caller of it.
func (k containers) commanded() Requirement {
	return Requirement{Name: "docker-command", Code: reason.DockerUnreachable, Judge: func(c Case) Finding {
		_, docker := c.Facts.Commands["docker"]
		_, podman := c.Facts.Commands["podman"]
		switch {
		case !k.command || !c.Facts.Docker.Reachable.Value:
			return met()
		case c.Facts.Commands == nil:
			return unknown()
		case docker || k.podman && podman:
			return met()
		}
		return unmet("an engine answers, but there is no docker command, by which "+k.name+" asks it", "the docker command").
			fixed("install it from the packages of this system: docker-cli, or docker-ce-cli of Docker's own archive")
	}}
}

// running judges by the version of Kubernetes that the distribution runs.
func (k containers) running(q Requirement) Requirement {
	judge := q.Judge
	q.Judge = func(c Case) Finding {
		if k.kubernetes != nil {
			c.Request.Kubernetes = k.kubernetes(c.Request.Kubernetes)
		}
		return judge(c)
	}
	return q
}

// recent needs an engine that the distribution works with.
func (k containers) recent() Requirement {
	return Requirement{Name: "engine-version", Code: reason.DockerTooOld, Judge: func(c Case) Finding {
		if !c.Facts.Docker.Reachable.Value {
			return unknown()
		}
		have, ok := parseVersion(c.Facts.Docker.Server)
		switch {
		case !ok:
			return unknown()
		case have.less(k.engine):
			return unmet(fmt.Sprintf("Docker is %s; needed is %s", c.Facts.Docker.Server, k.engine), fmt.Sprintf("Docker %s or later", k.engine))
		}
		return met()
	}}
}

// spoken needs an engine that still speaks the API of the tool: Docker 29 has dropped all before 1.44.
func (k containers) spoken() Requirement {
	return Requirement{Name: "engine-api", Code: reason.DockerTooNew, Judge: func(c Case) Finding {
		oldest, ok := parseVersion(c.Facts.Docker.MinAPI)
		switch {
		case k.api == version{} || !c.Facts.Docker.Reachable.Value:
			return met()
		case !ok:
			return unknown()
		case k.api.less(oldest):
			return unmet(fmt.Sprintf("the engine speaks API %s and later; %s speaks %d.%d and earlier", c.Facts.Docker.MinAPI, k.name, k.api.major, k.api.minor),
				fmt.Sprintf("an engine that speaks API %d.%d", k.api.major, k.api.minor))
		}
		return met()
	}}
}

// rootless needs, of an engine that a user runs, control groups that can be delegated to it.
func rootless() Requirement {
	return Requirement{Name: "rootless", Code: reason.DockerRootless, Judge: func(c Case) Finding {
		is, ok := c.Facts.Docker.Rootless.Get()
		v := c.Facts.Cgroup.Version
		switch {
		case !ok || v == "":
			return unknown()
		case is && v != "v2":
			return unmet("the engine runs without root, and cgroup "+v+" cannot be delegated to it", "cgroup v2, or an engine that root runs")
		}
		return met()
	}}
}

// version is a version of an engine.
type version struct{ major, minor, patch int }

// parseVersion reads "20.10.24+dfsg1".
func parseVersion(s string) (version, bool) {
	var n [3]int
	parts := strings.SplitN(strings.TrimPrefix(s, "v"), ".", 4)
	if len(parts) < 2 {
		return version{}, false
	}
	for i, p := range parts[:min(len(parts), 3)] {
		end := strings.IndexFunc(p, func(r rune) bool { return r < '0' || r > '9' })
		if end >= 0 {
			p = p[:end]
		}
		v, err := strconv.Atoi(p)
		if err != nil {
			return version{}, false
		}
		n[i] = v
	}
	return version{n[0], n[1], n[2]}, true
}

func (v version) less(o version) bool {
	switch {
	case v.major != o.major:
		return v.major < o.major
	case v.minor != o.minor:
		return v.minor < o.minor
	}
	return v.patch < o.patch
}

// String writes "20.10.5", or "18.09".
func (v version) String() string {
	s := fmt.Sprintf("%d.%02d", v.major, v.minor)
	if v.patch > 0 {
		s += fmt.Sprintf(".%d", v.patch)
	}
	return s
}

// desktop leaves Docker Desktop's machines to Docker: a k3s in WSL 2 stops when nobody uses WSL, the engine does not.
func desktop() Requirement {
	return Requirement{Name: "docker-desktop", Code: reason.HostWSLDocker, Waivable: true, Judge: func(c Case) Finding {
		d := c.Facts.Docker
		switch {
		case c.Facts.Virtualization.WSL.Value != 2:
			return met()
		case !d.Reachable.OK:
			return unknown()
		case d.Reachable.Value && d.Desktop.Value:
			return unmet("Docker Desktop answers here, and WSL 2 stops its distributions when they are idle", "--distro k3s")
		}
		return met()
	}}
}

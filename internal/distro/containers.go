package distro

import (
	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

// inDocker lists what the distributions that run in containers need of a machine.
func inDocker(bytes uint64) []Requirement {
	return []Requirement{
		notYet(),
		wsl1(),
		openvz(),
		foreignCluster(),
		debris(),
		docker(),
		cpus(dockerCPUs),
		memory(bytes),
	}
}

func docker() Requirement {
	return Requirement{Name: "docker", Code: reason.DockerUnreachable, Judge: func(c Case) Finding {
		up, ok := c.Facts.Docker.Reachable.Get()
		switch {
		case !ok:
			return unknown()
		case up:
			return met()
		}
		f := unmet("/run/docker.sock does not answer", "a running Docker engine")
		if _, installed := c.Facts.Commands["docker"]; installed {
			f.Cost = reason.CostNone
			return f.fixed("start Docker: " + startingLine(c.Facts, "docker"))
		}
		return f
	}}
}

// notYet refuses what this version cannot install, whatever the machine.
func notYet() Requirement {
	return Requirement{Name: "available", Code: reason.DistroNotAvailable, Judge: func(Case) Finding {
		return unmet("this version installs k3s, or adopts an existing cluster", "a version of pipeops-agent that installs it")
	}}
}

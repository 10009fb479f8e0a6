package distro

import (
	"fmt"
	"slices"
	"strings"

	"github.com/pipeopshq/pipeops-agent/internal/host"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

// inContainers lists the distributions whose nodes are containers.
func inContainers() []string { return []string{K3d, Kind, Minikube} }

// ourContainers returns our cluster in the engine.
func ourContainers(f host.Facts) (host.Cluster, bool) {
	for _, c := range f.Clusters {
		if c.Ours.Value && slices.Contains(inContainers(), c.Name) {
			return c, true
		}
	}
	return host.Cluster{}, false
}

// single needs that no cluster of ours is here that was made in another way: the agent looks after one.
func single(name string) Requirement {
	return Requirement{Name: "single", Code: reason.ClusterOurs, Judge: func(c Case) Finding {
		for _, f := range c.Facts.Clusters {
			if f.Ours.Value && f.Name != name && (f.Name == K3s || slices.Contains(inContainers(), f.Name)) {
				return unmet(describe([]host.Cluster{f}), "this machine without the "+f.Name+" of pipeops-agent")
			}
		}
		return met()
	}}
}

// beside lets a cluster in containers stand beside what is there, if it was asked for by name: its nodes share neither
// folders nor ports with it.
func beside(q Requirement) Requirement {
	q.Waivable = true
	return q
}

// nameFree needs the name of our cluster: one that has it and is not ours stays as it is.
func (k containers) nameFree() Requirement {
	return Requirement{Name: "cluster-name", Code: reason.EngineNameTaken, Judge: func(c Case) Finding {
		if c.Facts.Clusters == nil {
			return unknown()
		}
		var taken []host.Cluster
		for _, f := range c.Facts.Clusters {
			if !f.Ours.Or(true) && f.Name == k.name && f.Cluster == ClusterName {
				taken = append(taken, f)
			}
		}
		if len(taken) == 0 {
			return met()
		}
		return unmet(describe(taken), "no "+k.name+" cluster of the name "+ClusterName).
			fixed("keep what you need of it, then " + cleaning(taken[0]) + "; or adopt it with --distro existing --kubeconfig FILE")
	}}
}

// apiPort needs the port that was asked for, unless it is our own cluster that has it. Without one, a free port is taken.
func apiPort() Requirement {
	return Requirement{Name: "api-port", Code: reason.NetPortTaken, Judge: func(c Case) Finding {
		port := c.Request.APIPort
		ours, _ := ourContainers(c.Facts)
		switch {
		case port == 0 || port == ours.Port:
			return met()
		case c.Facts.Listening == nil:
			return unknown()
		}
		for _, f := range c.Facts.Clusters {
			if f.Port == port && f.State == host.Running {
				return unmet(fmt.Sprintf("port %d is that of %s", port, calledCluster(f)), fmt.Sprintf("port %d free", port)).fixed(otherPort)
			}
		}
		if taken := holders(c, false, port); len(taken) > 0 {
			return unmet(strings.Join(taken, ", "), fmt.Sprintf("port %d free", port)).fixed(otherPort)
		}
		return met()
	}}
}

const otherPort = "choose another port with --api-port, or none: then a free one is taken"

// swarm warns of an engine that is part of a swarm: that one does not look after the nodes.
func swarm() Requirement {
	return Requirement{Name: "swarm", Code: reason.EngineSwarm, Advice: true, Judge: func(c Case) Finding {
		if c.Facts.Docker.Swarm.Value {
			return unmet("the engine is part of a swarm, which moves no node of the cluster to another machine", "an engine without a swarm")
		}
		return met()
	}}
}

// lingering warns of an engine that a user runs: it comes with the user, not with the machine.
func lingering() Requirement {
	return Requirement{Name: "engine-boot", Code: reason.DockerRootless, Advice: true, Judge: func(c Case) Finding {
		if is, ok := c.Facts.Docker.Rootless.Get(); !ok || !is || c.Facts.Cgroup.Version != "v2" {
			return met()
		}
		return unmet("the engine runs without root: it is started when its user logs in, and stopped after", "an engine that root runs").
			fixed("let it run without a login: loginctl enable-linger NAME; or use the engine of the machine")
	}}
}

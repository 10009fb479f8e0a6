package distro

import (
	"fmt"
	"slices"
	"strings"

	"github.com/pipeopshq/pipeops-agent/internal/host"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

// ourK3s reports whether a k3s that we installed, or began to install, is there.
func ourK3s(f host.Facts) bool {
	return slices.ContainsFunc(f.Clusters, func(c host.Cluster) bool { return c.Name == K3s && c.Ours })
}

// foreign returns the installed clusters that are not ours, in any of these states.
func foreign(f host.Facts, states ...host.ClusterState) []host.Cluster {
	var all []host.Cluster
	for _, c := range f.Clusters {
		if !c.Ours && slices.Contains(states, c.State) {
			all = append(all, c)
		}
	}
	return all
}

// describe writes "k3s is running (/etc/systemd/system/k3s.service, ...)".
func describe(clusters []host.Cluster) string {
	var parts []string
	for _, c := range clusters {
		state := "is " + string(c.State)
		switch c.State {
		case host.Debris:
			state = "has left remains"
		case host.Doubt:
			state = "is installed"
		}
		parts = append(parts, fmt.Sprintf("%s %s (%s)", c.Name, state, strings.Join(c.Evidence, ", ")))
	}
	return strings.Join(parts, "; ")
}

func names(clusters []host.Cluster) string {
	var all []string
	for _, c := range clusters {
		all = append(all, c.Name)
	}
	return strings.Join(all, " and ")
}

// foreignCluster refuses to put a second cluster beside one that somebody else installed.
func foreignCluster() Requirement {
	return Requirement{Name: "foreign-cluster", Code: reason.ClusterForeign, Judge: func(c Case) Finding {
		if c.Facts.Clusters == nil {
			return unknown()
		}
		found := foreign(c.Facts, host.Running, host.Stopped, host.Doubt)
		if len(found) == 0 {
			return met()
		}
		return unmet(describe(found), "no "+names(found)+" on this machine")
	}}
}

// debris stops at the remains of a cluster: we delete nothing that we did not install.
func debris() Requirement {
	return Requirement{Name: "debris", Code: reason.ClusterDebris, Judge: func(c Case) Finding {
		if c.Facts.Clusters == nil {
			return unknown()
		}
		found := foreign(c.Facts, host.Debris)
		if len(found) == 0 {
			return met()
		}
		var fixes []string
		for _, d := range found {
			fixes = append(fixes, cleaning(d.Name))
		}
		return unmet(describe(found), "no remains of "+names(found)).fixed("keep what you need of it, then: " + strings.Join(fixes, "; "))
	}}
}

// cleaning is the distribution's own way to remove what it left.
func cleaning(name string) string {
	switch name {
	case "k3s":
		return "run k3s-uninstall.sh, or remove /var/lib/rancher/k3s and /etc/rancher/k3s"
	case "rke2":
		return "run rke2-uninstall.sh, or remove /var/lib/rancher/rke2 and /etc/rancher/rke2"
	case "k0s":
		return "run k0s reset, or remove /var/lib/k0s"
	case "microk8s":
		return "run snap remove --purge microk8s"
	}
	return "run kubeadm reset, or remove /etc/kubernetes, /var/lib/kubelet and /var/lib/etcd"
}

// ports needs these TCP ports, unless it is our own k3s that holds them.
func ports(need []int) Requirement {
	return Requirement{Name: "ports", Code: reason.NetPortTaken, Judge: func(c Case) Finding {
		if c.Facts.Listening == nil {
			return unknown()
		}
		var taken, free []string
		for _, port := range need {
			l, _ := c.Facts.ListenerOn("tcp", port)
			if l.Port == 0 || ourK3s(c.Facts) && (l.Owner == "" || strings.HasPrefix(l.Owner, "k3s") || strings.HasPrefix(l.Owner, "containerd")) {
				continue
			}
			owner := "an unknown program"
			if l.Owner != "" {
				owner = l.Owner
			}
			if l.PID != 0 {
				owner += fmt.Sprintf(" (pid %d)", l.PID)
			}
			taken = append(taken, fmt.Sprintf("port %d is held by %s", port, owner))
			free = append(free, fmt.Sprintf("port %d free", port))
		}
		if len(taken) == 0 {
			return met()
		}
		return unmet(strings.Join(taken, ", "), strings.Join(free, ", "))
	}}
}

package distro

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/pipeopshq/pipeops-agent/internal/host"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

// ourK3s reports whether a k3s that we installed, or began to install, is there.
func ourK3s(f host.Facts) bool {
	return slices.ContainsFunc(f.Clusters, func(c host.Cluster) bool { return c.Name == K3s && c.Ours.Value })
}

// onlyOurK3s reports whether there is no k3s that somebody else may have installed.
func onlyOurK3s(f host.Facts) bool {
	return f.Clusters != nil && !slices.ContainsFunc(f.Clusters, func(c host.Cluster) bool { return c.Name == K3s && !c.Ours.Value })
}

// foreign returns the clusters that are known not to be ours, in any of these states.
func foreign(f host.Facts, states ...host.ClusterState) []host.Cluster {
	var all []host.Cluster
	for _, c := range f.Clusters {
		if !c.Ours.Or(true) && slices.Contains(states, c.State) {
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
		case host.Remote:
			state = "leads to another machine"
		case host.Unfinished:
			state = "was begun and has never run"
		case host.Gone:
			state = fmt.Sprintf("leads to port %d of this machine, where nothing listens", c.Port)
		}
		parts = append(parts, fmt.Sprintf("%s %s (%s)", calledCluster(c), state, cmp.Or(answered(c), evidence(c))))
	}
	return strings.Join(parts, "; ")
}

// answered is what a cluster said of itself: "v1.33.2+k3s1, 1 of 1 nodes ready, https://127.0.0.1:6443"; "" if it was not asked.
func answered(c host.Cluster) string {
	switch a := c.Answer; {
	case a == nil:
		return ""
	case a.Code != "":
		return a.Code + ": " + a.Trouble
	default:
		parts := []string{a.Kubernetes, fmt.Sprintf("%d of %d nodes ready", a.Ready, a.Nodes), a.Server}
		if a.Provider != "" && !strings.Contains(a.Kubernetes, a.Provider) {
			parts = slices.Insert(parts, 1, a.Provider)
		}
		return strings.Join(parts, ", ")
	}
}

// asked reports whether the clusters were asked what they are.
func asked(clusters []host.Cluster) bool {
	return slices.ContainsFunc(clusters, func(c host.Cluster) bool { return c.Answer != nil })
}

// ways says for each cluster what is given to adopt it.
func ways(clusters []host.Cluster) string {
	var all []string
	for _, c := range clusters {
		line := calledCluster(c) + ": "
		switch {
		case c.Kubeconfig == "":
			line += "its kubeconfig is not known here; name it with --kubeconfig"
		case c.Context != "":
			line += "--distro existing --kubeconfig " + Word(c.Kubeconfig) + " --context " + Word(c.Context)
		default:
			line += "--distro existing --kubeconfig " + Word(c.Kubeconfig)
		}
		all = append(all, line)
	}
	return strings.Join(all, "; ")
}

// calledCluster is the kind, and the cluster's own name where it has one.
func calledCluster(c host.Cluster) string { return strings.TrimSpace(c.Name + " " + c.Cluster) }

// Word writes a word as a shell takes it: contexts are named by whoever made the kubeconfig.
func Word(s string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("/._-@:", r)
	}
	if s != "" && strings.IndexFunc(s, func(r rune) bool { return !plain(r) }) < 0 {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// evidence names the first two paths that were seen.
func evidence(c host.Cluster) string {
	if n := len(c.Evidence); n > 2 {
		return strings.Join(c.Evidence[:2], ", ") + ", ..."
	}
	return strings.Join(c.Evidence, ", ")
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
		f := unmet(describe(found), "this machine without "+names(found))
		if c.Request.Node != "" {
			return f.fixed("remove it first, by its own means, or join another machine")
		}
		switch running := foreign(c.Facts, host.Running); len(running) {
		case 0:
			return f.fixed("start it and adopt it with --distro existing, or remove it first")
		case 1:
			return f
		}
		return f.fixed("adopt one of them with --distro existing --kubeconfig <path>, or remove them first")
	}}
}

// debris stops at the remains of a cluster: we delete nothing that we did not install.
func debris() Requirement {
	return Requirement{Name: "debris", Code: reason.ClusterDebris, Judge: func(c Case) Finding {
		if c.Facts.Clusters == nil {
			return unknown()
		}
		found := foreign(c.Facts, host.Debris, host.Unfinished)
		if len(found) == 0 {
			return met()
		}
		var fixes []string
		for _, d := range found {
			fixes = append(fixes, cleaning(d))
		}
		f := unmet(describe(found), "no remains of "+names(found)).fixed("keep what you need of it, then: " + strings.Join(fixes, "; "))
		if found[0].State == host.Unfinished {
			f.Code = reason.ClusterUnfinished
		}
		return f
	}}
}

// cleaning is the distribution's own way to remove what it left.
func cleaning(c host.Cluster) string {
	switch c.Name {
	case "k3d":
		return "run k3d cluster delete " + c.Cluster + ", or remove " + evidence(c)
	case "kind":
		return "run kind delete cluster --name " + c.Cluster + ", or remove " + evidence(c)
	case "minikube":
		return "run minikube delete --profile " + c.Cluster + ", or remove " + evidence(c)
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

// ports needs these TCP ports, unless it is our own k3s that holds them. A foreign cluster that holds them is reason
// enough by itself.
func ports(need []int) Requirement {
	return Requirement{Name: "ports", Code: reason.NetPortTaken, Judge: func(c Case) Finding {
		if c.Facts.Listening == nil || len(foreign(c.Facts, host.Running)) > 0 {
			return unknown()
		}
		ours := slices.ContainsFunc(c.Facts.Clusters, func(k host.Cluster) bool { return k.Name == K3s })
		taken := holders(c, ours, need...)
		if len(taken) == 0 {
			return met()
		}
		var free []string
		for _, t := range taken {
			port, _, _ := strings.Cut(t, " is held")
			free = append(free, port+" free")
		}
		return unmet(strings.Join(taken, ", "), strings.Join(free, ", "))
	}}
}

// holders names who holds these ports. ours says that a k3s may.
func holders(c Case, ours bool, ports ...int) []string {
	var taken []string
	for _, port := range ports {
		l, _ := c.Facts.ListenerOn("tcp", port)
		if l.Port == 0 || ours && (l.Owner == "" || strings.HasPrefix(l.Owner, "k3s") || strings.HasPrefix(l.Owner, "containerd")) {
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
	}
	return taken
}

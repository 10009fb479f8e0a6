package distro

import (
	"cmp"
	"slices"

	"github.com/pipeopshq/pipeops-agent/internal/bootstrap/plan"
	"github.com/pipeopshq/pipeops-agent/internal/host"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

// existing takes over the cluster that is already there and changes nothing on the machine.
func existing() Distribution {
	return Distribution{
		Name:  Existing,
		Title: "the cluster that is already here",
		Requirements: []Requirement{
			{Name: "cluster", Code: reason.ClusterNone, Judge: adoptable},
			{Name: "consent", Code: reason.ClusterForeign, Judge: consent},
			root(),
			atBoot(),
		},
		Steps: func(Install) ([]plan.Step, error) { return nil, nil },
		Kubeconfig: func(c Case) string {
			if c.Request.Kubeconfig != "" {
				return c.Request.Kubeconfig
			}
			for _, f := range candidates(c) {
				return f.Kubeconfig
			}
			return ""
		},
		Context: func(c Case) string {
			if c.Request.Kubeconfig != "" {
				return c.Request.Context
			}
			for _, f := range candidates(c) {
				return cmp.Or(c.Request.Context, f.Context)
			}
			return ""
		},
	}
}

// adoptable wants exactly one running server that is not ours, or a kubeconfig. Whether its API answers and what it
// allows is found out when it is adopted: that needs a connection, and this is a judgement.
func adoptable(c Case) Finding {
	switch given := c.Request.Kubeconfig; {
	case given == k3sKubeconfig && onlyOurK3s(c.Facts), ownKubeconfig(given): // as an install has noted it, which may not have come to its cluster
		return unmet("the kubeconfig is that of the agent's own cluster", "a cluster that the agent did not install")
	case given != "":
		for _, g := range foreign(c.Facts, host.Gone) {
			if g.Kubeconfig == given {
				f := unmet(describe([]host.Cluster{g}), "a running cluster, or another kubeconfig given by --kubeconfig")
				f.Code = reason.KubeconfigDead
				return f
			}
		}
		return met()
	}
	if c.Facts.Clusters == nil {
		return unmet("it could not be seen whether a cluster is here", "a kubeconfig given by --kubeconfig").fixed("name the kubeconfig with --kubeconfig")
	}
	running := candidates(c)
	switch {
	case len(running) > 1:
		f := unmet(describe(running), "--kubeconfig for one of them")
		f.Code = reason.ClusterSeveral
		if asked(running) {
			f = f.fixed("name the one to adopt: " + ways(running))
		}
		return f
	case len(running) == 1 && running[0].Kubeconfig == "":
		return unmet(describe(running)+", and has no administrator's kubeconfig here", "its kubeconfig given by --kubeconfig").
			fixed("run the command on a server of that cluster, or name a kubeconfig with --kubeconfig")
	case len(running) == 1:
		return met()
	}
	if idle := foreign(c.Facts, host.Stopped, host.Doubt); len(idle) > 0 {
		return unmet(describe(idle), "a running "+names(idle)).fixed("start it first: " + startingLine(c.Facts, idle[0].Unit))
	}
	if gone := foreign(c.Facts, host.Gone); len(gone) > 0 {
		f := unmet(describe(gone), "a running cluster, or another kubeconfig given by --kubeconfig")
		f.Code = reason.KubeconfigDead
		return f
	}
	if ourK3s(c.Facts) {
		return unmet("the only cluster here is the agent's own", "a running cluster that the agent did not install")
	}
	return unmet("none was found", "a running cluster, or a kubeconfig given by --kubeconfig")
}

// ownKubeconfig reports whether a file is that of a cluster in containers of ours.
func ownKubeconfig(file string) bool {
	return slices.ContainsFunc(nodeDistributions(), func(d nodeContainers) bool { return d.kubeconfigFile() == file })
}

// candidates are the clusters that may be meant: those that run here, or else, for those who ask to adopt one, the one that
// the kubeconfig leads to.
func candidates(c Case) []host.Cluster {
	running := foreign(c.Facts, host.Running)
	if len(running) == 0 && c.Request.named(Existing) {
		return foreign(c.Facts, host.Remote)
	}
	return running
}

// consent wants the word of the user: a cluster is not taken over by surprise.
func consent(c Case) Finding {
	if c.Request.Adopt || c.Request.named(Existing) || len(foreign(c.Facts, host.Running)) == 0 {
		return met()
	}
	return unmet(describe(foreign(c.Facts, host.Running)), "--distro existing")
}

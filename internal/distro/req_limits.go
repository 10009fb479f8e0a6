package distro

import (
	"fmt"
	"slices"
	"strings"

	"github.com/pipeopshq/pipeops-agent/internal/host"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
	"github.com/pipeopshq/pipeops-agent/internal/trial"
)

// raised needs kernel settings that are at least so high; an install raises them where it may. Where a container may not, it
// is a warning at most: a cluster works without for a while.
func raised(name string, code reason.Code, least map[string]int64, have func(host.Facts) map[string]host.Known[int64]) Requirement {
	return Requirement{Name: name, Code: code, Advice: true, Judge: func(c Case) Finding {
		var low, values []string
		known := false
		now := have(c.Facts)
		for _, key := range sortedKeys(least) {
			n, ok := now[key].Get()
			if !ok {
				continue
			}
			known = true
			if n < least[key] {
				low = append(low, fmt.Sprintf("%s is %d, below %d", key, n, least[key]))
				values = append(values, fmt.Sprintf("%s=%d", key, least[key]))
			}
		}
		switch {
		case !known:
			return unknown()
		case len(low) == 0:
			return met()
		}
		f := unmet(strings.Join(low, ", "), "")
		if c.inside() && !allowed(c.Trials, trial.SysctlWrite, c.Facts.Kernel.SysctlReadOnly).Or(false) {
			return f.outside("raise them on the outer host: sysctl -w " + strings.Join(values, " "))
		}
		return f.cured(remedy(RemedySysctl, "limits of the kernel are raised", values...).costing(reason.CostSysctl))
	}}
}

func inotify() Requirement {
	return raised("inotify", reason.HostInotify, map[string]int64{
		"fs.inotify.max_user_instances": inotifyInstances, "fs.inotify.max_user_watches": inotifyWatches,
	}, func(f host.Facts) map[string]host.Known[int64] {
		return map[string]host.Known[int64]{
			"fs.inotify.max_user_instances": f.Inotify.MaxInstances, "fs.inotify.max_user_watches": f.Inotify.MaxWatches,
		}
	})
}

func keyring() Requirement {
	return raised("keyring", reason.HostKeyring, map[string]int64{
		"kernel.keys.root_maxkeys": keyringKeys, "kernel.keys.root_maxbytes": keyringBytes,
	}, func(f host.Facts) map[string]host.Known[int64] {
		return map[string]host.Known[int64]{
			"kernel.keys.root_maxkeys": f.Keyring.MaxKeys, "kernel.keys.root_maxbytes": f.Keyring.MaxBytes,
		}
	})
}

func sortedKeys(m map[string]int64) []string {
	var keys []string
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// pidsLimit warns of a container, or a machine of a careful provider, that may have few processes.
func pidsLimit() Requirement {
	return Requirement{Name: "pids-limit", Code: reason.HostPIDs, Advice: true, Judge: func(c Case) Finding {
		n, limited := c.Facts.Limits.PIDsLimit.Get()
		if limited && n < pidsLeast {
			return unmet(fmt.Sprintf("the cgroup of pid 1 allows %d processes and threads; a node with some pods has more than %d", n, pidsLeast), "")
		}
		return met()
	}}
}

// entropy warns of old kernels that let programs wait for random numbers.
func entropy() Requirement {
	return Requirement{Name: "entropy", Code: reason.HostEntropy, Advice: true, Judge: func(c Case) Finding {
		ready, ok := c.Facts.Entropy.Ready.Get()
		switch {
		case c.Facts.Kernel.AtLeast(5, 6).Value:
			return met()
		case !ok || c.Facts.Kernel.Major == 0:
			return unknown()
		case !ready:
			return unmet("the random numbers of kernel "+c.Facts.Kernel.Release+" are not ready: programs that need keys wait", "")
		}
		return met()
	}}
}

// conntrack needs, in a container, that kube-proxy leaves the kernel's table of connections as it is. k3s sees to that itself.
func conntrack() Requirement {
	return Requirement{Name: "conntrack", Code: reason.HostConntrack, Judge: func(c Case) Finding {
		can, ok := c.Facts.Sysctl.Writable["net.netfilter.nf_conntrack_max"]
		switch {
		case !c.inside():
			return met()
		case !ok:
			return unknown()
		case can:
			return met()
		}
		return unmet("net.netfilter.nf_conntrack_max cannot be written in this container", "a writable net.netfilter.nf_conntrack_max").
			cured(remedy(RemedyKubeProxyArg, "kube-proxy leaves the table of connections alone", "conntrack-max-per-core=0"))
	}}
}

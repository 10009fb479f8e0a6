package distro

import (
	"fmt"
	"slices"
	"strings"

	"github.com/pipeopshq/pipeops-agent/internal/host"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
	"github.com/pipeopshq/pipeops-agent/internal/trial"
)

// inside reports whether we are in a container, whose kernel and modules are its host's.
func (c Case) inside() bool {
	_, is := c.Facts.Virtualization.Container()
	return is || c.Facts.Virtualization.UserNamespace.Value
}

// modulesGone refuses a kernel whose modules an upgrade has removed, until the machine is booted with the new one.
func modulesGone() Requirement {
	return Requirement{Name: "reboot-pending", Code: reason.HostRebootPending, Judge: func(c Case) Finding {
		switch {
		case c.inside(), c.Facts.Virtualization.WSL.Value != 0: // their kernels have their modules elsewhere
			return met()
		case !c.Facts.Modules.Present.OK:
			return unknown()
		case !c.modulesGone():
			return met()
		}
		return unmet(fmt.Sprintf("/lib/modules/%s is not there, and %s: the kernel was upgraded and the machine not rebooted",
			c.Facts.Kernel.Release, c.lacking()), "a reboot").fixed("reboot, then run the command again")
	}}
}

// modulesGone reports whether the modules of the running kernel are gone while some are still needed: a kernel that has all of
// them built in has no folder for them either.
func (c Case) modulesGone() bool {
	loads, tried := c.Trials.OK(trial.ModuleLoad).Get()
	return !c.Facts.Modules.Present.Or(true) && (tried && !loads || !tried && len(c.missing(needed()...)) > 0)
}

// lacking says what misses them.
func (c Case) lacking() string {
	if gone := c.missing(needed()...); len(gone) > 0 {
		return strings.Join(gone, ", ") + " is not loaded"
	}
	return "a module cannot be loaded"
}

// needed are the modules without which there are no pods, or none that reach a Service on their own node.
func needed() []string { return []string{"overlay", "br_netfilter", "nf_conntrack"} }

// modulesLoaded needs these modules to be there before the first pod is, at every boot. k3s loads them too, but then nobody
// knows who did, and what an uninstall may take away.
func modulesLoaded() Requirement {
	return Requirement{Name: "modules", Code: reason.HostModulesIdle, Judge: func(c Case) Finding {
		_, modprobe := c.Facts.Commands["modprobe"]
		switch {
		case c.inside(), c.Facts.Commands != nil && !modprobe:
			return met()
		case c.Facts.Modules.States == nil:
			return unknown()
		}
		var idle []string
		for _, n := range needed() {
			if c.Facts.Modules.States[n] == "loadable" {
				idle = append(idle, n)
			}
		}
		if len(idle) == 0 {
			return met()
		}
		return unmet(strings.Join(idle, ", ")+" are not loaded", "").
			cured(remedy(RemedyModules, strings.Join(idle, ", ")+" are loaded, now and at every boot", idle...))
	}}
}

// missing returns those of these modules that the kernel is known not to have and not to find.
func (c Case) missing(names ...string) []string {
	var all []string
	for _, n := range names {
		if c.Facts.Modules.States[n] == "missing" {
			all = append(all, n)
		}
	}
	return all
}

// netfilter needs what kube-proxy's rules are made of. The effect is what counts; what modules and their loading tell counts
// where nothing was tried, and for the bridge, which has no trial of its own.
func netfilter() Requirement {
	return Requirement{Name: "netfilter", Code: reason.HostNetfilter, Judge: func(c Case) Finding {
		comment, tried := c.Trials.OK(trial.IPTablesComment).Get()
		loads, loadTried := c.Trials.OK(trial.ModuleLoad).Get()
		if c.inside() { // a container seldom sees the modules of its host, and may load none
			switch {
			case !tried:
				return unknown()
			case !comment:
				return c.lacksNetfilter("an iptables rule with a comment cannot be made" + detail(c, trial.IPTablesComment))
			}
			return met()
		}
		if c.modulesGone() { // that says it all
			return unknown()
		}
		var seen []string
		gone := c.missing("br_netfilter")
		switch {
		case !tried:
			gone = c.missing("br_netfilter", "xt_comment", "nf_conntrack")
		case !comment:
			seen = append(seen, "an iptables rule with a comment cannot be made"+detail(c, trial.IPTablesComment))
			gone = c.missing("br_netfilter", "xt_comment", "nft_compat")
		}
		if len(gone) > 0 {
			seen = append(seen, "the kernel has no "+strings.Join(gone, ", "))
		}
		// that of vxlan has a trial and a remedy of its own
		if why := c.Trials[trial.ModuleLoad].Detail; !tried && loadTried && !loads && !strings.Contains(why, "vxlan") {
			seen = append(seen, "a module cannot be loaded"+detail(c, trial.ModuleLoad))
		}
		switch {
		case len(seen) > 0:
			return c.lacksNetfilter(strings.Join(seen, "; "))
		case !tried && c.Facts.Modules.States == nil && !loadTried:
			return unknown()
		}
		return met()
	}}
}

// lacksNetfilter says where the modules are to be had.
func (c Case) lacksNetfilter(seen string) Finding {
	f := unmet(seen, "a kernel with the modules br_netfilter and xt_comment")
	switch {
	case c.Facts.Virtualization.WSL.Value == 2:
		return f.outside("in PowerShell: wsl --update, then wsl --shutdown")
	case c.inside():
		return f.outside("load the modules on the outer host: modprobe -a br_netfilter nf_conntrack xt_comment nft_compat")
	}
	if p := extraModules(c.Facts); p != "" {
		return f.fixed("install " + p + ": these modules are in a package of their own").
			cured(remedy(RemedyPackage, "the package "+p+" is installed", p).costing(reason.CostPackage).
				risking("the package manager may bring a newer kernel along, which needs a reboot"))
	}
	return f
}

// detail adds what a trial saw.
func detail(c Case, name string) string {
	if d := c.Trials[name].Detail; d != "" {
		return " (" + d + ")"
	}
	return ""
}

// extraModules is the package that has the modules which the kernel's own package leaves out, for the running kernel.
func extraModules(f host.Facts) string {
	release := f.Kernel.Release
	if release == "" {
		return ""
	}
	switch {
	case f.OS.Family == "rhel" && f.OS.ID != "amzn":
		return "kernel-modules-extra-" + release // kops 18724: EL10 moved them; Fedora and EL8 and later have the package too
	case f.OS.ID == "amzn" && major(f.OS.Version) >= 2023:
		return "kernel-modules-extra-" + release
	case f.OS.ID == "ubuntu" || slices.Contains(f.OS.Like, "ubuntu"):
		return "linux-modules-extra-" + release // on a Raspberry Pi from 21.10 to 23.10
	}
	return ""
}

// vxlan needs vxlan links, or else nodes that reach each other directly.
func vxlan() Requirement {
	return Requirement{Name: "vxlan", Code: reason.HostVxlan, Judge: func(c Case) Finding {
		ok, tried := c.Trials.OK(trial.Vxlan).Get()
		if !tried {
			// loading is refused to containers, so what they do not see says nothing
			if c.Facts.Modules.States == nil || c.inside() || len(c.missing("vxlan")) == 0 {
				return unknown()
			}
			return unmet("the kernel has no vxlan", "a kernel with vxlan").cured(hostGateway())
		}
		if ok {
			return met()
		}
		return unmet("a vxlan link cannot be made"+detail(c, trial.Vxlan), "a kernel with vxlan").cured(hostGateway())
	}}
}

func hostGateway() Remedy {
	return remedy(RemedyFlannelBackend, "flannel routes directly (host-gw)", "host-gw").risking("all nodes must be on one network")
}

// namespaces needs network namespaces; in a container that is a matter of nesting.
func namespaces() Requirement {
	return Requirement{Name: "namespaces", Code: reason.HostNamespaces, Judge: func(c Case) Finding {
		ok, tried := c.Trials.OK(trial.Netns).Get()
		switch {
		case !tried:
			return unknown()
		case ok, c.inside():
			return met()
		}
		return unmet("a network namespace cannot be made"+detail(c, trial.Netns), "a kernel that makes network namespaces")
	}}
}

// oomScore needs that containers may be protected from the OOM killer, or a containerd that does not try: runc would fail
// every pod.
func oomScore() Requirement {
	return Requirement{Name: "oom-score", Code: reason.HostOOMScore, Judge: func(c Case) Finding {
		ok, tried := c.Trials.OK(trial.OOMScoreAdj).Get()
		switch {
		case !tried:
			return unknown()
		case ok:
			return met()
		}
		evidence := c.Trials[trial.OOMScoreAdj].Detail
		if evidence == "" {
			evidence = "an oom_score_adj cannot be lowered"
		}
		return unmet(evidence, "a machine that has CAP_SYS_RESOURCE").
			cured(remedy(RemedyOOMScore, "containerd is told not to lower oom_score_adj"))
	}}
}

// selinux warns where SELinux is enforced: without the policy of k3s, pods run unconfined.
func selinux() Requirement {
	return Requirement{Name: "selinux", Code: reason.HostSELinux, Advice: true, Judge: func(c Case) Finding {
		s := c.Facts.LSM.SELinux
		switch {
		case s == "":
			return unknown()
		case s != "enforcing":
			return met()
		}
		f := unmet("SELinux is enforcing; k3s is installed without its policy, so pods are not confined by it", "")
		switch c.Facts.OS.ID {
		case "amzn":
			return f.fixed("none: Amazon Linux has no container-selinux that fits the policy of k3s")
		case "sles":
			return f.fixed("none: SLES has no container-selinux; AppArmor is its default")
		case "flatcar":
			return f.fixed("none: Flatcar has no policy for k3s; set SELinux to permissive if pods are denied something")
		}
		return f
	}}
}

// sharedRoot needs that mounts which the kubelet makes reach the containers: in WSL 2 and some containers "/" is private.
func sharedRoot() Requirement {
	return Requirement{Name: "shared-root", Code: reason.HostMounts, Judge: func(c Case) Finding {
		shared, ok := c.Facts.Roots.Shared.Get()
		if made, ours := ourSettings(c.Facts); ours && made[host.SharedRoot] != "" {
			shared, ok = false, true // it is shared because we make it so
		}
		switch {
		case !ok:
			return unknown()
		case shared:
			return met()
		}
		return unmet("\"/\" is not a shared mount", "a shared root mount").
			cured(remedy(RemedySharedRoot, "\"/\" is made a shared mount before k3s starts"))
	}}
}

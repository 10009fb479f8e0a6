package distro

import (
	"strings"

	"github.com/pipeopshq/pipeops-agent/internal/host"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
	"github.com/pipeopshq/pipeops-agent/internal/trial"
)

// nesting asks whether a container may run containers. It is judged by effect, not by the name of the container: can
// kernel settings be changed, control groups made, the kernel's log read, overlays mounted, and are user ids real?
func nesting() Requirement {
	return Requirement{Name: "nesting", Code: reason.HostContainerNesting, Judge: func(c Case) Finding {
		v := c.Facts.Virtualization
		if v.Stack == nil && !v.UserNamespace.OK {
			return unknown()
		}
		name, inside := v.Container()
		if !inside && !v.UserNamespace.Value {
			return met()
		}
		sysctl := allowed(c.Trials, trial.SysctlWrite, c.Facts.Kernel.SysctlReadOnly)
		groups := allowed(c.Trials, trial.CgroupCreate, c.Facts.Cgroup.ReadOnly)
		kmsg := c.Trials.OK(trial.Kmsg)
		var faults []string
		for _, e := range []struct {
			ok    host.Known[bool]
			fault string
		}{
			{sysctl, "kernel settings cannot be changed"},
			{groups, "control groups cannot be made"},
			{kmsg, "/dev/kmsg cannot be read"},
			{c.Trials.OK(trial.Overlay), "overlays cannot be mounted"},
		} {
			if e.ok.OK && !e.ok.Value {
				faults = append(faults, e.fault)
			}
		}
		if v.UserNamespace.Value {
			faults = append(faults, "user ids are shifted (unprivileged container)")
		}
		switch {
		case len(faults) > 0:
			if name == "" {
				name = "user namespace"
			}
			return unmet(name+": "+strings.Join(faults, ", "), "a container that may run containers, or a virtual machine").outside(nestingFix(name, v))
		case !sysctl.OK && !groups.OK:
			return unknown()
		}
		return met()
	}}
}

// allowed takes the outcome of a trial, or else what a read-only mount tells.
func allowed(t trial.Results, name string, readOnly host.Known[bool]) host.Known[bool] {
	if ok := t.OK(name); ok.OK {
		return ok
	}
	return host.Known[bool]{Value: !readOnly.Value, OK: readOnly.OK}
}

// nestingFix says what to change on the outer host.
func nestingFix(name string, v host.Virtualization) string {
	switch name {
	case "lxc":
		if v.UserNamespace.Value {
			return "use a virtual machine, or a privileged container with nesting (Proxmox: recreate it unprivileged=0, then pct set <id> --features nesting=1,keyctl=1; LXD or Incus: security.privileged=true security.nesting=true)"
		}
		return "allow nesting (Proxmox: pct set <id> --features nesting=1, and in /etc/pve/lxc/<id>.conf lxc.apparmor.profile: unconfined, lxc.cap.drop:, lxc.mount.auto: proc:rw sys:rw cgroup:rw, and bind /dev/kmsg; " +
			"LXD or Incus: security.nesting=true and the same as raw.lxc), or use a virtual machine"
	case "docker", "podman":
		return "run " + name + " with --privileged --cgroupns=private and a volume at " + host.ClusterDir + ", or better install on the machine outside"
	case "systemd-nspawn":
		return "start the container with writable cgroups and /proc/sys, all capabilities and /dev/kmsg, or use a virtual machine"
	case "kubernetes":
		return "install on the machine outside: this is a pod of a cluster that is already there"
	}
	return reason.Lookup(reason.HostContainerNesting).Fix
}

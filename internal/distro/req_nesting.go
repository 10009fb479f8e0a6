package distro

import (
	"strings"

	"github.com/pipeopshq/pipeops-agent/internal/host"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
	"github.com/pipeopshq/pipeops-agent/internal/trial"
)

// nesting asks whether a container may run containers. It is judged by effect, not by the name of the container.
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
		lacks := nestingLacks(c)
		if lacks.any() {
			if name == "" {
				name = "user namespace"
			}
			return unmet(name+": "+strings.Join(lacks.texts(), ", "), "a container that may run containers, or a virtual machine").outside(nestingFix(name, v))
		}
		sysctl := allowed(c.Trials, trial.SysctlWrite, c.Facts.Kernel.SysctlReadOnly)
		groups := allowed(c.Trials, trial.CgroupCreate, c.Facts.Cgroup.ReadOnly)
		if !sysctl.OK && !groups.OK {
			return unknown()
		}
		return met()
	}}
}

// lacks is what a container is not allowed and would have to be.
type lacks struct{ sysctl, cgroups, kmsg, mounts, namespaces bool }

func (l lacks) any() bool { return l != lacks{} }

func (l lacks) texts() []string {
	var all []string
	for _, e := range []struct {
		is   bool
		text string
	}{
		{l.sysctl, "kernel settings cannot be changed"},
		{l.cgroups, "control groups cannot be made"},
		{l.kmsg, "/dev/kmsg cannot be read"},
		{l.mounts, "overlays cannot be mounted"},
		{l.namespaces, "network namespaces cannot be made"},
	} {
		if e.is {
			all = append(all, e.text)
		}
	}
	return all
}

// nestingLacks judges the trials, or what read-only mounts tell where nothing was tried. In a user namespace the kubelet can
// be told to do without kernel settings and without the kernel's log (KubeletInUserNamespace).
func nestingLacks(c Case) lacks {
	no := func(k host.Known[bool]) bool { return k.OK && !k.Value }
	shifted := c.Facts.Virtualization.UserNamespace.Value
	return lacks{
		sysctl:     no(allowed(c.Trials, trial.SysctlWrite, c.Facts.Kernel.SysctlReadOnly)) && !shifted && !settled(c.Facts.Sysctl),
		cgroups:    no(allowed(c.Trials, trial.CgroupCreate, c.Facts.Cgroup.ReadOnly)),
		kmsg:       no(kmsgOf(c)) && !shifted,
		mounts:     no(c.Trials.OK(trial.Overlay)) && !overlayIsDisks(c),
		namespaces: no(c.Trials.OK(trial.Netns)),
	}
}

// kmsgOf takes the outcome of the trial, or else what the device shows.
func kmsgOf(c Case) host.Known[bool] {
	if ok := c.Trials.OK(trial.Kmsg); ok.OK {
		return ok
	}
	if d := c.Facts.Devices.Kmsg; d.Present.OK && !d.Present.Value {
		return host.Is(false)
	}
	return c.Facts.Devices.Kmsg.Usable
}

// allowed takes the outcome of a trial, or else what a read-only mount tells.
func allowed(t trial.Results, name string, readOnly host.Known[bool]) host.Known[bool] {
	if ok := t.OK(name); ok.OK {
		return ok
	}
	return host.Known[bool]{Value: !readOnly.Value, OK: readOnly.OK}
}

// settled reports whether the kernel is set as the kubelet wants it, so that it has nothing to write (kubelet,
// setupKernelTunables), and forwards packets.
func settled(s host.Sysctl) bool {
	for name, want := range map[string]string{
		"vm.overcommit_memory": "1", "vm.panic_on_oom": "0", "kernel.panic": "10", "kernel.panic_on_oops": "1", "net.ipv4.ip_forward": "1",
	} {
		if s.Values[name] != want {
			return false
		}
	}
	return true
}

// userNamespace needs, where ids are shifted, that the kubelet is told of it (k3s issue 4249).
func userNamespace() Requirement {
	return Requirement{Name: "user-namespace", Code: reason.HostUserNamespace, Judge: func(c Case) Finding {
		shifted, ok := c.Facts.Virtualization.UserNamespace.Get()
		switch {
		case !ok:
			return unknown()
		case !shifted:
			return met()
		}
		return unmet("user ids are shifted (unprivileged container)", "a privileged container, or a virtual machine").
			cured(remedy(RemedyKubeletArg, "the kubelet is told that it runs in a user namespace", "feature-gates=KubeletInUserNamespace=true").
				risking("kernel settings and swap are those of the outer host; a virtual machine is the safer place"))
	}}
}

// nestingFix says in one line what to change on the outer host; see patches for the lines to paste.
func nestingFix(name string, v host.Virtualization) string {
	switch name {
	case "lxc":
		if v.UserNamespace.Value {
			return "allow nesting (Proxmox: pct set <id> --features nesting=1,keyctl=1; LXD or Incus: security.nesting=true), or use a virtual machine"
		}
		return "allow nesting (Proxmox: pct set <id> --features nesting=1, and in /etc/pve/lxc/<id>.conf lxc.apparmor.profile: unconfined, lxc.cap.drop:, lxc.mount.auto: proc:rw sys:rw cgroup:rw, and bind /dev/kmsg; " +
			"LXD or Incus: security.nesting=true and the same as raw.lxc), or use a virtual machine"
	case "docker", "podman":
		return "run " + name + " with --privileged --cgroupns=private and a volume at " + host.ClusterDir + ", or mount the engine's socket and choose --distro k3d, or better install on the machine outside"
	case "systemd-nspawn":
		return "start the container with writable cgroups and /proc/sys, all capabilities and /dev/kmsg, or use a virtual machine"
	case "kubernetes":
		return "install on the machine outside: this is a pod of a cluster that is already there"
	}
	return reason.Lookup(reason.HostContainerNesting).Fix
}

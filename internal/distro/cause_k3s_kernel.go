package distro

import (
	"strings"

	"github.com/pipeopshq/pipeops-agent/internal/host"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

func lxc() Circumstance {
	return Circumstance{"in LXC", func(f host.Facts) bool { return f.Virtualization.Has("lxc") }}
}

func raspberry() Circumstance { return Circumstance{"on a Raspberry Pi", isPi} }

func isPi(f host.Facts) bool { return strings.HasPrefix(f.Hardware.Model, "Raspberry Pi") }

func unprivileged() Circumstance {
	return Circumstance{"in an unprivileged container", func(f host.Facts) bool { return f.Virtualization.UserNamespace.Value }}
}

func el8() Circumstance {
	return Circumstance{"on EL 8", func(f host.Facts) bool { return f.OS.Family == "rhel" && major(f.OS.Version) == 8 }}
}

// proxyEnded are the lines by which kube-proxy ends because of something. k3s itself tries the same before and says so, too,
// but goes on ("Failed to set sysctl").
func proxyEnded(because string, how ...string) []string {
	var all []string
	for _, who := range []string{"ProxyServer", "kube-proxy exited", "command failed"} {
		for _, h := range how {
			all = append(all, who+" ... "+because+" ... "+h)
		}
	}
	return all
}

// kernelCauses: the kernel, or the container that the machine is, does not give what k3s needs.
func kernelCauses() []Cause {
	noMemory := []string{"failed to find memory cgroup", "Failed to find memory cgroup", "missing ... cgroup ... memory", "Following Cgroup subsystem not mounted: [memory]"}
	noGroup := []string{"failed to find cpu cgroup", "failed to find cpuset cgroup", "failed to find pids cgroup", "failed to find ... cgroup (v2)", "Failed to find ... cgroup", "Following Cgroup subsystem not mounted", "missing cgroups: "}
	denied := []string{"permission denied", "operation not permitted"}
	with := func(prefix string) []string {
		var all []string
		for _, d := range denied {
			all = append(all, prefix+" ... "+d)
		}
		return all
	}
	return []Cause{
		{Name: "memory-cgroup-pi", Says: noMemory, When: raspberry(), Code: reason.HostCgroupController,
			Fix: "add cgroup_memory=1 cgroup_enable=memory to the one line of /boot/firmware/cmdline.txt (/boot/cmdline.txt up to Debian 11), and reboot"},
		{Name: "memory-cgroup-outside", Says: append(noMemory, noGroup...), When: contained(), Code: reason.HostContainerNesting,
			Fix: "this machine is a container, and its host keeps the cgroup controllers to itself: delegate them there (LXC: lxc.mount.auto = cgroup:rw and nesting; systemd: Delegate=yes), then start it anew"},
		{Name: "cgroup-openrc", Says: append(noMemory, noGroup...), When: Circumstance{"under OpenRC", OpenRC}, Code: reason.HostCgroupController,
			Fix: "rc-update add cgroups boot, set rc_cgroup_mode=\"unified\" in /etc/rc.conf, and reboot"},
		{Name: "memory-cgroup", Says: noMemory, Code: reason.HostCgroupController,
			Fix: "add cgroup_enable=memory to the command line of the kernel (GRUB_CMDLINE_LINUX in /etc/default/grub, then update-grub), and reboot"},
		{Name: "cgroup-controllers", Says: noGroup, Code: reason.HostCgroupController},
		{Name: "cgroup-v1-el8", Says: []string{"configured to not run on a host using cgroup v1"}, When: el8(), Code: reason.HostCgroupV1,
			Fix: "grubby --update-kernel=ALL --args=systemd.unified_cgroup_hierarchy=1, then reboot; or choose k3s up to v1.34 with --k3s-version"},
		{Name: "cgroup-v1-outside", Says: []string{"configured to not run on a host using cgroup v1"}, When: contained(), Code: reason.HostCgroupV1,
			Fix: "the host of this container uses cgroup v1: boot the host with systemd.unified_cgroup_hierarchy=1, or choose k3s up to v1.34 with --k3s-version"},
		{Name: "cgroup-v1", Says: []string{"configured to not run on a host using cgroup v1"}, Code: reason.HostCgroupV1},
		{Name: "kmsg-lxc", Says: []string{"/dev/kmsg: no such file or directory", "/dev/kmsg: operation not permitted", "/dev/kmsg: permission denied"}, When: lxc(), Code: reason.HostContainerNesting,
			Fix: "on the host of this container add to its configuration: lxc.mount.entry = /dev/kmsg dev/kmsg none defaults,bind,create=file (and in Proxmox features: nesting=1,keyctl=1), then start it anew"},
		{Name: "kmsg", Says: []string{"/dev/kmsg: no such file or directory"}, Code: reason.HostContainerNesting,
			Fix: "give the container /dev/kmsg (Docker: --device /dev/kmsg), or make a link in it: ln -s /dev/console /dev/kmsg"},
		{Name: "kmsg-denied", Says: with("/dev/kmsg"), Code: reason.HostUserNamespace,
			Fix: "this machine may not read the kernel's log: run k3s with kubelet-arg feature-gates=KubeletInUserNamespace=true, or in a virtual machine"},
		{Name: "kernel-settings-unprivileged", Says: append(with("Failed to start ContainerManager ... /proc/sys"), append(with("/proc/sys/vm/overcommit_memory"), with("/proc/sys/kernel/panic")...)...), When: unprivileged(), Code: reason.HostUserNamespace,
			Fix: "an unprivileged container may not change the kernel: kubelet-arg feature-gates=KubeletInUserNamespace=true, or make the container privileged, or use a virtual machine"},
		{Name: "kernel-settings", Says: append(with("Failed to start ContainerManager ... /proc/sys"), append(with("/proc/sys/vm/overcommit_memory"), with("/proc/sys/kernel/panic")...)...), Code: reason.K3sSysctl,
			Fix: "something forbids root to change vm.overcommit_memory, kernel.panic and kernel.panic_on_oops: the container that this machine is, or SELinux or AppArmor"},
		{Name: "conntrack", Says: proxyEnded("nf_conntrack", append(denied, "read-only file system", "no such file or directory")...), Code: reason.HostConntrack,
			Fix: "tell kube-proxy to leave it alone: kube-proxy-arg conntrack-max-per-core=0, conntrack-tcp-timeout-established=0, conntrack-tcp-timeout-close-wait=0", Stuck: true},
		{Name: "oom-score", Says: []string{"can't get final child's PID from pipe: EOF", "runc create failed ... oom_score_adj: permission denied", "failed to create shim task ... oom_score_adj: permission denied"}, When: contained(), Code: reason.HostOOMScore,
			Fix: "containerd needs restrict_oom_score_adj = true here: run pipeops-agent install again, which tries this and writes it, or give the container CAP_SYS_RESOURCE on its host", Stuck: true},
		{Name: "runc-child", Says: []string{"can't get final child's PID from pipe: EOF"}, Code: reason.HostNamespaces,
			Fix: "runc could not make the namespaces of a pod: see user.max_user_namespaces, user.max_pid_namespaces and the limit of processes", Stuck: true},
		{Name: "runc-sysctl", Says: append(with("net.ipv4.ip_unprivileged_port_start"), with("ip_unprivileged_port_start")...), Code: reason.HostContainerNesting,
			Fix: "runc since November 2025 needs a newer host for nested containers: update lxc-pve to 6.0.5-2 (Proxmox) or Incus to 6.19 on it, or use a virtual machine", Stuck: true},
		{Name: "keyctl", Says: []string{"unable to join session keyring", "keyctl: function not implemented"}, Code: reason.HostContainerNesting,
			Fix: "this container may not use keyrings: allow it on its host (Proxmox: features: nesting=1,keyctl=1)", Stuck: true},
		{Name: "apparmor", Says: []string{"apparmor failed to apply profile", "apparmor_parser", "/proc/self/attr/apparmor/exec"}, Code: reason.K3sDenied,
			Fix: "AppArmor cannot be used from in here: install apparmor (apparmor_parser), or on the host of this container set lxc.apparmor.profile = unconfined or a nesting profile", Stuck: true},
		{Name: "selinux", Says: []string{"SELinux is preventing", "avc: ... denied", "setxattr ... operation not supported"}, When: enforcing(), Code: reason.HostSELinux},
		{Name: "shared-mount", Says: []string{"is not a shared mount", "not a shared or slave mount", "path ... is mounted on ... but it is not a shared"}, Code: reason.HostMounts, Stuck: true},
		{Name: "namespaces", Says: []string{"failed to create network namespace", "failed to unshare", "unshare: ", "clone: no space left on device", "failed to create new ... namespace"}, Code: reason.HostNamespaces, Stuck: true},
		{Name: "too-many-pids", Says: []string{"fork/exec ... resource temporarily unavailable", "failed to create new OS thread", "pthread_create failed", "can't fork"}, Code: reason.HostPIDs,
			Fix: "raise the limit of processes: TasksMax of k3s.service, kernel.pid_max, or that of this machine on its host (lxc.cgroup2.pids.max, --pids-limit)"},
		{Name: "too-many-files", Says: []string{"too many open files"}, Code: reason.K3sFiles},
		{Name: "out-of-memory", Says: []string{"fatal error: runtime: out of memory", "cannot allocate memory", "fatal error: runtime: cannot allocate"}, Code: reason.HostMemoryLow, Adds: memoryOf},
	}
}

package distro

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/pipeopshq/pipeops-agent/internal/host"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

// K3sCauses returns the known causes in the order in which they are looked for: what can be nothing else comes first, what
// may be the consequence of something else last. The lines are those of k3s v1.2x to v1.35, of its containerd, kubelet and
// runc, and of systemd; those of the tests were captured where that was possible.
func K3sCauses() []Cause {
	return slices.Concat(programCauses(), diskCauses(), configCauses(), dataCauses(), containerdCauses(), portCauses(),
		kernelCauses(), networkCauses(), podCauses(), lastCauses())
}

// programCauses: the program of k3s does not run at all, or was ended from outside.
func programCauses() []Cause {
	return []Cause{
		{Name: "exec-format", Says: []string{"k3s.service: Failed to execute ... Exec format error", "Failed at step EXEC ... Exec format error", "exec format error"},
			Code: reason.K3sPrograms, Fix: "the file is damaged or made for another architecture: remove /usr/local/bin/k3s and /var/lib/rancher/k3s/data, then run pipeops-agent install again",
			Adds: func(_ string, f host.Facts) string { return said("this machine is ", f.Arch.Machine) }},
		{Name: "program-denied", Says: []string{"k3s.service: Failed to execute ... Permission denied", "Failed at step EXEC ... Permission denied"}, When: enforcing(),
			Code: reason.HostSELinux, Fix: "restorecon -v /usr/local/bin/k3s; if it stays so, install k3s-selinux for this release of the system"},
		{Name: "program-not-executable", Says: []string{"k3s.service: Failed to execute ... Permission denied", "Failed at step EXEC ... Permission denied"},
			Code: reason.K3sNoExec, Fix: "mount /usr/local without noexec, and see that /usr/local/bin/k3s may be executed (chmod 755)"},
		{Name: "program-gone", Says: []string{"Unable to locate executable", "k3s.service: Failed to execute ... No such file or directory", "Failed at step EXEC ... No such file or directory"},
			Code: reason.K3sPrograms, Fix: "run pipeops-agent install again: it puts back what is missing"},
		{Name: "program-not-run", Says: []string{"status=203/EXEC"}, Code: reason.K3sPrograms,
			Fix: "the program of k3s is missing, damaged or made for another architecture: run pipeops-agent install again, which puts it back; if it stays so, see that its file system is not mounted noexec"},
		{Name: "illegal-instruction", Says: []string{"status=4/ILL", "SIGILL: illegal instruction"},
			Code: reason.HostCPULevel, Fix: "the CPU lacks an instruction that k3s was built with: let the hypervisor show all of its CPU (for QEMU: cpu type host), or use another build of k3s"},
		{Name: "unpacked-denied", Says: []string{"fatal: exec ... /data/ ... permission denied", "fatal: permission denied", "fork/exec ... /data/ ... permission denied"}, When: enforcing(),
			Code: reason.HostSELinux, Fix: "install k3s-selinux for this release of the system, then restorecon -R /var/lib/rancher; a folder given by --data-dir is none that its policy knows"},
		{Name: "noexec", Says: []string{`fatal: ... exec: "k3s-server": executable file not found`, "fatal: exec ... /data/ ... permission denied", "fatal: permission denied", "fork/exec ... /data/ ... permission denied"},
			Code: reason.K3sNoExec},
		{Name: "unpacked-gone", Says: []string{"fatal: exec ... /data/ ... no such file or directory", "fork/exec ... /data/ ... no such file or directory", `exec: "containerd": executable file not found`},
			Code: reason.K3sPrograms},
		{Name: "unpack-failed", Says: []string{"extracting data: ... unexpected EOF", "extracting data: ... corrupt", "extracting data: ... invalid"},
			Code: reason.K3sPrograms},
		{Name: "oom-kill", Says: []string{"Failed with result 'oom-kill'", "has been killed by the OOM killer"},
			Code: reason.HostMemoryLow, Fix: "give the machine more memory (k3s needs 1 GiB for itself), or take away what else uses it; a MemoryMax of the service may be too small",
			Adds: memoryOf},
		{Name: "start-timeout", Says: []string{"start operation timed out. Terminating"},
			Code: reason.K3sSlow, Fix: "let systemd wait: TimeoutStartSec=0 in a drop-in of k3s.service; then see what makes the start slow, most often the disk"},
		{Name: "killed", Says: []string{"code=killed, status=9/KILL"}, Code: reason.K3sKilled},
	}
}

// diskCauses: the disk is full or cannot be written. They come early, for everything fails of them in its own way.
func diskCauses() []Cause {
	return []Cause{
		{Name: "inotify-watches", Says: []string{"inotify ... no space left on device", "fsnotify ... no space left on device", "watch ... no space left on device"},
			Code: reason.HostInotify},
		{Name: "inotify-instances", Says: []string{"inotify_init: too many open files", "fsnotify ... too many open files", "inotify ... too many open files", "failed to create ... watcher: too many open files"},
			Code: reason.HostInotify},
		{Name: "cgroup-full", Says: []string{"/sys/fs/cgroup ... no space left on device"},
			Code: reason.HostContainerNesting, Fix: "the kernel makes no more cgroups here: remove dying ones by a reboot, or raise cgroup.max.descendants on the host of this container"},
		{Name: "inodes-gone", Says: noSpace(), When: Circumstance{"without free inodes", inodesGone},
			Code: reason.HostDiskLow, Fix: "the file system has no inodes left: remove many small files (df -i names it), or make it anew with more of them", Adds: diskOf},
		{Name: "disk-full", Says: noSpace(), Code: reason.HostDiskLow, Adds: diskOf},
		{Name: "keyring", Says: []string{"unable to join session keyring: ... quota exceeded", "join session keyring: disk quota exceeded", "unable to create session key: disk quota exceeded"}, Code: reason.HostKeyring, Stuck: true},
		{Name: "quota", Says: []string{"disk quota exceeded"}, Code: reason.HostDiskLow, Fix: "raise the quota on the file system of the data directory (quota -u root; for btrfs and ZFS their own quotas)"},
		{Name: "kubelet-evicts", Says: []string{"viction manager: attempting to reclaim ... ephemeral-storage", "NodeHasDiskPressure", "FreeDiskSpaceFailed"},
			Code: reason.HostDiskLow, Fix: "less than a tenth of the disk is free, so that the kubelet starts no pods: free space on the file system that is named, or enlarge it", Adds: diskOf, Stuck: true},
		{Name: "io-error", Says: []string{"input/output error", "disk I/O error"},
			Code: reason.HostDiskType, Fix: "the disk fails: see journalctl -k, save what you can, and replace it"},
		{Name: "cgroup-read-only", Says: []string{"/sys/fs/cgroup ... read-only file system"},
			Code: reason.HostContainerNesting, Fix: "cgroups are read-only here: on the host allow nesting for this container (Proxmox: features: nesting=1,keyctl=1; LXC: lxc.mount.auto = cgroup:rw)"},
		{Name: "proc-read-only", Says: []string{"/proc/sys ... read-only file system"}, When: contained(),
			Code: reason.HostContainerNesting, Fix: "/proc/sys is read-only in this container: on its host set lxc.mount.auto = proc:rw sys:rw, or nesting=1 in Proxmox"},
		{Name: "proc-read-only-here", Says: []string{"/proc/sys ... read-only file system"},
			Code: reason.HostReadOnly, Fix: "something has mounted /proc/sys read-only: mount -o remount,rw /proc/sys, and see ProtectKernelTunables= in a drop-in of k3s.service"},
		{Name: "read-only", Says: []string{"read-only file system", "attempt to write a readonly database"}, Code: reason.HostReadOnly,
			Fix: "the file system was made read-only, often by the kernel after an error of the disk: see journalctl -k, then remount it (mount -o remount,rw) or repair it (fsck)"},
	}
}

func noSpace() []string {
	return []string{"no space left on device", "No space left on device", "database or disk is full", "mvcc: database space exceeded"}
}

// configCauses: k3s does not like what it was told.
func configCauses() []Cause {
	return []Cause{
		{Name: "config-syntax", Says: []string{"fatal: yaml: ", "fatal: ... error converting YAML", "fatal: ... failed to parse ... config.yaml", "fatal: ... cannot unmarshal"}, Code: reason.K3sConfig},
		{Name: "config-unreadable", Says: []string{"fatal: read ... is a directory", "fatal: open /etc/rancher/k3s", "fatal: read /etc/rancher/k3s"}, Code: reason.K3sConfig},
		{Name: "unknown-argument", Says: []string{"unknown flag: --", "unknown shorthand flag", "flag provided but not defined", "fatal: ... Incorrect Usage", "invalid argument ... for ", "unrecognized feature gate", "fatal: ... invalid value"},
			Code: reason.K3sConfig, Fix: "take the argument that is named out of kubelet-arg, kube-apiserver-arg and their like in the configuration of k3s, or write it as this version knows it"},
		{Name: "flannel-backend", Says: []string{"Cannot configure unknown flannel backend"}, Code: reason.K3sConfig, Fix: "set flannel-backend to vxlan, host-gw, wireguard-native or none in the configuration of k3s"},
		{Name: "registries", Says: []string{"server is not ready: yaml: ", "fatal: ... registries.yaml"}, Code: reason.K3sConfig, Fix: "mend /etc/rancher/k3s/registries.yaml"},
		{Name: "resolv-conf", Says: []string{"resolv.conf ... no such file or directory", "resolvConf", "Could not open resolv conf"},
			Code: reason.K3sConfig, Fix: "let resolv-conf in the configuration of k3s name a file that is there, or take it out"},
		{Name: "networks-mixed", Says: []string{"must share the same IP version"},
			Code: reason.K3sNetworks},
		{Name: "networks-invalid", Says: []string{"invalid CIDR address", "invalid cluster-cidr", "invalid service-cidr"}, Code: reason.K3sNetworks, Fix: "write cluster-cidr and service-cidr as ranges, such as 10.42.0.0/16, in the configuration of k3s"},
		{Name: "node-name", Says: []string{"is invalid: metadata.name", "Invalid value: ... RFC 1123 subdomain", "is not a valid node name"}, Code: reason.HostNodeName, Fix: "set node-name in the configuration of k3s to lower-case letters, digits and '-'"},
		{Name: "swap", Says: []string{"running with swap on is not supported", "Running with swap on is not supported"}, Code: reason.K3sSwap},
		{Name: "protect-kernel-defaults", Says: []string{"invalid kernel flag"}, Code: reason.K3sSysctl},
	}
}

// port finds the port in "listen tcp 127.0.0.1:6444: bind: address already in use" and names who holds it.
func port(line string, f host.Facts) string {
	head, _, ok := strings.Cut(line, ": bind: ")
	if !ok {
		return ""
	}
	number, err := strconv.Atoi(head[strings.LastIndexByte(head, ':')+1:])
	if err != nil {
		return ""
	}
	proto := "tcp"
	if strings.Contains(head, "udp") {
		proto = "udp"
	}
	switch l, ok := f.ListenerOn(proto, number); {
	case !ok.Value:
		return ""
	case l.Owner == "":
		return fmt.Sprintf("another program listens on port %d", number)
	default:
		return fmt.Sprintf("port %d is held by %s (pid %d)", number, l.Owner, l.PID)
	}
}

// portCauses: somebody else listens where k3s wants to.
func portCauses() []Cause {
	return []Cause{
		{Name: "port-of-own-leftover", Says: []string{"bind: address already in use"}, When: Circumstance{"where a k3s holds port 6444", anotherK3s},
			Code: reason.NetPortTaken, Fix: "another k3s still runs on this machine: stop it (systemctl stop k3s, or the process that is named), then run pipeops-agent install again", Adds: port},
		{Name: "port-taken", Says: []string{"bind: address already in use"}, Code: reason.NetPortTaken, Adds: port},
		{Name: "address-missing", Says: []string{"bind: cannot assign requested address"}, Code: reason.K3sAddress},
		{Name: "port-denied", Says: []string{"bind: permission denied"}, Code: reason.K3sDenied},
	}
}

// anotherK3s reports whether a k3s holds the port on which its API server listens for itself.
func anotherK3s(f host.Facts) bool {
	l, ok := f.ListenerOn("tcp", 6444)
	return ok.Value && slices.Contains([]string{"k3s-server", "k3s"}, l.Owner)
}

// said makes words of a fact that may be unknown.
func said(prefix, fact string) string {
	if fact == "" {
		return ""
	}
	return prefix + fact
}

func enforcing() Circumstance {
	return Circumstance{"with SELinux enforcing", func(f host.Facts) bool { return f.LSM.SELinux == "enforcing" }}
}

func contained() Circumstance {
	return Circumstance{"in a container", func(f host.Facts) bool { _, ok := f.Virtualization.Container(); return ok }}
}

// dataDisk is the file system that k3s keeps its data on: the one that was measured for a folder of its own, or the usual one.
func dataDisk(f host.Facts) (host.Disk, bool) {
	for _, c := range f.Clusters {
		if dir := c.Settings["data-dir"]; c.Name == K3s && dir != "" {
			if d, ok := f.DiskOf(dir); ok {
				return d, true
			}
		}
	}
	return f.DiskOf(host.ClusterDir)
}

// fewFreeInodes is a number of which nothing is left as soon as k3s unpacks its programs and images.
const fewFreeInodes = 1000

func inodesGone(f host.Facts) bool {
	d, ok := dataDisk(f)
	return ok && d.FreeInodes.OK && d.FreeInodes.Value < fewFreeInodes
}

func diskOf(_ string, f host.Facts) string {
	d, ok := dataDisk(f)
	if !ok || !d.Free.OK {
		return ""
	}
	s := fmt.Sprintf("%s has %s free", d.Path, host.Bytes(d.Free.Value))
	if inodesGone(f) {
		s += fmt.Sprintf(" and %d inodes", d.FreeInodes.Value)
	}
	return s
}

func memoryOf(_ string, f host.Facts) string {
	if !f.Memory.Available.OK {
		return ""
	}
	return host.Bytes(f.Memory.Available.Value) + " of memory are available"
}

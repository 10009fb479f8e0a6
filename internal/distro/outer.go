package distro

import (
	"strings"

	"github.com/pipeopshq/pipeops-agent/internal/host"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

// patches returns what has to be changed outside the machine for the candidate that is shown in full; nil if nothing has.
func patches(c Case, d Decision) []Patch {
	k, ok := d.Candidate(d.focus())
	if !ok || d.Chosen != "" {
		return nil
	}
	outer := false
	for _, r := range k.Reasons {
		outer = outer || r.Where == reason.OuterHost
	}
	if !outer {
		return nil
	}
	n := needs{lacks: nestingLacks(c), name: "NAME", shifted: c.Facts.Virtualization.UserNamespace.Value}
	if h := c.Facts.Identity.Hostname; host.ValidNodeName(h) {
		n.name = h
	}
	for _, r := range k.Reasons {
		switch r.Code {
		case reason.HostMemoryLow:
			n.memory = true
		case reason.HostNetfilter, reason.HostVxlan:
			n.modules = true
		}
	}
	v := c.Facts.Virtualization
	container, inside := v.Container()
	switch {
	case v.WSL.Value != 0 && !inside || v.WSL.Value == 1:
		return []Patch{windows(n, v.WSL.Value)}
	case container == "lxc":
		return []Patch{proxmox(n), incus(n)}
	case container == "docker", container == "podman":
		return []Patch{engineHost(n, container)}
	case container == "systemd-nspawn":
		return []Patch{nspawn(n)}
	}
	return nil
}

// needs is what the outer host has to grant.
type needs struct {
	lacks
	name                     string // of the container, as far as we know: its host name
	shifted, memory, modules bool
}

// kernelModules are those that a node uses; a container finds them only if its host has loaded them.
const kernelModules = "overlay br_netfilter nf_conntrack ip_tables iptable_nat nft_compat xt_comment vxlan"

// commandLine makes a line that is run, and fileLine one that is put into a file.
func commandLine(text, risk string) PatchLine { return PatchLine{Text: text, Risk: risk} }
func fileLine(file, text, risk string) PatchLine {
	return PatchLine{File: file, Text: text, Risk: risk}
}

const (
	riskNesting = "the container sees more of the host's /proc and /sys; root in it is nearer to root of the host"
	riskModules = "the modules are loaded for the whole host"
	riskRestart = "the container is restarted"
	riskMemory  = "the host has that much less for others"
	riskCaps    = "root in the container may do nearly all that root of the host may"
	riskKmsg    = "the container reads the kernel's log of the whole host"
	riskSysctl  = "kernel settings that are not of the container alone can be changed from it"
)

// proxmox is for the shell of a Proxmox VE node (pct(1); the lines of LXC are those of lxc.container.conf(5)).
func proxmox(n needs) Patch {
	file := "/etc/pve/lxc/<id>.conf"
	p := Patch{Host: "Proxmox VE"}
	add := func(l ...PatchLine) { p.Lines = append(p.Lines, l...) }
	features := "nesting=1"
	if n.shifted {
		features += ",keyctl=1"
	}
	if n.lacks.any() {
		add(commandLine("pct set <id> --features "+features, riskNesting))
	}
	if n.mounts || n.sysctl || n.namespaces {
		add(fileLine(file, "lxc.apparmor.profile: unconfined", "AppArmor no longer confines the container, and it can load profiles on the host (lxd issue 6013)"),
			fileLine(file, "lxc.cap.drop:", riskCaps))
	}
	if n.cgroups {
		add(fileLine(file, "lxc.cgroup2.devices.allow: a", "all devices of the host can be opened"))
	}
	if n.sysctl || n.cgroups {
		add(fileLine(file, "lxc.mount.auto: proc:rw sys:rw cgroup:rw", riskSysctl))
	}
	if n.kmsg {
		add(fileLine(file, "lxc.mount.entry: /dev/kmsg dev/kmsg none bind,create=file 0 0", riskKmsg))
	}
	if n.modules || n.lacks.any() {
		add(commandLine("printf '%s\\n' "+kernelModules+" > /etc/modules-load.d/pipeops-agent.conf && modprobe -a "+kernelModules, riskModules))
	}
	if n.memory {
		add(commandLine("pct set <id> --memory 4096", riskMemory))
	}
	add(commandLine("pct reboot <id>", riskRestart))
	return p
}

// incus is for the host of LXD or Incus; both take the same words.
func incus(n needs) Patch {
	set := "incus config set " + n.name + " "
	p := Patch{Host: "LXD or Incus (for LXD write lxc for incus)"}
	add := func(l ...PatchLine) { p.Lines = append(p.Lines, l...) }
	if n.lacks.any() {
		add(commandLine(set+"security.nesting=true", riskNesting))
	}
	if !n.shifted && (n.mounts || n.sysctl || n.namespaces || n.cgroups) {
		raw := "lxc.apparmor.profile=unconfined\nlxc.cap.drop=\nlxc.cgroup2.devices.allow=a\nlxc.mount.auto=proc:rw sys:rw cgroup:rw"
		add(commandLine(`printf '`+strings.ReplaceAll(raw, "\n", `\n`)+`' | `+set+"raw.lxc -",
			"AppArmor no longer confines the container, and it can load profiles on the host (lxd issue 6013); "+riskCaps))
	}
	if n.kmsg {
		add(commandLine("incus config device add "+n.name+" kmsg unix-char source=/dev/kmsg path=/dev/kmsg", riskKmsg))
	}
	if n.modules || n.lacks.any() {
		add(commandLine(set+"linux.kernel_modules="+strings.ReplaceAll(kernelModules, " ", ","), riskModules))
	}
	if n.memory {
		add(commandLine(set+"limits.memory=4GiB", riskMemory))
	}
	add(commandLine("incus restart "+n.name, riskRestart))
	return p
}

// windows is for PowerShell on the Windows that WSL runs on.
func windows(n needs, version int) Patch {
	p := Patch{Host: "Windows PowerShell"}
	add := func(l ...PatchLine) { p.Lines = append(p.Lines, l...) }
	if version == 1 {
		add(commandLine("wsl --set-version <name> 2", "the conversion takes minutes and needs room for a second copy; <name> is what wsl --list shows"))
		return p
	}
	if n.memory {
		add(PatchLine{File: `%UserProfile%\.wslconfig`, Text: "[wsl2]", Risk: "one section for all distributions"},
			PatchLine{File: `%UserProfile%\.wslconfig`, Text: "memory=4GB", Risk: "Windows has that much less"})
	}
	if n.modules {
		add(commandLine("wsl --update", "brings another kernel for all distributions"))
	}
	add(commandLine("wsl --shutdown", "stops every distribution of WSL that runs, and Docker Desktop"))
	return p
}

// engineHost is for the machine on which Docker or Podman runs.
func engineHost(n needs, name string) Patch {
	cli := name + " run -d --name " + n.name + " --privileged --cgroupns=private --device /dev/kmsg -v pipeops-data:" + host.ClusterDir + " <image with pipeops-agent> pipeops-agent run --supervise"
	return Patch{Host: "the host of " + name, Lines: []PatchLine{
		commandLine("curl -fsSL https://.../install.sh | sudo sh   # on that machine itself: the better way", "none beyond those of an install"),
		commandLine(name+" run -v /run/"+name+".sock:/run/docker.sock ...   # then here: pipeops-agent install --distro k3d", "whoever is in the container is root on the host by way of the engine"),
		commandLine(cli, riskCaps),
	}}
}

// nspawn is for the host of a container of systemd-nspawn (systemd.nspawn(5)).
func nspawn(n needs) Patch {
	file := "/etc/systemd/nspawn/" + n.name + ".nspawn"
	drop := "/etc/systemd/system/systemd-nspawn@" + n.name + ".service.d/pipeops.conf"
	p := Patch{Host: "the host of systemd-nspawn", Lines: []PatchLine{
		fileLine(file, "[Exec]", "a section"),
		fileLine(file, "Capability=all", riskCaps),
		fileLine(file, "SystemCallFilter=add_key keyctl bpf", "system calls that nspawn keeps from containers"),
		fileLine(file, "PrivateUsers=no", "root in the container is root of the host"),
	}}
	if n.kmsg {
		p.Lines = append(p.Lines, fileLine(file, "[Files]", "a section"), fileLine(file, "Bind=/dev/kmsg", riskKmsg))
	}
	p.Lines = append(p.Lines,
		fileLine(drop, "[Service]", "a section"),
		fileLine(drop, "Environment=SYSTEMD_NSPAWN_API_VFS_WRITABLE=1 SYSTEMD_NSPAWN_USE_CGNS=1", riskSysctl),
		fileLine(drop, "Delegate=yes", "the container manages its own control groups"),
		commandLine("modprobe -a "+kernelModules, riskModules),
		commandLine("systemctl daemon-reload && machinectl reboot "+n.name, riskRestart))
	return p
}

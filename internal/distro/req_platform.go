package distro

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/pipeopshq/pipeops-agent/internal/host"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

func root() Requirement {
	return Requirement{Name: "root", Code: reason.HostNotRoot, Judge: func(c Case) Finding {
		uid, ok := c.Facts.UID.Get()
		switch {
		case !ok:
			return unknown()
		case uid != 0:
			return unmet(fmt.Sprintf("running as user %d", uid), "root")
		}
		return met()
	}}
}

func linux() Requirement {
	return Requirement{Name: "linux", Code: reason.HostOS, Final: true, Judge: func(c Case) Finding {
		switch k := c.Facts.OS.Kind; k {
		case "":
			return unknown()
		case "linux":
			return met()
		default:
			return unmet("the system is "+k, "a Linux machine")
		}
	}}
}

func wsl1() Requirement {
	return Requirement{Name: "wsl1", Code: reason.HostWSL1, Final: true, Judge: func(c Case) Finding {
		v, ok := c.Facts.Virtualization.WSL.Get()
		switch {
		case !ok:
			return unknown()
		case v == 1:
			return unmet("kernel release "+c.Facts.Kernel.Release, "WSL 2")
		}
		return met()
	}}
}

func openvz() Requirement {
	return Requirement{Name: "openvz", Code: reason.HostOpenVZ, Final: true, Judge: func(c Case) Finding {
		v := c.Facts.Virtualization
		switch {
		case v.Stack == nil:
			return unknown()
		case v.Has("openvz"):
			return unmet("/proc/vz is there and /proc/bc is not", "a machine with full virtualization")
		}
		return met()
	}}
}

func architecture() Requirement {
	return Requirement{Name: "architecture", Code: reason.HostArch, Judge: func(c Case) Finding {
		a := c.Facts.Arch
		switch {
		case a.Name == "":
			return unknown()
		case !slices.Contains([]string{"amd64", "arm64"}, a.Name):
			return unmet("the machine is "+a.Machine+"; amd64 and arm64 are supported", "an amd64 or arm64 machine")
		case a.Userland.Or(64) == 32:
			return unmet("the kernel is "+a.Machine+" but the programs are 32-bit", "a 64-bit operating system").fixed("install the 64-bit edition of the operating system")
		}
		return met()
	}}
}

func kernel() Requirement {
	return Requirement{Name: "kernel", Code: reason.HostKernel, Judge: func(c Case) Finding {
		major, minor := kernelMajor, kernelMinor
		if v, ok := kubernetesMinor(c.Request.Kubernetes); ok && v >= kubernetesNewKernel {
			major, minor = kernelNewMajor, kernelNewMinor
		}
		k := c.Facts.Kernel
		enough, ok := k.AtLeast(major, minor).Get()
		switch {
		case !ok:
			return unknown()
		case !enough:
			need := fmt.Sprintf("%d.%d or later", major, minor)
			return unmet("kernel "+k.Release+"; needed is "+need, "a kernel of "+need)
		}
		return met()
	}}
}

func systemd() Requirement {
	return Requirement{Name: "systemd", Code: reason.HostNoSystemd, Judge: func(c Case) Finding {
		on, ok := c.Facts.Init.Systemd.Get()
		if !ok {
			return unknown()
		}
		if on {
			return met()
		}
		evidence := "/run/systemd/system is not there"
		if c.Facts.Init.Name != "" {
			evidence = "pid 1 is " + c.Facts.Init.Name
		}
		f := unmet(evidence, "systemd as the init system")
		container, inside := c.Facts.Virtualization.Container()
		switch {
		case c.Facts.Virtualization.WSL.Value == 2 && !inside:
			return f.outside("put the lines [boot] and systemd=true into /etc/wsl.conf, then in PowerShell: wsl --shutdown")
		case inside:
			return f.outside("start the " + container + " container with systemd as its first process, or use a virtual machine")
		}
		return f
	}}
}

func cgroupVersion() Requirement {
	return Requirement{Name: "cgroup-version", Code: reason.HostCgroupV1, Judge: func(c Case) Finding {
		v := c.Facts.Cgroup.Version
		minor, ok := kubernetesMinor(c.Request.Kubernetes)
		switch {
		case v == "v2":
			return met()
		case v == "" || v == "none" || !ok: // none: the controllers are missing, which is said elsewhere
			return unknown()
		case minor >= kubernetesRefusesCgroupV1:
			f := unmet(fmt.Sprintf("cgroup %s, and Kubernetes %s", v, c.Request.Kubernetes), "cgroup v2, or Kubernetes 1.34")
			if _, inside := c.Facts.Virtualization.Container(); inside {
				return f.outside("boot the outer host with systemd.unified_cgroup_hierarchy=1")
			}
			return f
		}
		return met()
	}}
}

func cgroupControllers() Requirement {
	return Requirement{Name: "cgroup-controllers", Code: reason.HostCgroupController, Judge: func(c Case) Finding {
		have := c.Facts.Cgroup.Controllers
		if have == nil {
			return unknown()
		}
		var missing []string
		for _, name := range []string{"cpu", "cpuset", "memory", "pids"} { // without which the kubelet does not start
			if !slices.Contains(have, name) {
				missing = append(missing, name)
			}
		}
		if len(missing) == 0 {
			return met()
		}
		list := strings.Join(missing, ", ")
		f := unmet(list, "cgroup controllers: "+list)
		if _, inside := c.Facts.Virtualization.Container(); inside {
			return f.outside("let the outer host delegate the controllers " + list + " to this container")
		}
		if slices.Contains(missing, "memory") && strings.Contains(c.Facts.Hardware.Model, "Raspberry Pi") {
			return f.fixed("append cgroup_memory=1 cgroup_enable=memory to the one line of " + cmdline(c.Facts.OS) + ", then reboot")
		}
		if c.Facts.Init.OpenRC.Value {
			return f.fixed("rc-update add cgroups boot, with rc_cgroup_mode=\"unified\" in /etc/rc.conf, then reboot")
		}
		return f
	}}
}

// cmdline is where a Raspberry Pi keeps its kernel command line: Debian 12 moved it.
func cmdline(o host.OS) string {
	if n, err := strconv.Atoi(o.Version); err == nil && o.Family == "debian" && n <= 11 {
		return "/boot/cmdline.txt"
	}
	return "/boot/firmware/cmdline.txt"
}

// kubernetesMinor returns 33 for "v1.33.2+k3s1".
func kubernetesMinor(version string) (int, bool) {
	parts := strings.Split(strings.TrimPrefix(version, "v"), ".")
	if len(parts) < 2 || parts[0] != "1" {
		return 0, false
	}
	n, err := strconv.Atoi(parts[1])
	return n, err == nil
}

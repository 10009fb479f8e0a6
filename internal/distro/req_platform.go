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
		case !ok, c.Facts.OS.Kind == "darwin": // there is no service of root's on macOS
			return unknown()
		case uid != 0:
			return unmet(fmt.Sprintf("running as user %d", uid), "root")
		}
		return met()
	}}
}

// linux is the first gate of what runs on the machine itself.
func linux() Requirement { return system("linux") }

// system needs one of these operating systems.
func system(kinds ...string) Requirement {
	return Requirement{Name: "system", Code: reason.HostOS, Final: true, Judge: func(c Case) Finding {
		k := c.Facts.OS.Kind
		switch {
		case k == "":
			return unknown()
		case slices.Contains(kinds, k):
			return met()
		}
		return unmet("the system is "+k, "a Linux machine")
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

// initSystem needs somebody who starts services at boot: systemd, or OpenRC. Where it is known that neither does, pipeops-agent
// runs them itself, which is worth less: others that fit come first.
func initSystem() Requirement {
	return Requirement{Name: "init", Code: reason.HostNoSystemd, Judge: func(c Case) Finding {
		on, ok := c.Facts.Init.Systemd.Get()
		switch {
		case on, OpenRC(c.Facts):
			return met()
		case !ok:
			return unknown()
		}
		hint := AtBoot(c.Facts)
		if hint == "" { // we are the first process
			f := met()
			f.Last = true
			return f
		}
		evidence := "/run/systemd/system is not there"
		if c.Facts.Init.Name != "" {
			evidence = "pid 1 is " + c.Facts.Init.Name
		}
		f := unmet(evidence+"; pipeops-agent run --supervise runs the services, and to start it with the machine: "+hint,
			"systemd as the init system").fixed(hint).advice()
		f.Last = true
		return f
	}}
}

// atBoot only warns: the containers of an engine, or a cluster that is already there, are started by somebody else.
func atBoot() Requirement {
	q := initSystem()
	judge := q.Judge
	q.Advice, q.Judge = true, func(c Case) Finding {
		if c.Facts.OS.Kind == "darwin" { // it starts by its own means
			return met()
		}
		f := judge(c)
		f.Last = false
		return f
	}
	return q
}

// declared refuses systems whose services and files in /etc are made from one configuration: what we wrote there would be
// gone, or cannot be written at all.
func declared() Requirement {
	return Requirement{Name: "declared", Code: reason.HostImmutable, Judge: func(c Case) Finding {
		r := c.Facts.Roots
		switch {
		case r.Immutable == "nix":
			return unmet("the system is made by Nix, and /etc/systemd/system is read-only", "k3s declared in the configuration of NixOS, or a running Docker engine").
				fixed("put services.k3s = { enable = true; role = \"server\"; }; into configuration.nix, run nixos-rebuild switch, then adopt it: --distro existing")
		case r.ReadOnly["/etc"], r.ReadOnly["/etc/systemd/system"]:
			return unmet("/etc cannot be written", "a writable /etc, or a running Docker engine").fixed("remount it writable, or run Docker and choose --distro k3d")
		case r.ReadOnly == nil && r.Immutable == "":
			return unknown()
		}
		return met()
	}}
}

// untested warns of systems on which nobody has tried us: they are not refused for their name.
func untested() Requirement {
	return Requirement{Name: "untested", Code: reason.HostUntested, Advice: true, Judge: func(c Case) Finding {
		o := c.Facts.OS
		switch {
		case o.Doubt != "":
			return unmet(o.Doubt, "")
		case o.ID == "":
			return unknown()
		case slices.Contains([]string{"debian", "rhel", "suse", "alpine", "flatcar"}, o.Family):
			return met()
		}
		return unmet(name(o)+" is none of the families that we know: debian, rhel, suse, alpine, flatcar", "")
	}}
}

func name(o host.OS) string {
	if o.Name != "" {
		return o.Name
	}
	return o.ID
}

// nodeName needs a host name that can name a node; else the node gets one of its own.
func nodeName() Requirement {
	return Requirement{Name: "node-name", Code: reason.HostNodeName, Judge: func(c Case) Finding {
		h := c.Facts.Identity.Hostname
		valid, ok := c.Facts.Identity.NodeName.Get()
		switch {
		case !ok:
			return unknown()
		case valid && len(h) <= nodeNameMax && !strings.HasPrefix(h, "localhost"):
			return met()
		}
		made := makeNodeName(h)
		return unmet(fmt.Sprintf("the host name %q cannot name a node", h), "a host name of lower-case letters, digits and '-'").
			cured(remedy(RemedyNodeName, "the node is called "+made, made))
	}}
}

// cpuLevel warns of CPUs that many images no longer run on: those built for RHEL 9 want x86-64-v2.
func cpuLevel() Requirement {
	return Requirement{Name: "cpu-level", Code: reason.HostCPULevel, Advice: true, Judge: func(c Case) Finding {
		level, ok := c.Facts.Arch.Level.Get()
		switch {
		case !ok:
			return unknown()
		case level < 2:
			return unmet(fmt.Sprintf("the CPU is x86-64-v%d; many images are built for v2", level), "")
		}
		return met()
	}}
}

// pageSize warns of arm64 kernels whose pages are not 4 KiB: some images (jemalloc, older databases) do not start there.
func pageSize() Requirement {
	return Requirement{Name: "page-size", Code: reason.HostPageSize, Advice: true, Judge: func(c Case) Finding {
		size, ok := c.Facts.Arch.PageSize.Get()
		switch {
		case !ok:
			return unknown()
		case size > 4096:
			return unmet(fmt.Sprintf("pages have %d KiB; some images only work with 4 KiB", size/1024), "")
		}
		return met()
	}}
}

// portable warns of machines that sleep.
func portable() Requirement {
	return Requirement{Name: "portable", Code: reason.HostPortable, Advice: true, Judge: func(c Case) Finding {
		on, ok := c.Facts.Hardware.Portable.Get()
		switch {
		case !ok:
			return unknown()
		case on:
			return unmet("the machine has a battery: it sleeps, and its addresses change", "")
		}
		return met()
	}}
}

// wslIdle warns that WSL 2 stops a distribution that nobody uses, and its cluster with it.
func wslIdle() Requirement {
	return Requirement{Name: "wsl-idle", Code: reason.HostWSLIdle, Advice: true, Judge: func(c Case) Finding {
		v, ok := c.Facts.Virtualization.WSL.Get()
		switch {
		case !ok:
			return unknown()
		case v == 2:
			return unmet("WSL 2 stops its machine when nobody uses it, and gives it another address at each start", "")
		}
		return met()
	}}
}

// packagesBusy says who else is changing the machine now: an install that needs packages waits for it.
func packagesBusy() Requirement {
	return Requirement{Name: "packages-busy", Code: reason.HostPackagesBusy, Advice: true, Judge: func(c Case) Finding {
		p := c.Facts.Packages
		switch {
		case p.Busy.Value:
			return unmet(p.Holder()+" holds the lock of "+p.Manager, "")
		case p.CloudInit == "running" && p.UnderCloudInit.Value: // it waits for us
			return met()
		case p.CloudInit == "running":
			return unmet("cloud-init is still at work", "")
		case !p.Busy.OK && p.CloudInit == "":
			return unknown()
		}
		return met()
	}}
}

// clock refuses to make certificates at a time that cannot be: they would not be valid, or too long.
func clock() Requirement {
	return Requirement{Name: "clock", Code: reason.HostClock, Judge: func(c Case) Finding {
		year, ok := c.Facts.Clock.Year.Get()
		if ok && year < clockYear {
			return unmet(fmt.Sprintf("the clock says %d", year), "a clock that is right")
		}
		switch seen := skewed(c.Facts); {
		case seen != "":
			return unmet(seen, "a clock that is right")
		case !ok:
			return unknown()
		}
		return met()
	}}
}

// clockAdvised warns of a clock that nobody keeps.
func clockAdvised() Requirement {
	return Requirement{Name: "clock-synchronized", Code: reason.HostClock, Advice: true, Judge: func(c Case) Finding {
		on, ok := c.Facts.Clock.Synchronized.Get()
		_, inside := c.Facts.Virtualization.Container()
		switch {
		case inside: // the outer host keeps the clock of its containers
			return met()
		case !ok:
			return unknown()
		case !on:
			return unmet("the clock is not synchronized", "")
		}
		return met()
	}}
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

// major returns 8 for "8.10", or 0.
func major(version string) int {
	first, _, _ := strings.Cut(version, ".")
	n, err := strconv.Atoi(first)
	if err != nil {
		return 0
	}
	return n
}

// is reports whether a system is this one, of this major version.
func is(o host.OS, id string, version int) bool { return o.ID == id && major(o.Version) == version }

// makeNodeName makes a name for a node of a host name that cannot be one: what is left of its first label.
func makeNodeName(hostname string) string {
	var out strings.Builder
	first, _, _ := strings.Cut(strings.ToLower(hostname), ".")
	for _, r := range first {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9':
			out.WriteRune(r)
		case out.Len() > 0:
			out.WriteByte('-')
		}
		if out.Len() == nodeNameMax {
			break
		}
	}
	made := strings.Trim(out.String(), "-")
	if made == "" || made == "localhost" {
		return "node"
	}
	return made
}

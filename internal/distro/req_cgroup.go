package distro

import (
	"fmt"
	"slices"
	"strings"

	"github.com/pipeopshq/pipeops-agent/internal/host"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

// cgroupVersion minds that the kubelet of 1.35 and later refuses cgroup v1 unless it is told otherwise, and that from
// 1.38 on it may not be told any more (KEP-5573).
func cgroupVersion() Requirement {
	return Requirement{Name: "cgroup-version", Code: reason.HostCgroupV1, Judge: func(c Case) Finding {
		v := c.Facts.Cgroup.Version
		minor, ok := kubernetesMinor(c.Request.Kubernetes)
		switch {
		case v == "v2":
			return met()
		case v == "" || v == "none" || !ok: // none: the controllers are missing, which is said elsewhere
			return unknown()
		case minor < kubernetesRefusesCgroupV1:
			return met()
		}
		f := unmet(fmt.Sprintf("cgroup %s, and Kubernetes %s", v, c.Request.Kubernetes), "cgroup v2, or Kubernetes 1.34")
		if minor < kubernetesDropsCgroupV1 && !is(c.Facts.OS, "amzn", 2) { // its systemd 219 and runc's tests of v1 ended with 1.34
			return f.cured(remedy(RemedyKubeletArg, "the kubelet is told to accept cgroup v1", "fail-cgroupv1=false").
				risking("Kubernetes removes cgroup v1 with 1.38 or later"))
		}
		if _, inside := c.Facts.Virtualization.Container(); inside {
			return f.outside("boot the outer host with systemd.unified_cgroup_hierarchy=1")
		}
		if is(c.Facts.OS, "amzn", 2) {
			return f.fixed("move to Amazon Linux 2023, or stay with Kubernetes 1.34")
		}
		return f
	}}
}

// cgroupAdvised says that the next versions of Kubernetes will want more.
func cgroupAdvised() Requirement {
	return Requirement{Name: "cgroup-v2-advised", Code: reason.HostCgroupV1, Advice: true, Judge: func(c Case) Finding {
		v := c.Facts.Cgroup.Version
		minor, ok := kubernetesMinor(c.Request.Kubernetes)
		switch {
		case v == "" || v == "none" || !ok:
			return unknown()
		case v == "v2" || minor >= kubernetesRefusesCgroupV1:
			return met()
		}
		f := unmet("Kubernetes "+c.Request.Kubernetes+" still accepts it", "")
		if c.inside() {
			return f.outside("boot the outer host with systemd.unified_cgroup_hierarchy=1")
		}
		return f
	}}
}

// cgroupControllers needs those without which the kubelet does not start.
func cgroupControllers() Requirement {
	return Requirement{Name: "cgroup-controllers", Code: reason.HostCgroupController, Judge: func(c Case) Finding {
		have := c.Facts.Cgroup.Controllers
		if have == nil {
			return unknown()
		}
		var missing []string
		for _, name := range []string{"cpu", "cpuset", "memory", "pids"} {
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
		if OpenRC(c.Facts) && c.Facts.Cgroup.Version == "none" {
			return f.cured(remedy(RemedyOpenRCCgroups, "the service cgroups mounts the control groups"))
		}
		if slices.Contains(missing, "memory") && strings.Contains(c.Facts.Hardware.Model, "Raspberry Pi") {
			file, words := cmdline(c.Facts.OS), []string{"cgroup_memory=1", "cgroup_enable=memory"}
			return f.fixed("append " + strings.Join(words, " ") + " to the one line of " + file + ", then reboot").
				cured(remedy(RemedyKernelCmdline, strings.Join(words, " ")+" is appended to "+file, append([]string{file}, words...)...).
					costing(reason.CostReboot).risking("a mistake in that file keeps the machine from booting; the old one is kept in the ledger"))
		}
		if OpenRC(c.Facts) {
			return f.fixed("set rc_cgroup_mode=\"unified\" in /etc/rc.conf, rc-update add cgroups boot, then reboot")
		}
		return f
	}}
}

// cmdline is where a Raspberry Pi keeps its kernel command line: Debian 12 moved it; Ubuntu has had it there all along.
func cmdline(o host.OS) string {
	if n := major(o.Version); o.ID != "ubuntu" && n > 0 && n <= 11 {
		return "/boot/cmdline.txt"
	}
	return "/boot/firmware/cmdline.txt"
}

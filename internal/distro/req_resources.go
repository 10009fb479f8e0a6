package distro

import (
	"fmt"
	"strconv"

	"github.com/pipeopshq/pipeops-agent/internal/host"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

// cpus needs n CPUs; with fewer a machine is slow but not broken, so whoever asks by name may have it.
func cpus(n float64) Requirement {
	return Requirement{Name: "cpus", Code: reason.HostCPU, Waivable: true, Judge: func(c Case) Finding {
		return judgeCPUs(c, n, "needed")
	}}
}

// cpusAdvised warns of fewer than n CPUs.
func cpusAdvised(n float64) Requirement {
	return Requirement{Name: "cpus-advised", Code: reason.HostCPU, Advice: true, Judge: func(c Case) Finding {
		return judgeCPUs(c, n, "advised")
	}}
}

func judgeCPUs(c Case, n float64, word string) Finding {
	have, ok := c.Facts.CPU.Usable().Get()
	switch {
	case !ok:
		return unknown()
	case have < n:
		return unmet(fmt.Sprintf("%s usable; %s: %s", count(have), word, count(n)), count(n))
	}
	return met()
}

// count writes a number of CPUs.
func count(n float64) string {
	s := strconv.FormatFloat(n, 'f', -1, 64) + " CPU"
	if n != 1 {
		s += "s"
	}
	return s
}

// memory needs so many bytes, less what the machine keeps for itself.
func memory(need uint64) Requirement {
	return Requirement{Name: "memory", Code: reason.HostMemoryLow, Waivable: true, Judge: func(c Case) Finding {
		return judgeMemory(c, need, "needed")
	}}
}

// memoryAdvised warns of less memory than this.
func memoryAdvised(need uint64, consequence string) Requirement {
	return Requirement{Name: "memory-advised", Code: reason.HostMemoryLow, Advice: true, Judge: func(c Case) Finding {
		f := judgeMemory(c, need, "advised")
		f.Evidence += ", else " + consequence
		return f
	}}
}

func judgeMemory(c Case, need uint64, word string) Finding {
	have, ok := c.Facts.Memory.Usable().Get()
	switch {
	case !ok:
		return unknown()
	case float64(have) >= float64(need)*(1-memorySlack):
		return met()
	}
	f := unmet(fmt.Sprintf("%s usable%s; %s: %s", host.Bytes(have), limited(c.Facts.Memory), word, host.Bytes(need)),
		fmt.Sprintf("%s of memory (%s more)", host.Bytes(need), host.Bytes(need-have)))
	switch {
	case limited(c.Facts.Memory) != "":
		return f.outside("raise the memory limit of this container on its host")
	case c.Facts.Virtualization.WSL.Value == 2:
		return f.outside("set memory= under [wsl2] in %UserProfile%\\.wslconfig, then in PowerShell: wsl --shutdown")
	}
	return f
}

func limited(m host.Memory) string {
	if m.Limit.OK && m.Limit == m.Usable() {
		return " by the limit of the cgroup"
	}
	return ""
}

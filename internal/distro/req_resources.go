package distro

import (
	"fmt"
	"strconv"

	"github.com/pipeopshq/pipeops-agent/internal/host"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
	"github.com/pipeopshq/pipeops-agent/internal/trial"
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

// diskType refuses file systems on which containerd or the database cannot work: containerd cannot use NFS, and what is
// in memory is gone after a reboot.
func diskType() Requirement {
	return Requirement{Name: "disk-type", Code: reason.HostDiskType, Judge: func(c Case) Finding {
		d, ok := c.Facts.DiskOf(host.ClusterDir)
		if !ok || d.Type == "" {
			return unknown()
		}
		switch d.Type {
		case "nfs", "nfs4", "cifs", "smb3", "9p", "drvfs", "fuse.sshfs", "ecryptfs", "vfat", "ntfs", "ntfs3", "exfat":
			return unmet(fmt.Sprintf("%s is on %s", host.ClusterDir, d.Type), "a local disk for "+host.ClusterDir)
		case "tmpfs", "ramfs", "rootfs":
			return unmet(fmt.Sprintf("%s is on %s, which is empty after a reboot", host.ClusterDir, d.Type), "a disk for "+host.ClusterDir)
		}
		return met()
	}}
}

// overlay needs that images can be unpacked where the cluster keeps them.
func overlay() Requirement {
	return Requirement{Name: "overlay", Code: reason.HostDiskType, Judge: func(c Case) Finding {
		ok, tried := c.Trials.OK(trial.Overlay).Get()
		_, inside := c.Facts.Virtualization.Container()
		switch {
		case !tried:
			return unknown()
		case ok, inside, diskType().Judge(c).Verdict == Unmet: // in a container it is a matter of nesting
			return met()
		}
		return unmet("trial: "+c.Trials[trial.Overlay].Detail, "a file system for "+host.ClusterDir+" that carries overlays").fixed("put " + host.ClusterDir + " on ext4, or on XFS made with ftype=1")
	}}
}

// diskFree needs room for what an install writes. A cluster of ours that is already there has taken its part.
func diskFree() Requirement {
	return Requirement{Name: "disk-free", Code: reason.HostDiskLow, Judge: func(c Case) Finding {
		if ourK3s(c.Facts) {
			return met()
		}
		known := false
		for _, need := range []struct {
			dir   string
			bytes uint64
		}{{host.ClusterDir, k3sDisk}, {host.StateDir, agentDisk}, {host.BinaryDir, k3sBinaryDisk}} {
			d, ok := c.Facts.DiskOf(need.dir)
			if !ok || !d.Free.OK {
				continue
			}
			known = true
			if d.Free.Value < need.bytes {
				return unmet(fmt.Sprintf("%s free on the file system of %s; needed: %s", host.Bytes(d.Free.Value), d.Place(), host.Bytes(need.bytes)),
					fmt.Sprintf("%s more free space for %s", host.Bytes(need.bytes-d.Free.Value), d.Path))
			}
		}
		if !known {
			return unknown()
		}
		return met()
	}}
}

// diskAdvised warns of a disk that will be full soon.
func diskAdvised() Requirement {
	return Requirement{Name: "disk-advised", Code: reason.HostDiskLow, Advice: true, Judge: func(c Case) Finding {
		d, ok := c.Facts.DiskOf(host.ClusterDir)
		if !ok || !d.Free.OK {
			return unknown()
		}
		switch share := float64(d.Free.Value) / float64(d.Total.Value); {
		case d.Free.Value < k3sDiskWarn:
			return unmet(fmt.Sprintf("%s free on the file system of %s; below %s images and logs soon fill it", host.Bytes(d.Free.Value), d.Place(), host.Bytes(k3sDiskWarn)), "")
		case d.Total.Value > 0 && share < freeShareWarn:
			return unmet(fmt.Sprintf("%.0f %% of the file system of %s are free; below %.0f %% the kubelet removes images", 100*share, d.Place(), 100*freeShareWarn), "")
		}
		return met()
	}}
}

func writable() Requirement {
	return Requirement{Name: "writable", Code: reason.HostReadOnly, Judge: func(c Case) Finding {
		known := false
		for _, dir := range []string{host.BinaryDir, host.ClusterDir, host.StateDir} {
			d, _ := c.Facts.DiskOf(dir)
			ro, ok := d.ReadOnly.Get()
			known = known || ok
			if ok && ro {
				return unmet(d.Place()+" is mounted read-only", dir+" writable")
			}
		}
		if !known {
			return unknown()
		}
		return met()
	}}
}

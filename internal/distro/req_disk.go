package distro

import (
	"fmt"
	"slices"
	"strings"

	"github.com/pipeopshq/pipeops-agent/internal/host"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
	"github.com/pipeopshq/pipeops-agent/internal/trial"
)

// diskType refuses file systems on which containerd or the database cannot work: containerd cannot use NFS, and what is
// in memory is gone after a reboot.
func diskType() Requirement {
	return Requirement{Name: "disk-type", Code: reason.HostDiskType, Judge: func(c Case) Finding {
		dir := c.dataDir()
		d, ok := c.diskOf(dir)
		if !ok || d.Type == "" {
			return unknown()
		}
		switch d.Type {
		case "nfs", "nfs4", "cifs", "smb3", "9p", "drvfs", "fuse.sshfs", "ecryptfs", "vfat", "ntfs", "ntfs3", "exfat":
			return c.elsewhere(unmet(fmt.Sprintf("%s is on %s", dir, d.Type), "a local disk for "+dir))
		case "tmpfs", "ramfs", "rootfs":
			return c.elsewhere(unmet(fmt.Sprintf("%s is on %s, which is empty after a reboot", dir, d.Type), "a disk for "+dir))
		}
		return met()
	}}
}

// overlayIsDisks reports whether a failed overlay is the fault of the file system, or of a kernel that does not mount
// overlays in a user namespace yet (before 5.11), rather than of a container that may mount nothing.
func overlayIsDisks(c Case) bool {
	if c.Facts.Virtualization.UserNamespace.Value && !c.Facts.Kernel.AtLeast(5, 11).Or(true) {
		return true
	}
	d, _ := c.Facts.DiskOf(host.ClusterDir)
	switch detail := c.Trials[trial.Overlay].Detail; {
	case strings.Contains(detail, "permission denied"), strings.Contains(detail, "not permitted"):
		return false
	case detail != "":
		return true
	}
	return slices.Contains([]string{"overlay", "zfs", "aufs"}, d.Type)
}

// overlay needs that images can be unpacked where the cluster keeps them; else containerd copies instead.
func overlay() Requirement {
	return Requirement{Name: "overlay", Code: reason.HostOverlay, Judge: func(c Case) Finding {
		ok, tried := c.Trials.OK(trial.Overlay).Get()
		switch {
		case !tried:
			return unknown()
		case ok, diskType().Judge(c).Verdict == Unmet, c.inside() && !overlayIsDisks(c): // in a container it is a matter of nesting
			return met()
		case c.moved() && !c.Facts.Virtualization.UserNamespace.Value: // there it is the kernel's fault
			return unknown()
		}
		f := unmet("an overlay cannot be mounted"+detail(c, trial.Overlay), "a file system for "+host.ClusterDir+" that carries overlays, such as ext4")
		if _, installed := c.Facts.Commands["fuse-overlayfs"]; installed && c.Facts.Devices.Fuse.Usable.Value {
			return f.cured(remedy(RemedySnapshotter, "images are unpacked by fuse-overlayfs", "fuse-overlayfs").risking("slower than overlays of the kernel"))
		}
		return f.cured(remedy(RemedySnapshotter, "images are copied rather than laid over each other (native snapshotter)", "native").
			risking("each container takes as much disk as its image, and starts more slowly"))
	}}
}

// room is what must be free on the file system of a directory.
type room struct {
	dir   string
	bytes uint64
}

// diskFree needs room for what an install writes. A cluster of ours that is already there has taken its part.
func diskFree(rooms func(Case) []room) Requirement {
	return Requirement{Name: "disk-free", Code: reason.HostDiskLow, Judge: func(c Case) Finding {
		if ourK3s(c.Facts) {
			return met()
		}
		f := unknown()
		for _, need := range rooms(c) {
			d, ok := c.diskOf(need.dir)
			if !ok || !d.Free.OK {
				continue
			}
			low := lackOf(d, need.bytes)
			if low.Verdict == Unmet && need.dir == host.ClusterDir {
				low = c.elsewhere(low)
			}
			if low.Verdict == Unmet && len(low.Remedies) == 0 {
				return low
			}
			if f.Verdict != Unmet {
				f = low
			}
		}
		return f
	}}
}

// lackOf judges the room on one file system.
func lackOf(d host.Disk, bytes uint64) Finding {
	if d.Free.Value < bytes {
		return unmet(fmt.Sprintf("%s free on the file system of %s; needed: %s", host.Bytes(d.Free.Value), d.Place(), host.Bytes(bytes)),
			fmt.Sprintf("%s more free space for %s", host.Bytes(bytes-d.Free.Value), d.Path))
	}
	if n, ok := d.FreeInodes.Get(); ok && fewInodes(d) {
		return unmet(fmt.Sprintf("%d inodes free on the file system of %s; needed: %d", n, d.Place(), freeInodes),
			fmt.Sprintf("%d free inodes for %s", freeInodes, d.Path))
	}
	return met()
}

// fewInodes tells of too few: btrfs and zfs make inodes as they need them, and some tell of none.
func fewInodes(d host.Disk) bool {
	n, ok := d.FreeInodes.Get()
	return ok && n < freeInodes && d.Type != "btrfs" && d.Type != "zfs"
}

// onMachine is the room for k3s on the machine itself.
func onMachine(c Case) []room {
	return []room{{c.dataDir(), k3sDisk}, {host.StateDir, agentDisk}, {binaryDir(c), k3sBinaryDisk}}
}

// onWorker is the room for a worker of k3s.
func onWorker(c Case) []room {
	return []room{{c.dataDir(), workerDisk}, {host.StateDir, agentDisk}, {binaryDir(c), k3sBinaryDisk}}
}

// inEngine is the room for containers in the data directory of the engine, wherever that is.
func inEngine(bytes uint64) func(Case) []room {
	return func(c Case) []room {
		if !engineHere(c) {
			return nil
		}
		return []room{{engineRoot(c.Facts), bytes}, {host.StateDir, agentDisk}}
	}
}

// engineRoot is where Docker keeps images and containers.
func engineRoot(f host.Facts) string {
	if f.Docker.Root != "" {
		return f.Docker.Root
	}
	return "/var/lib/docker"
}

// diskAdvised warns of a disk that will be full soon.
func diskAdvised(rooms func(Case) []room) Requirement {
	return Requirement{Name: "disk-advised", Code: reason.HostDiskLow, Advice: true, Judge: func(c Case) Finding {
		all := rooms(c)
		switch {
		case len(all) == 0:
			return unknown()
		case all[0].dir == host.ClusterDir && c.moved(): // there is as much as is advised
			return met()
		}
		d, ok := c.diskOf(all[0].dir)
		if !ok || !d.Free.OK {
			return unknown()
		}
		left := uint64(0) // after an install
		if d.Free.Value > k3sDiskUse {
			left = d.Free.Value - k3sDiskUse
		}
		switch {
		case d.Free.Value < all[0].bytes:
			return unmet(fmt.Sprintf("%s free on the file system of %s; below %s images and logs soon fill it", host.Bytes(d.Free.Value), d.Place(), host.Bytes(all[0].bytes)), "")
		case d.Total.Value > 0 && !ourK3s(c.Facts) && float64(left) < freeShareWarn*float64(d.Total.Value):
			return unmet(fmt.Sprintf("%.0f %% of the file system of %s will be free; below %.0f %% the kubelet removes images",
				100*float64(left)/float64(d.Total.Value), d.Place(), 100*freeShareWarn), "")
		}
		return met()
	}}
}

func onMachineAdvised(c Case) []room { return []room{{c.dataDir(), k3sDiskWarn}} }

// diskSlow warns of disks on which the database waits: SQLite bears 10 ms, etcd 5 ms (documentation of k3s, "Resource
// Profiling").
func diskSlow() Requirement {
	return Requirement{Name: "disk-latency", Code: reason.HostDiskSlow, Advice: true, Judge: func(c Case) Finding {
		p99, ok := c.Trials[trial.Fsync].Value.Get()
		switch {
		case !ok, c.moved(), c.etcd(): // for etcd there is a requirement of its own
			return unknown()
		case p99 > fsyncSlow:
			return unmet(fmt.Sprintf("one write in a hundred takes %.3g ms to be on disk; %d ms are needed, 5 ms for several servers", p99, fsyncSlow), "")
		}
		return met()
	}}
}

// binaryDir is where the k3s binary goes: /opt/bin where /usr is read-only, as on Flatcar.
func binaryDir(c Case) string {
	if readOnly(c, host.BinaryDir) && !readOnly(c, "/opt/bin") {
		return "/opt/bin"
	}
	return host.BinaryDir
}

func readOnly(c Case, dir string) bool {
	if ro, ok := c.Facts.Roots.ReadOnly[dir]; ok {
		return ro
	}
	d, _ := c.diskOf(dir)
	return d.ReadOnly.Value
}

func writable() Requirement {
	return Requirement{Name: "writable", Code: reason.HostReadOnly, Judge: func(c Case) Finding {
		known, moved := false, Finding{}
		for _, dir := range []string{binaryDir(c), c.dataDir(), host.StateDir} {
			d, _ := c.diskOf(dir)
			_, listed := c.Facts.Roots.ReadOnly[dir]
			known = known || listed || d.ReadOnly.OK
			if readOnly(c, dir) {
				f := unmet(dir+" is on a file system that is mounted read-only", dir+" writable")
				if dir == host.ClusterDir {
					f = c.elsewhere(f)
				}
				if len(f.Remedies) == 0 {
					return f
				}
				moved = f
			}
		}
		switch {
		case !known:
			return unknown()
		case binaryDir(c) != host.BinaryDir:
			return unmet(host.BinaryDir+" is on a file system that is mounted read-only", host.BinaryDir+" writable").
				cured(remedy(RemedyBinaryDir, "k3s goes to "+binaryDir(c), binaryDir(c)),
					remedy(RemedyKubeletArg, "volume plugins go to "+volumePlugins, "volume-plugin-dir="+volumePlugins)).cured(moved.Remedies...)
		case moved.Verdict == Unmet:
			return moved
		}
		return met()
	}}
}

package distro

import (
	"cmp"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/pipeopshq/pipeops-agent/internal/host"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

const (
	// maxDataDir bounds the path of a data directory: the path of a socket, of which k3s has some below it, holds 107 bytes.
	maxDataDir = 80
	// maxPlaces is how many disks are named where several would do.
	maxPlaces = 3
)

// CheckDataDir refuses what cannot be the folder in which a cluster keeps its data; "" is its own place.
func CheckDataDir(dir string) error {
	if dir == "" || isDataDir(dir) {
		return nil
	}
	const want = "want the absolute path of a folder that is kept, such as /data/k3s, of letters, digits and ._-, with at most %d bytes"
	e := reason.Newf(reason.Usage, "data directory %q: "+want, dir, maxDataDir)
	if top := topFolder(dir); path.IsAbs(dir) && slices.Contains(notKept(), top) {
		e = reason.Newf(reason.Usage, "data directory %q: /%s is not for data that is kept", dir, top)
	}
	return e.WithFix("choose another folder with --data-dir, such as /data/k3s")
}

// topFolder is the first name of an absolute path.
func topFolder(dir string) string {
	top, _, _ := strings.Cut(strings.TrimPrefix(dir, "/"), "/")
	return top
}

// notKept are the folders at / that are the system's own, or gone with a reboot.
func notKept() []string { return []string{"boot", "dev", "etc", "proc", "run", "sys", "tmp", "usr"} }

// isDataDir tells whether a cluster may keep its data there: the path goes into files that k3s and containerd read.
func isDataDir(dir string) bool {
	if len(dir) > maxDataDir || path.Clean(dir) != dir || !regexp.MustCompile(`^(/[A-Za-z0-9._-]+)+$`).MatchString(dir) {
		return false
	}
	return !slices.Contains(notKept(), topFolder(dir))
}

// dataPlace puts the data of the cluster where the user wants it. It stays where a cluster of ours was made with.
func dataPlace() Requirement {
	return Requirement{Name: "data-dir", Code: reason.HostDiskType, Judge: func(c Case) Finding {
		made, ours := ourSettings(c.Facts)
		dir := made["data-dir"]
		switch {
		case !ours && c.Request.DataDir != "":
			return unmet("--data-dir asks for it", "").cured(c.movedTo(c.Request.DataDir))
		case dir == "" && c.Request.DataDir != "": // that another one was asked for does not go unsaid
			dir = k3sDataDir
		}
		if dir == "" {
			return met()
		}
		return unmet("the cluster was made so", "a new cluster").cured(remedy(RemedyDataDir, "data-dir stays "+dir, dir))
	}}
}

// dataDir is the folder whose file system holds the data of the cluster, as far as it is settled.
func (c Case) dataDir() string {
	made, ours := ourSettings(c.Facts)
	if ours {
		return cmp.Or(made["data-dir"], host.ClusterDir)
	}
	return cmp.Or(c.Request.DataDir, host.ClusterDir)
}

// diskOf returns what is known of a directory's file system. One that was not measured lies on the disk that is mounted
// above it, or on that of "/".
func (c Case) diskOf(dir string) (host.Disk, bool) {
	d, ok := c.Facts.DiskOf(dir)
	if ok || dir != c.dataDir() {
		return d, ok
	}
	for _, v := range c.Facts.Volumes {
		if len(v.Path) > len(d.Path) && strings.HasPrefix(dir, v.Path+"/") {
			d, ok = v, true
		}
	}
	if i := slices.IndexFunc(c.Facts.Disk, func(d host.Disk) bool { return d.At == "/" }); !ok && i >= 0 {
		d, ok = c.Facts.Disk[i], true
	}
	d.Path = dir
	return d, ok
}

// elsewhere cures what is wrong with the usual place of the data by another disk, if only one will do.
func (c Case) elsewhere(f Finding) Finding {
	if c.dataDir() != host.ClusterDir || ourK3s(c.Facts) {
		return f
	}
	var places []string
	for _, v := range c.Facts.Volumes {
		if dir := v.Path + "/pipeops-agent/k3s"; c.fits(v) && isDataDir(dir) {
			places = append(places, dir)
		}
	}
	switch len(places) {
	case 0:
		return f
	case 1:
		return f.cured(c.movedTo(places[0]))
	}
	return f.fixed("say on which disk the cluster shall be: --data-dir " + strings.Join(places[:min(len(places), maxPlaces)], " or --data-dir "))
}

// fits reports whether a cluster could keep its data on another disk without further ado. The policy of SELinux for k3s
// knows only the usual place, root in a user namespace may not write everywhere, and what else the kubelet writes stays
// on the disk of /var/lib.
func (c Case) fits(v host.Disk) bool {
	if c.Facts.LSM.SELinux == "enforcing" || c.Facts.Virtualization.UserNamespace.Value {
		return false
	}
	rest, _ := c.Facts.DiskOf(host.StateDir)
	if slices.Contains([]string{"tmpfs", "ramfs", "rootfs"}, rest.Type) || rest.Free.OK && float64(rest.Free.Value) < nodeShare*float64(rest.Total.Value) {
		return false
	}
	return !v.Removable.Value && !v.ReadOnly.Value && v.Free.Value >= k3sDiskWarn && !fewInodes(v)
}

// movedTo is the remedy that puts the data there.
func (c Case) movedTo(dir string) Remedy {
	r := remedy(RemedyDataDir, "the cluster keeps its data in "+dir, dir)
	var risks []string
	if slices.ContainsFunc(c.Facts.Volumes, func(v host.Disk) bool { return strings.HasPrefix(dir, v.Path+"/") }) {
		risks = append(risks, "the cluster is on another disk, which must be mounted at every boot")
	}
	if c.Facts.LSM.SELinux == "enforcing" {
		risks = append(risks, "SELinux's policy for k3s knows only "+k3sDataDir)
	}
	return r.risking(strings.Join(risks, "; "))
}

// moved reports whether the data will lie elsewhere than where the trials were made.
func (c Case) moved() bool {
	if c.dataDir() != host.ClusterDir {
		return true
	}
	for _, q := range []Requirement{diskType(), diskFree(onMachine), writable()} {
		if slices.ContainsFunc(q.Judge(c).Remedies, func(r Remedy) bool { return r.ID == RemedyDataDir }) {
			return true
		}
	}
	return false
}

package host

import (
	"cmp"
	"context"
	"slices"
	"strings"
)

// maxVolumes bounds how many file systems are measured.
const maxVolumes = 16

// volumesProbe finds the other local file systems on which a cluster could keep its data. That of "/" is none of them, nor
// is what belongs to the system or to an engine.
func volumesProbe() Probe {
	return Probe{Name: "volumes", Run: func(_ context.Context, s *System) (Part, error) {
		table, err := readMounts(s)
		if err != nil {
			return nil, nil // those who need the table tell of it; a Mac has none
		}
		volumes := []Disk{}
		var failed error
		for _, m := range table.volumes() {
			d, ok, err := volume(s, table, m.Point)
			if err != nil {
				failed = err
			}
			if ok {
				volumes = append(volumes, d)
			}
		}
		return func(f *Facts) { f.Volumes = volumes }, failed
	}}
}

// volume measures one; false if it is none after all.
func volume(s *System, table mounts, point string) (Disk, bool, error) {
	if !s.Live() {
		if _, ok := s.snapshot.Statfs[point]; !ok {
			return Disk{}, false, nil
		}
	} else if info, err := s.stat(point); err != nil || !info.IsDir() { // engines mount single files
		return Disk{}, false, err
	}
	d, err := measure(s, table, point)
	return d, err == nil && !d.ReadOnly.Value, err
}

// volumes returns the mounts that may be measured, each file system once, by their points.
func (ms mounts) volumes() []mount {
	root, _ := ms.at("/")
	seen := map[string]bool{root.Device: true}
	if strings.HasPrefix(root.Source, "/dev/") {
		seen[root.Source] = true
	}
	top := map[string]string{} // devices of the topmost mounts by their points
	for _, m := range ms {
		top[m.Point] = m.Device
	}
	sorted := slices.Clone(ms)
	slices.SortStableFunc(sorted, func(a, b mount) int { return cmp.Compare(a.Point, b.Point) })
	var all []mount
	for _, m := range sorted {
		switch {
		case len(all) == maxVolumes, m.Device != top[m.Point], m.ReadOnly, m.NoExec, !isDir(m.Point), seen[m.Device], seen[m.Source],
			!slices.Contains([]string{"ext4", "xfs", "btrfs"}, m.Type), belongsToSystem(m.Point):
			continue
		}
		seen[m.Device] = true
		if strings.HasPrefix(m.Source, "/dev/") { // btrfs has a device number for each subvolume
			seen[m.Source] = true
		}
		all = append(all, m)
	}
	return all
}

// belongsToSystem tells of a mount point that is not free for a cluster.
func belongsToSystem(point string) bool {
	if point == "/" {
		return true
	}
	for _, dir := range []string{
		"/boot", "/efi", "/snap", "/run", "/proc", "/sys", "/dev", "/etc", "/usr", "/tmp",
		"/var/lib/docker", "/var/lib/containers", "/var/lib/rancher", "/var/lib/kubelet", StateDir,
	} {
		if point == dir || strings.HasPrefix(point, dir+"/") {
			return true
		}
	}
	return false
}

package host

import (
	"context"
	"encoding/json"
	"fmt"
	"path"
	"slices"
)

// Directories whose file systems are measured, because a cluster or the agent writes there.
const (
	ClusterDir = "/var/lib/rancher"       // k3s keeps images, snapshots and its database below it
	StateDir   = "/var/lib/pipeops-agent" // our own state
	BinaryDir  = "/usr/local/bin"         // where the k3s binary goes
)

// Disk is the file system that holds a directory, or will: that of its nearest parent that exists.
type Disk struct {
	Path string `json:"path"` // the directory that was asked for
	At   string `json:"at"`   // the parent that exists; "" is unknown

	Device     string      `json:"device,omitzero"` // "/dev/vda1"; "" is unknown
	Rotational Known[bool] `json:"rotational,omitzero"`
	Removable  Known[bool] `json:"removable,omitzero"` // a card or a stick
	Statfs
}

// DiskOf returns what is known of a directory's file system.
func (f Facts) DiskOf(dir string) (Disk, bool) {
	for _, d := range f.Disk {
		if d.Path == dir {
			return d, true
		}
	}
	return Disk{}, false
}

func diskProbe() Probe {
	return Probe{Name: "disk", Run: func(_ context.Context, s *System) (Part, error) {
		table, _ := readMounts(s) // without it only the type is unknown
		var disks []Disk
		var failed error
		dirs := []string{ClusterDir, StateDir, BinaryDir}
		if root := dockerRoot(s); root != "" && !slices.Contains(dirs, root) {
			dirs = append(dirs, root)
		}
		if isDir(s.DataDir) && !slices.Contains(dirs, s.DataDir) {
			dirs = append(dirs, s.DataDir)
		}
		for _, dir := range dirs {
			d, err := measure(s, table, dir)
			if err != nil {
				failed = err
				continue
			}
			disks = append(disks, d)
		}
		return func(f *Facts) { f.Disk = disks }, failed
	}}
}

func measure(s *System, table mounts, dir string) (Disk, error) {
	d := Disk{Path: dir}
	if !s.Live() {
		for at := dir; ; at = path.Dir(at) {
			if st, ok := s.snapshot.Statfs[at]; ok {
				d.At, d.Statfs = at, st
				break
			}
			if at == "/" {
				break
			}
		}
	} else {
		at, err := nearest(s, dir)
		if err != nil {
			return d, err
		}
		at = liveResolve(at)
		st, err := liveStatfs(at)
		if err != nil {
			return d, err
		}
		d.At, d.Statfs = at, st
	}
	at := d.At
	if at == "" {
		at = dir
	}
	if m, ok := table.holding(at); ok {
		if d.Type == "" {
			d.Type = m.Type
		}
		if !d.ReadOnly.OK {
			d.ReadOnly = Is(m.ReadOnly)
		}
		blockDevice(s, m, &d)
	}
	return d, nil
}

// dockerConfig are the settings of the Docker engine.
const dockerConfig = "/etc/docker/daemon.json"

// dockerRoot is where the Docker engine keeps images; "" if there is none. Clusters that run in Docker need room there.
func dockerRoot(s *System) string {
	if root := s.Snapshot().Docker.Root; isDir(root) {
		return root
	}
	if b, err := s.ReadFile(dockerConfig); err == nil {
		if root := ParseDockerRoot(b); root != "" {
			return root
		}
	}
	if s.has("/var/lib/docker") {
		return "/var/lib/docker"
	}
	return ""
}

// ParseDockerRoot returns data-root of the engine's daemon.json; "" is not set.
func ParseDockerRoot(b []byte) string {
	var v struct {
		Root string `json:"data-root"`
	}
	if json.Unmarshal(b, &v) != nil || !isDir(v.Root) {
		return ""
	}
	return v.Root
}

// isDir tells whether a text can be the path of a folder.
func isDir(p string) bool { return path.IsAbs(p) && path.Clean(p) == p && clean(p) == p }

// nearest returns the directory itself or the closest parent that exists.
func nearest(s *System, dir string) (string, error) {
	for p := dir; ; p = path.Dir(p) {
		if _, err := s.stat(p); err == nil || p == "/" {
			if err != nil {
				return "", fmt.Errorf("cannot find %s: %w", dir, err)
			}
			return p, nil
		}
	}
}

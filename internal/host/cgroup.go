package host

import (
	"context"
	"path"
	"slices"
	"strings"
)

const cgroupDir = "/sys/fs/cgroup"

// Cgroup is how control groups are mounted.
type Cgroup struct {
	Version     string      `json:"version"`     // "v1", "v2", "hybrid" (v1 with an empty v2 beside it), "none"; "" is unknown
	Controllers []string    `json:"controllers"` // that can be used, sorted; null: unknown
	ReadOnly    Known[bool] `json:"read_only"`   // whether groups cannot be made
}

func cgroupProbe() Probe {
	return Probe{Name: "cgroup", Run: func(_ context.Context, s *System) (Part, error) {
		table, err := readMounts(s)
		c := Cgroup{Version: s.Snapshot().Cgroup}
		if c.Version == "" && err == nil {
			c.Version = cgroupVersion(table)
		}
		if c.Version == "" && s.has(cgroupDir+"/cgroup.controllers") {
			c.Version, err = "v2", nil
		}
		c.ReadOnly = cgroupReadOnly(table, c.Version)
		switch c.Version {
		case "v2":
			if b, e := s.ReadFile(cgroupDir + "/cgroup.controllers"); e == nil {
				c.Controllers = sorted(strings.Fields(string(b)))
			} else if b, e := s.ReadFile("/proc/cgroups"); e == nil {
				c.Controllers = ParseCgroups(b)
			}
		case "v1", "hybrid":
			if b, e := s.ReadFile("/proc/cgroups"); e == nil {
				c.Controllers = mounted(table, ParseCgroups(b))
			}
		case "none":
			c.Controllers = []string{}
		}
		if c.Version != "" {
			err = nil
		}
		return func(f *Facts) { f.Cgroup = c }, err
	}}
}

// cgroupVersion judges by the types of the file systems; that the folder is there says nothing.
func cgroupVersion(table mounts) string {
	if len(table) == 0 {
		return ""
	}
	top, ok := table.at(cgroupDir)
	switch {
	case ok && top.Type == "cgroup2":
		return "v2"
	case slices.ContainsFunc(table, func(m mount) bool { return m.Type == "cgroup" }):
		if m, ok := table.at(cgroupDir + "/unified"); ok && m.Type == "cgroup2" {
			return "hybrid"
		}
		return "v1"
	}
	return "none"
}

func cgroupReadOnly(table mounts, version string) Known[bool] {
	point := cgroupDir
	if version == "v1" || version == "hybrid" {
		point = controllerPoint(table, "memory")
	}
	if m, ok := table.at(point); ok {
		return Is(m.ReadOnly)
	}
	return Known[bool]{}
}

// controllerPoint is where the v1 hierarchy of a controller is mounted, or "".
func controllerPoint(table mounts, controller string) string {
	for _, m := range slices.Backward(table) {
		if m.Type == "cgroup" && slices.Contains(m.Super, controller) {
			return m.Point
		}
	}
	return ""
}

// mounted keeps the v1 controllers that some hierarchy carries. Without a mount table all that are enabled count.
func mounted(table mounts, controllers []string) []string {
	if len(table) == 0 {
		return controllers
	}
	return slices.DeleteFunc(controllers, func(c string) bool { return controllerPoint(table, c) == "" })
}

// ParseCgroups returns the names of the controllers that /proc/cgroups shows as enabled, sorted.
func ParseCgroups(b []byte) []string {
	names := []string{}
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line) // name hierarchy num_cgroups enabled
		if len(f) == 4 && !strings.HasPrefix(f[0], "#") && f[3] == "1" {
			names = append(names, f[0])
		}
	}
	return sorted(names)
}

// ParseCgroupPaths reads /proc/PID/cgroup: the path of the process by controller, with "" for v2.
func ParseCgroupPaths(b []byte) map[string]string {
	paths := map[string]string{}
	for line := range strings.Lines(string(b)) {
		parts := strings.SplitN(strings.TrimRight(line, "\n"), ":", 3) // hierarchy:controllers:path
		if len(parts) != 3 || !strings.HasPrefix(parts[2], "/") {
			continue
		}
		for c := range strings.SplitSeq(parts[1], ",") {
			paths[c] = path.Clean(parts[2])
		}
	}
	return paths
}

// cgroupFiles returns the paths of one file in the cgroup of pid 1 and in all its parents that we can see: whatever
// binds pid 1 binds the whole machine. The limits of our own cgroup may be those of a login session and bind nobody else.
func cgroupFiles(s *System, controller, v1name, v2name string) (files []string, v2 bool) {
	point, name, key := cgroupDir, v2name, ""
	v2 = true
	if table, err := readMounts(s); err == nil {
		if m, ok := table.at(cgroupDir); !ok || m.Type != "cgroup2" {
			if point = controllerPoint(table, controller); point == "" {
				return nil, false
			}
			v2, name, key = false, v1name, controller
		}
	} else if v := s.Snapshot().Cgroup; v == "v1" || v == "hybrid" {
		v2, point, name, key = false, cgroupDir+"/"+controller, v1name, controller
	}
	p := "/"
	if b, err := s.ReadFile("/proc/1/cgroup"); err == nil {
		if own, ok := ParseCgroupPaths(b)[key]; ok {
			p = own
		}
	}
	for ; ; p = path.Dir(p) {
		files = append(files, path.Join(point, p, name))
		if p == "/" {
			return files, v2
		}
	}
}

// readMemoryLimit returns the smallest memory limit, in bytes; unknown means none.
func readMemoryLimit(s *System) Known[uint64] {
	var least Known[uint64]
	files, _ := cgroupFiles(s, "memory", "memory.limit_in_bytes", "memory.max")
	for _, file := range files {
		b, err := s.ReadFile(file)
		if err != nil {
			continue
		}
		if l := ParseMemoryLimit(b); l.OK && (!least.OK || l.Value < least.Value) {
			least = l
		}
	}
	return least
}

// readCPUQuota returns the smallest CPU quota, in CPUs; unknown means none.
func readCPUQuota(s *System) Known[float64] {
	var least Known[float64]
	files, v2 := cgroupFiles(s, "cpu", "cpu.cfs_quota_us", "cpu.max")
	for _, file := range files {
		b, err := s.ReadFile(file)
		if err != nil {
			continue
		}
		q := ParseCPUMax(b)
		if !v2 {
			q = cpuQuota(strings.TrimSpace(string(b)), s.line(path.Join(path.Dir(file), "cpu.cfs_period_us")))
		}
		if q.OK && (!least.OK || q.Value < least.Value) {
			least = q
		}
	}
	return least
}

func sorted(names []string) []string {
	if names == nil {
		names = []string{}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

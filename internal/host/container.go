package host

import (
	"bytes"
	"strings"
)

// readContainers returns the containers that we are in, innermost first. The second result says whether their absence
// was seen, rather than nothing at all.
func readContainers(s *System, wsl1 bool) ([]Layer, bool) {
	named := containerName(s.line("/run/systemd/container"))
	env, envErr := s.ReadFile("/proc/1/environ") // needs root
	if named == "" {
		named = containerName(ParseContainerVar(env))
	}
	groups, groupErr := s.ReadFile("/proc/1/cgroup")
	grouped := ParseCgroupContainer(groups)
	table, mountErr := readMounts(s)

	var names []string
	add := func(name string) {
		for _, n := range names {
			if n == name {
				return
			}
		}
		names = append(names, name)
	}
	if s.has("/.dockerenv") {
		add("docker")
	}
	if s.has("/run/.containerenv") {
		add("podman")
	}
	for _, name := range []string{named, grouped} {
		if name != "" && name != "lxc" && name != "wsl" { // lxc is never the inner one of two
			add(name)
		}
	}
	if root, ok := table.at("/"); ok && len(names) == 0 && root.Type == "overlay" {
		if name := overlayOwner(root.Super); name != "" {
			add(name)
		}
	}
	if named == "lxc" || grouped == "lxc" || hasLXCFS(table) {
		add("lxc")
	}
	if s.has("/proc/vz") && !s.has("/proc/bc") { // the host of such containers has both
		add("openvz")
	}
	if wsl1 {
		add("wsl1")
	}
	var layers []Layer
	for _, n := range names {
		layers = append(layers, Layer{Kind: LayerContainer, Name: n})
	}
	return layers, envErr == nil || groupErr == nil || mountErr == nil
}

// containerName keeps a name that a container manager gave itself only if it has the form of one.
func containerName(name string) string {
	name = strings.ToLower(name)
	switch {
	case name == "" || len(name) > 32:
		return ""
	case strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789-_.") != "":
		return ""
	case name == "lxc-libvirt" || name == "lxd" || name == "incus":
		return "lxc"
	case name == "oci":
		return "other"
	}
	return name
}

// ParseContainerVar returns the value of the variable "container" in an environ file, which container managers give pid
// 1. All other variables are left alone: they may be secret.
func ParseContainerVar(b []byte) string {
	for v := range bytes.SplitSeq(b, []byte{0}) {
		if name, ok := bytes.CutPrefix(v, []byte("container=")); ok {
			return strings.TrimSpace(string(name))
		}
	}
	return ""
}

// ParseCgroupContainer names the container that the cgroup path of pid 1 shows, where it has no cgroup namespace.
func ParseCgroupContainer(b []byte) string {
	for line := range strings.Lines(string(b)) {
		switch {
		case strings.Contains(line, "kubepods"):
			return "kubernetes"
		case strings.Contains(line, "/docker/"), strings.Contains(line, "/docker-"):
			return "docker"
		case strings.Contains(line, "/libpod"):
			return "podman"
		case strings.Contains(line, ":/lxc/"), strings.Contains(line, ":/lxc.payload"):
			return "lxc"
		}
	}
	return ""
}

// overlayOwner names the engine by the folder in which it keeps its layers.
func overlayOwner(super []string) string {
	for _, o := range super {
		switch {
		case !strings.HasPrefix(o, "upperdir="):
		case strings.Contains(o, "/docker/"):
			return "docker"
		case strings.Contains(o, "/containers/storage/"):
			return "podman"
		case strings.Contains(o, "containerd"):
			return "containerd"
		}
	}
	return ""
}

// hasLXCFS tells of lxcfs, which shows LXC containers their own /proc/meminfo.
func hasLXCFS(table mounts) bool {
	for _, m := range table {
		if m.Type == "fuse.lxcfs" && strings.HasPrefix(m.Point, "/proc/") {
			return true
		}
	}
	return false
}

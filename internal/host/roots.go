package host

import (
	"context"
	"slices"
	"strings"
)

// Roots tells which of the folders of the system that an install writes to, or would like to, are read-only.
type Roots struct {
	ReadOnly  map[string]bool `json:"read_only"` // "/", "/usr", "/usr/local/bin", "/opt/bin", "/etc", "/etc/systemd/system", "/var"; null: unknown
	Shared    Known[bool]     `json:"shared"`    // whether "/" is a shared mount: else what the kubelet mounts does not reach containers
	Immutable string          `json:"immutable"` // what makes the system change only as a whole: "ostree", "transactional", "nix", "flatcar"; ""
}

func rootsProbe() Probe {
	return Probe{Name: "roots", Run: func(_ context.Context, s *System) (Part, error) {
		var r Roots
		table, _ := readMounts(s) // the cgroup probe tells of the error
		for _, dir := range []string{"/", "/usr", "/usr/local/bin", "/opt/bin", "/etc", "/etc/systemd/system", "/var"} {
			at := s.resolve(dir) // on ostree /usr is read-only, but /usr/local leads to /var
			m, ok := table.holding(at)
			nix := strings.HasPrefix(at, "/nix/store/") // made anew with each generation, whatever the mount says
			if !ok && !nix {
				continue
			}
			if r.ReadOnly == nil {
				r.ReadOnly = map[string]bool{}
			}
			r.ReadOnly[dir] = nix || m.ReadOnly
		}
		if m, ok := table.at("/"); ok {
			r.Shared = Is(m.Shared)
		}
		o, _ := readOS(s) // its own probe tells of the error
		r.Immutable = immutable(s, o, r.ReadOnly["/"])
		return func(f *Facts) { f.Roots = r }, nil
	}}
}

// immutable names what changes the system as a whole. That transactional-update is installed says nothing on a system
// whose root can be written.
func immutable(s *System, o OS, readOnly bool) string {
	micro := slices.Contains([]string{"sle-micro", "sl-micro", "opensuse-microos", "opensuse-leap-micro"}, o.ID)
	switch {
	case s.has("/run/ostree-booted"), o.Ostree != "":
		return "ostree"
	case o.ID == "flatcar":
		return "flatcar"
	case o.ID == "nixos", s.has("/etc/NIXOS"):
		return "nix"
	case micro, readOnly && hasCommand(s, "transactional-update"):
		return "transactional"
	}
	return ""
}

// hasCommand tells whether a program is in root's PATH.
func hasCommand(s *System, name string) bool {
	if _, ok := s.Snapshot().Commands[name]; ok {
		return true
	}
	return findCommand(s, name) != ""
}

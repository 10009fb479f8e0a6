package host

import (
	"fmt"
	"path"
	"slices"

	"github.com/pipeopshq/pipeops-agent/internal/mounttable"
)

type mount = mounttable.Mount

// mounts is the mount table; later entries lie on top of earlier ones.
type mounts []mount

func readMounts(s *System) (mounts, error) {
	b, err := s.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("cannot read the mount table: %w", err)
	}
	all, _ := mounttable.Parse(b) // lines of a damaged capture are left out
	return all, nil
}

// at returns the topmost mount at exactly this point.
func (ms mounts) at(point string) (mount, bool) {
	for _, m := range slices.Backward(ms) {
		if m.Point == point {
			return m, true
		}
	}
	return mount{}, false
}

// holding returns the mount that a path lies on.
func (ms mounts) holding(p string) (mount, bool) {
	for p = path.Clean(p); ; p = path.Dir(p) {
		if m, ok := ms.at(p); ok {
			return m, true
		}
		if p == "/" || p == "." {
			return mount{}, false
		}
	}
}

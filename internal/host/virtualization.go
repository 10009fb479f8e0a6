package host

import (
	"context"
	"strings"
)

// Virtualization is what lies between the programs and the hardware.
type Virtualization struct {
	Stack         []Layer     `json:"stack"`          // innermost first: docker, lxc, kvm; empty is bare metal; null: unknown
	WSL           Known[int]  `json:"wsl"`            // 1 or 2; 0 is none
	UserNamespace Known[bool] `json:"user_namespace"` // whether our user ids are not those of the machine outside
}

// Layer is one layer of the stack.
type Layer struct {
	Kind string `json:"kind"` // LayerContainer or LayerVM
	Name string `json:"name"` // "docker", "podman", "lxc", "systemd-nspawn", "openvz", "wsl1"; "kvm", "wsl2", "amazon"; "other"
}

// The kinds of layers.
const (
	LayerContainer = "container"
	LayerVM        = "vm"
)

// Container returns the innermost container, if there is one.
func (v Virtualization) Container() (string, bool) {
	for _, l := range v.Stack {
		if l.Kind == LayerContainer {
			return l.Name, true
		}
	}
	return "", false
}

// Has reports whether the stack has a layer of this name.
func (v Virtualization) Has(name string) bool {
	for _, l := range v.Stack {
		if l.Name == name {
			return true
		}
	}
	return false
}

func virtualizationProbe() Probe {
	return Probe{Name: "virtualization", Run: func(_ context.Context, s *System) (Part, error) {
		v := Virtualization{WSL: readWSL(s)}
		if b, err := s.ReadFile("/proc/self/uid_map"); err == nil {
			v.UserNamespace = Is(!ParseWholeIDMap(b))
		}
		containers, sure := readContainers(s, v.WSL.Value == 1)
		vms, known := readVMs(s, v.WSL.Value)
		if len(containers) > 0 || len(vms) > 0 || sure && known {
			v.Stack = append(append([]Layer{}, containers...), vms...)
		}
		return func(f *Facts) { f.Virtualization = v }, nil
	}}
}

// ParseWholeIDMap reports whether a uid_map maps every id to itself: "0 0 4294967295".
func ParseWholeIDMap(b []byte) bool {
	f := strings.Fields(string(b))
	return len(f) == 3 && f[0] == "0" && f[1] == "0" && f[2] == "4294967295"
}

package host

import "context"

// Roots tells which of the folders of the system that an install writes to, or would like to, are read-only.
type Roots struct {
	ReadOnly  map[string]bool `json:"read_only"` // "/", "/usr", "/usr/local/bin", "/opt/bin", "/etc", "/etc/systemd/system", "/var"; null: unknown
	Shared    Known[bool]     `json:"shared"`    // whether "/" is a shared mount: else what the kubelet mounts does not reach containers
	Immutable string          `json:"immutable"` // what makes the system change only as a whole: "ostree", "transactional", "nix", "flatcar"; ""
}

func rootsProbe() Probe {
	return Probe{Name: "roots", Run: func(_ context.Context, s *System) (Part, error) {
		return nil, nil
	}}
}

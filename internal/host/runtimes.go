package host

import "context"

// Runtime is a container runtime or engine.
type Runtime struct {
	Name     string       `json:"name"` // "containerd", "docker", "podman", "cri-o"
	State    ClusterState `json:"state"`
	Socket   string       `json:"socket,omitzero"`
	Evidence []string     `json:"evidence"`
}

func runtimesProbe() Probe {
	return Probe{Name: "runtimes", Run: func(_ context.Context, s *System) (Part, error) {
		return nil, nil
	}}
}

package host

import "context"

// Neighbour is something else that lives on this machine and must go on working.
type Neighbour struct {
	Kind     string `json:"kind"` // "panel", "web", "swarm", "network"
	Name     string `json:"name"` // "cpanel", "nginx", "docker swarm", "networkmanager"
	Evidence string `json:"evidence"`
}

func neighboursProbe() Probe {
	return Probe{Name: "neighbours", Run: func(_ context.Context, s *System) (Part, error) {
		return nil, nil
	}}
}

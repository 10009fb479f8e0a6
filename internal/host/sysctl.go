package host

import "context"

// Sysctl is kernel settings.
type Sysctl struct {
	Values   map[string]string `json:"values"`   // by name, "vm.overcommit_memory": "1"; null: unknown
	Writable map[string]bool   `json:"writable"` // whether the file could be opened for writing (nothing is written); null: unknown
}

func sysctlProbe() Probe {
	return Probe{Name: "sysctl", Run: func(_ context.Context, s *System) (Part, error) {
		return nil, nil
	}}
}

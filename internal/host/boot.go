package host

import "context"

// Boot is what the kernel was told when it was started.
type Boot struct {
	Cgroup       []string    `json:"cgroup"`        // words of the kernel command line about cgroups; null: unknown
	RebootNeeded Known[bool] `json:"reboot_needed"` // whether the package manager asks for a reboot
}

func bootProbe() Probe {
	return Probe{Name: "boot", Run: func(_ context.Context, s *System) (Part, error) {
		return nil, nil
	}}
}

package host

import "context"

// LSM is what the Linux security modules are set to.
type LSM struct {
	Active   []string    `json:"active"`   // in their order; null: unknown
	AppArmor Known[bool] `json:"apparmor"` // enabled in the kernel; a container may see it without being able to use it
	SELinux  string      `json:"selinux"`  // "enforcing", "permissive", "disabled"; "" is unknown
}

func lsmProbe() Probe {
	return Probe{Name: "lsm", Run: func(_ context.Context, s *System) (Part, error) {
		return nil, nil
	}}
}

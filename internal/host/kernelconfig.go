package host

import "context"

// KernelConfig is how the running kernel was built. Many kernels do not tell, and what they tell is only a hint.
type KernelConfig struct {
	Source  string            `json:"source"`  // path of the file that was read; "" is unknown
	Options map[string]string `json:"options"` // of those that Kubernetes needs: "y", "m" or "n"; null: unknown
}

func kernelConfigProbe() Probe {
	return Probe{Name: "kernel-config", Run: func(_ context.Context, s *System) (Part, error) {
		return nil, nil
	}}
}

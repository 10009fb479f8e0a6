package host

import "context"

// Entropy tells whether the kernel's random numbers are ready. Kernels before 5.6 let programs wait for them.
type Entropy struct {
	Ready Known[bool] `json:"ready"`
}

func entropyProbe() Probe {
	return Probe{Name: "entropy", Run: func(_ context.Context, s *System) (Part, error) {
		e := s.Snapshot().Entropy
		if s.Live() {
			e.Ready = liveRandom()
		}
		return func(f *Facts) { f.Entropy = e }, nil
	}}
}

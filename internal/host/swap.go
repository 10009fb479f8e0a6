package host

import "context"

// Swap is memory on disk, or compressed.
type Swap struct {
	Total      Known[uint64] `json:"total"`      // bytes
	Zram       Known[bool]   `json:"zram"`       // whether all of it is compressed memory
	Controller Known[bool]   `json:"controller"` // whether the cgroups can limit swap
}

func swapProbe() Probe {
	return Probe{Name: "swap", Run: func(_ context.Context, s *System) (Part, error) {
		return nil, nil
	}}
}

package host

import "context"

// Inotify is how many watches on files there may be for each user.
type Inotify struct {
	MaxInstances  Known[int64] `json:"max_instances"`
	MaxWatches    Known[int64] `json:"max_watches"`
	UsedInstances Known[int64] `json:"used_instances"` // by all processes that we can see
}

func inotifyProbe() Probe {
	return Probe{Name: "inotify", Run: func(_ context.Context, s *System) (Part, error) {
		return nil, nil
	}}
}

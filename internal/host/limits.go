package host

import "context"

// Limits bound what processes may use.
type Limits struct {
	OpenFiles  Known[uint64] `json:"open_files"` // RLIMIT_NOFILE of pid 1, hard
	PIDMax     Known[uint64] `json:"pid_max"`
	ThreadsMax Known[uint64] `json:"threads_max"`
	PIDsLimit  Known[uint64] `json:"pids_limit"` // of the cgroup of pid 1; unknown means none
}

func limitsProbe() Probe {
	return Probe{Name: "limits", Run: func(_ context.Context, s *System) (Part, error) {
		return nil, nil
	}}
}

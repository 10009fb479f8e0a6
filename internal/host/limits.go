package host

import (
	"bytes"
	"context"
	"math"
	"strconv"
	"strings"
)

// Limits bound what processes may use.
type Limits struct {
	OpenFiles  Known[uint64] `json:"open_files"` // RLIMIT_NOFILE of pid 1, hard; the largest number means no limit
	PIDMax     Known[uint64] `json:"pid_max"`
	ThreadsMax Known[uint64] `json:"threads_max"`
	PIDsLimit  Known[uint64] `json:"pids_limit"` // of the cgroup of pid 1; unknown means none
}

func limitsProbe() Probe {
	return Probe{Name: "limits", Run: func(_ context.Context, s *System) (Part, error) {
		l := Limits{PIDMax: s.size("/proc/sys/kernel/pid_max"), ThreadsMax: s.size("/proc/sys/kernel/threads-max"), PIDsLimit: readPIDsLimit(s)}
		if b, err := s.ReadFile("/proc/1/limits"); err == nil {
			l.OpenFiles = ParseOpenFiles(b)
		}
		return func(f *Facts) { f.Limits = l }, nil
	}}
}

// ParseOpenFiles returns the hard limit of open files in /proc/PID/limits.
func ParseOpenFiles(b []byte) Known[uint64] {
	for line := range bytes.Lines(b) {
		rest, ok := bytes.CutPrefix(line, []byte("Max open files"))
		if !ok {
			continue
		}
		f := strings.Fields(string(rest[:min(len(rest), maxText)])) // soft hard unit
		if len(f) < 2 {
			break
		}
		if f[1] == "unlimited" {
			return Is[uint64](math.MaxUint64)
		}
		if n, err := strconv.ParseUint(f[1], 10, 64); err == nil {
			return Is(n)
		}
		break
	}
	return Known[uint64]{}
}

// readPIDsLimit returns the smallest limit of processes; "max" is none.
func readPIDsLimit(s *System) Known[uint64] {
	var least Known[uint64]
	files, _ := cgroupFiles(s, "pids", "pids.max", "pids.max")
	for _, file := range files {
		if n := s.size(file); n.OK && (!least.OK || n.Value < least.Value) {
			least = n
		}
	}
	return least
}

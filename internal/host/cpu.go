package host

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/shirou/gopsutil/v4/cpu"
)

// CPU is the processing power that the machine may use.
type CPU struct {
	Count Known[int]     `json:"count"` // CPUs that a process may run on
	Quota Known[float64] `json:"quota"` // CPUs that the cgroup of pid 1 allows; null when it sets no limit
}

// Usable is the smaller of count and quota.
func (c CPU) Usable() Known[float64] {
	n, ok := c.Count.Get()
	if q, limited := c.Quota.Get(); limited && (!ok || q < float64(n)) {
		return Is(q)
	}
	return Known[float64]{Value: float64(n), OK: ok}
}

func cpuProbe() Probe {
	return Probe{Name: "cpu", Run: func(ctx context.Context, s *System) (Part, error) {
		c := CPU{Count: s.Snapshot().CPUs}
		var err error
		switch {
		case s.Live():
			c.Count = Is(liveCPUs())
		case !c.Count.OK:
			var n int
			if n, err = cpu.CountsWithContext(s.gopsutil(ctx), true); err != nil {
				err = fmt.Errorf("cannot count the CPUs: %w", err)
			} else if n > 0 {
				c.Count = Is(n)
			}
		}
		c.Quota = readCPUQuota(s)
		return func(f *Facts) { f.CPU = c }, err
	}}
}

// ParseCPUMax returns the CPUs that a cgroup v2 cpu.max file allows; unknown means no limit.
func ParseCPUMax(b []byte) Known[float64] {
	fields := strings.Fields(string(b))
	if len(fields) != 2 {
		return Known[float64]{}
	}
	return cpuQuota(fields[0], fields[1])
}

// cpuQuota divides a quota by a period, both in microseconds. "max" and -1 are no limit.
func cpuQuota(quota, period string) Known[float64] {
	q, err1 := strconv.ParseInt(quota, 10, 64)
	p, err2 := strconv.ParseInt(period, 10, 64)
	if err1 != nil || err2 != nil || q <= 0 || p <= 0 {
		return Known[float64]{}
	}
	return Is(float64(q) / float64(p))
}

package host

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/shirou/gopsutil/v4/mem"
)

// Memory is in bytes.
type Memory struct {
	Total     Known[uint64] `json:"total_bytes"`
	Available Known[uint64] `json:"available_bytes"`
	Limit     Known[uint64] `json:"limit_bytes"` // of the cgroup of pid 1; null when it sets none
	Swap      Known[uint64] `json:"swap_bytes"`
}

// Usable is the smaller of total and limit: a container may see the memory of its host and get a part of it.
func (m Memory) Usable() Known[uint64] {
	if l, ok := m.Limit.Get(); ok && (!m.Total.OK || l < m.Total.Value) {
		return Is(l)
	}
	return m.Total
}

func memoryProbe() Probe {
	return Probe{Name: "memory", Run: func(ctx context.Context, s *System) (Part, error) {
		var m Memory
		s.witness("/proc/meminfo")
		v, err := mem.VirtualMemoryWithContext(s.gopsutil(ctx))
		switch {
		case err != nil:
			err = fmt.Errorf("cannot read the memory: %w", err)
		case v.Total != 0:
			m.Total, m.Available, m.Swap = Is(v.Total), Is(v.Available), Is(v.SwapTotal)
		}
		m.Limit = readMemoryLimit(s)
		return func(f *Facts) { f.Memory = m }, err
	}}
}

// ParseMemoryLimit returns the bytes that a cgroup's memory.max or memory.limit_in_bytes allows; unknown means no limit.
func ParseMemoryLimit(b []byte) Known[uint64] {
	n, err := strconv.ParseUint(strings.TrimSpace(string(b)), 10, 64)
	// v1 has no word for "no limit": it shows the largest page-aligned int64
	if err != nil || n == 0 || n >= 1<<60 {
		return Known[uint64]{}
	}
	return Is(n)
}

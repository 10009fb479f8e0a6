package host

import (
	"context"
	"strconv"
	"strings"
)

// Kernel is the running kernel.
type Kernel struct {
	Release string `json:"release"` // "6.1.0-28-amd64"; "" is unknown
	Major   int    `json:"major"`   // 0 with an unknown release
	Minor   int    `json:"minor"`
	// SysctlReadOnly tells whether /proc/sys is mounted read-only, as containers often have it.
	SysctlReadOnly Known[bool] `json:"sysctl_read_only"`
}

// AtLeast compares the version by its numbers; it is unknown if the release is.
func (k Kernel) AtLeast(major, minor int) Known[bool] {
	if k.Major == 0 {
		return Known[bool]{}
	}
	return Is(k.Major > major || k.Major == major && k.Minor >= minor)
}

func kernelProbe() Probe {
	return Probe{Name: "kernel", Run: func(_ context.Context, s *System) (Part, error) {
		var k Kernel
		var err error
		k.Release, err = readRelease(s)
		k.Major, k.Minor = ParseKernelRelease(k.Release)
		if mounts, e := readMounts(s); e == nil {
			if m, ok := mounts.holding("/proc/sys/vm"); ok {
				k.SysctlReadOnly = Is(m.ReadOnly)
			}
		}
		return func(f *Facts) { f.Kernel = k }, err
	}}
}

// readRelease returns the release of the running kernel; "" is unknown.
func readRelease(s *System) (string, error) {
	release := s.Snapshot().Uname.Release
	var err error
	if s.Live() {
		var u Uname
		u, err = liveUname()
		release = u.Release
	}
	if release == "" {
		release = s.line("/proc/sys/kernel/osrelease")
	}
	return clean(release), err
}

// releasePath tells whether a release can be part of a path: the kernel lets its builder choose it.
func releasePath(release string) bool {
	return release != "" && release[0] != '.' && !strings.ContainsAny(release, "/\\")
}

// ParseKernelRelease returns the first two numbers of a release such as "4.18.0-553.el8.x86_64", or zeros.
func ParseKernelRelease(release string) (major, minor int) {
	first, rest, ok := strings.Cut(release, ".")
	if !ok {
		return 0, 0
	}
	end := strings.IndexFunc(rest, func(r rune) bool { return r < '0' || r > '9' })
	if end >= 0 {
		rest = rest[:end]
	}
	major, err := strconv.Atoi(first)
	if err != nil || major < 0 {
		return 0, 0
	}
	if minor, err = strconv.Atoi(rest); err != nil {
		return 0, 0
	}
	return major, minor
}

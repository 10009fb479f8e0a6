package host

import "strings"

// readWSL returns 1 or 2 in the Windows Subsystem for Linux, else 0.
func readWSL(s *System) Known[int] {
	release := s.line("/proc/sys/kernel/osrelease")
	if release == "" {
		release = s.Snapshot().Uname.Release
	}
	if release == "" && s.Live() {
		if u, err := liveUname(); err == nil {
			release = u.Release
		}
	}
	// with a kernel of the user's own only the interpreter for Windows programs gives it away
	interop := s.has("/proc/sys/fs/binfmt_misc/WSLInterop") || s.has("/proc/sys/fs/binfmt_misc/WSLInterop-late") || s.has("/run/WSL")
	if release == "" && !interop {
		return Known[int]{}
	}
	return Is(ParseWSL(release, interop))
}

// ParseWSL judges a kernel release: WSL 1 shows "4.4.0-19041-Microsoft" and has no Linux kernel behind it; WSL 2 runs
// one, 4.19 or later, and says "microsoft-standard" unless the user built another.
func ParseWSL(release string, interop bool) int {
	named := strings.Contains(strings.ToLower(release), "microsoft")
	major, minor := ParseKernelRelease(release)
	switch {
	case !named && !interop:
		return 0
	case strings.Contains(release, "WSL2"), major > 4, major == 4 && minor >= 19:
		return 2
	case named:
		return 1
	}
	return 2
}

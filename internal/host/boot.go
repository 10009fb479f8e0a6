package host

import (
	"context"
	"strings"
)

// Boot is what the kernel was told when it was started.
type Boot struct {
	Cgroup []string `json:"cgroup"` // words of the kernel command line about cgroups; null: unknown
	// RebootNeeded tells whether the package manager asks for a reboot. That it does not is unknown in families whose
	// package manager never asks.
	RebootNeeded Known[bool] `json:"reboot_needed"`
}

// cmdline is what the boot loader told the kernel. It may hold anything, keys of encrypted disks among it.
const cmdline = "/proc/cmdline"

func bootProbe() Probe {
	return Probe{Name: "boot", Run: func(_ context.Context, s *System) (Part, error) {
		var boot Boot
		b, err := s.ReadFile(cmdline)
		if err == nil {
			boot.Cgroup = ParseCgroupWords(b)
		}
		o, _ := readOS(s) // its own probe tells of the error
		boot.RebootNeeded = readRebootNeeded(s, o)
		return func(f *Facts) { f.Boot = boot }, nil
	}}
}

// ParseCgroupWords returns the words of a kernel command line that decide on control groups.
func ParseCgroupWords(b []byte) []string {
	all := []string{}
	for w := range strings.FieldsSeq(string(b[:min(len(b), 64<<10)])) { // the kernel takes 4 KiB at most
		lower := strings.ToLower(w)
		for _, start := range []string{"cgroup", "systemd.unified_cgroup", "systemd.legacy_systemd_cgroup", "systemd_cgroup", "swapaccount="} {
			if w = clean(w); strings.HasPrefix(lower, start) && len(all) < maxWords {
				all = append(all, w)
				break
			}
		}
	}
	return all
}

// readRebootNeeded looks for the mark that apt and zypper leave.
func readRebootNeeded(s *System, o OS) Known[bool] {
	sure := o.Family == "debian" || o.Family == "suse"
	for _, path := range []string{"/run/reboot-required", "/var/run/reboot-required", "/run/reboot-needed"} {
		there := s.sought(path)
		if there.Value {
			return there
		}
		sure = sure && there.OK
	}
	return Known[bool]{OK: sure}
}

package host

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// kernel groups what matters about the kernel; most bounds lists.
func (f Facts) kernel(most func(int) int) section {
	s := section{title: "Kernel"}
	s.add("Release", or(f.Kernel.Release, unknownText))
	s.add("Cgroups", f.Cgroup.text())
	s.add("Modules", f.Modules.text(most(maxShown)))
	s.add("Security", f.LSM.text())
	if f.Kernel.SysctlReadOnly.Value {
		s.add("Settings", "/proc/sys is read-only")
	}
	s.add("Limits", f.limits())
	s.add("iptables", f.IPTables.text())
	if ready, known := f.Entropy.Ready.Get(); known && !ready {
		s.add("Entropy", "the random numbers are not ready")
	}
	return s
}

func (c Cgroup) text() string {
	s := or(c.Version, unknownText)
	if c.ReadOnly.Value {
		s += ", read-only"
	}
	if c.Controllers == nil {
		return s
	}
	var missing []string
	for _, name := range []string{"cpu", "cpuset", "memory", "pids"} { // without which no kubelet starts
		if !slices.Contains(c.Controllers, name) {
			missing = append(missing, name)
		}
	}
	return s + before(", without ", strings.Join(missing, ", "))
}

func (m Modules) text(most int) string {
	if ok, known := m.Present.Get(); known && !ok && len(m.States) == 0 {
		return "those of the running kernel are not here"
	}
	var missing []string
	for _, name := range slices.Sorted(maps.Keys(m.States)) {
		if m.States[name] == "missing" {
			missing = append(missing, name)
		}
	}
	return before("missing: ", few(missing, most))
}

func (l LSM) text() string {
	var parts []string
	if l.SELinux == "enforcing" || l.SELinux == "permissive" {
		parts = append(parts, "SELinux "+l.SELinux)
	}
	if l.AppArmor.Value {
		parts = append(parts, "AppArmor")
	}
	return strings.Join(parts, ", ")
}

func (f Facts) limits() string {
	var parts []string
	if n, ok := f.Inotify.MaxInstances.Get(); ok {
		s := fmt.Sprintf("%d inotify instances", n)
		if used, ok := f.Inotify.UsedInstances.Get(); ok {
			s += fmt.Sprintf(" (%d used)", used)
		}
		parts = append(parts, s)
	}
	if n, ok := f.Keyring.MaxKeys.Get(); ok {
		parts = append(parts, fmt.Sprintf("%d keys", n))
	}
	if n, ok := f.Limits.PIDsLimit.Get(); ok {
		parts = append(parts, fmt.Sprintf("%d processes", n))
	}
	return strings.Join(parts, ", ")
}

func (t IPTables) text() string {
	s := strings.TrimSpace(t.Version + " " + t.Backend)
	if s == "" {
		return ""
	}
	if t.Legacy.Value {
		s += ", with rules of the legacy back end in force"
	}
	return s
}

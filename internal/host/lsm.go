package host

import (
	"bytes"
	"context"
	"slices"
	"strings"
)

// LSM is what the Linux security modules are set to.
type LSM struct {
	Active   []string    `json:"active"`   // in their order; null: unknown
	AppArmor Known[bool] `json:"apparmor"` // enabled in the kernel; a container may see it without being able to use it
	SELinux  string      `json:"selinux"`  // "enforcing", "permissive", "disabled"; "" is unknown
}

func lsmProbe() Probe {
	return Probe{Name: "lsm", Run: func(_ context.Context, s *System) (Part, error) {
		l := readLSM(s)
		return func(f *Facts) { f.LSM = l }, nil
	}}
}

func readLSM(s *System) LSM {
	var l LSM
	if list := s.line("/sys/kernel/security/lsm"); list != "" {
		l.Active = words(strings.ReplaceAll(list, ",", " "))
	}
	switch s.line("/sys/module/apparmor/parameters/enabled") {
	case "Y":
		l.AppArmor = Is(true)
	case "N":
		l.AppArmor = Is(false)
	default:
		if l.Active != nil {
			l.AppArmor = Is(slices.Contains(l.Active, "apparmor"))
		}
	}
	switch s.line("/sys/fs/selinux/enforce") {
	case "1":
		l.SELinux = "enforcing"
	case "0":
		l.SELinux = "permissive"
	default:
		// containers are not shown the folder; the kernel has the file system only while SELinux is on
		if b, err := s.ReadFile("/proc/filesystems"); err == nil && len(b) > 0 && !ParseFilesystems(b)["selinuxfs"] ||
			l.Active != nil && !slices.Contains(l.Active, "selinux") {
			l.SELinux = "disabled"
		}
	}
	return l
}

// ParseFilesystems returns the types in /proc/filesystems, of which those without a device have "nodev" before them.
func ParseFilesystems(b []byte) map[string]bool {
	types := map[string]bool{}
	for line := range bytes.Lines(b) {
		if f := strings.Fields(string(line[:min(len(line), maxText)])); len(f) > 0 && len(types) < 4*maxWords {
			types[f[len(f)-1]] = true
		}
	}
	return types
}

package host

import (
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
)

// mount is one line of /proc/self/mountinfo.
type mount struct {
	Device   string // "8:1"
	Root     string // of the mounted tree in its file system: not "/" for a bind mount
	Point    string
	Type     string
	Source   string
	ReadOnly bool     // of the mount or of its file system
	NoExec   bool     // no program is started from it
	Shared   bool     // what is mounted below it shows in other namespaces
	Super    []string // options of the file system
}

// mounts is the mount table; later entries lie on top of earlier ones.
type mounts []mount

func readMounts(s *System) (mounts, error) {
	b, err := s.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("cannot read the mount table: %w", err)
	}
	return parseMountinfo(b), nil
}

// parseMountinfo reads the format of proc_pid_mountinfo(5). Lines that do not have it are left out.
func parseMountinfo(b []byte) mounts {
	var all mounts
	for line := range strings.Lines(string(b)) {
		fields := strings.Fields(line)
		sep := slices.Index(fields, "-")
		if sep < 6 || len(fields) < sep+3 {
			continue
		}
		m := mount{Device: fields[2], Root: unescape(fields[3]), Point: unescape(fields[4]), Type: fields[sep+1], Source: unescape(fields[sep+2])}
		if len(fields) > sep+3 {
			m.Super = strings.Split(fields[sep+3], ",")
		}
		m.Shared = slices.ContainsFunc(fields[6:sep], func(f string) bool { return strings.HasPrefix(f, "shared:") })
		m.NoExec = slices.Contains(strings.Split(fields[5], ","), "noexec")
		m.ReadOnly = slices.Contains(strings.Split(fields[5], ","), "ro") || slices.Contains(m.Super, "ro")
		all = append(all, m)
	}
	return all
}

// at returns the topmost mount at exactly this point.
func (ms mounts) at(point string) (mount, bool) {
	for _, m := range slices.Backward(ms) {
		if m.Point == point {
			return m, true
		}
	}
	return mount{}, false
}

// holding returns the mount that a path lies on.
func (ms mounts) holding(p string) (mount, bool) {
	for p = path.Clean(p); ; p = path.Dir(p) {
		if m, ok := ms.at(p); ok {
			return m, true
		}
		if p == "/" || p == "." {
			return mount{}, false
		}
	}
}

// unescape undoes the octal escapes of space, tab, newline and backslash.
func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var out strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				out.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		out.WriteByte(s[i])
	}
	return out.String()
}

package host

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"strings"
)

// OS is the operating system as its os-release file names it.
type OS struct {
	Kind     string   `json:"kind"`           // "linux"
	ID       string   `json:"id"`             // "debian"; "" is unknown
	Like     []string `json:"like,omitempty"` // ID_LIKE, nearest first
	Version  string   `json:"version"`        // VERSION_ID
	Name     string   `json:"name"`           // PRETTY_NAME
	Codename string   `json:"codename,omitzero"`
	Variant  string   `json:"variant,omitzero"` // VARIANT_ID
	Ostree   string   `json:"ostree,omitzero"`  // OSTREE_VERSION
	Doubt    string   `json:"doubt,omitzero"`   // what contradicts the file; "" is nothing
	Family   string   `json:"family"`           // "debian", "rhel", "suse", "arch", "alpine" or the ID itself
}

func osProbe() Probe {
	return Probe{Name: "os", Run: func(_ context.Context, s *System) (Part, error) {
		o := OS{Kind: "linux"}
		if s.Live() {
			o.Kind = runtime.GOOS
		}
		var err error
		for _, path := range []string{"/etc/os-release", "/usr/lib/os-release"} {
			var b []byte
			if b, err = s.ReadFile(path); err != nil {
				continue
			}
			if v := ParseOSRelease(b); v.ID != "" || v.Name != "" { // an empty file has been seen
				v.Kind = o.Kind
				return func(f *Facts) { f.OS = v }, nil
			}
		}
		if err != nil {
			err = fmt.Errorf("cannot read os-release: %w", err)
		}
		return func(f *Facts) { f.OS = o }, err
	}}
}

// ParseOSRelease reads an os-release file. It is written as shell assignments, but never run as such.
func ParseOSRelease(b []byte) OS {
	var o OS
	for line := range strings.Lines(string(b)) {
		key, value, ok := strings.Cut(strings.TrimSpace(line), "=")
		if !ok || strings.HasPrefix(key, "#") {
			continue
		}
		value = unquote(value)
		switch key {
		case "ID":
			o.ID = strings.ToLower(value)
		case "ID_LIKE":
			o.Like = strings.Fields(strings.ToLower(value))
		case "VERSION_ID":
			o.Version = value
		case "PRETTY_NAME":
			o.Name = value
		case "VERSION_CODENAME":
			o.Codename = value
		case "VARIANT_ID":
			o.Variant = value
		case "OSTREE_VERSION":
			o.Ostree = value
		}
	}
	o.Family = family(o.ID, o.Like)
	return o
}

// family finds the family: the id itself comes before ID_LIKE, of which openSUSE has two.
func family(id string, like []string) string {
	for _, name := range append([]string{id}, like...) {
		switch {
		case name == "ubuntu":
			return "debian"
		case name == "fedora", name == "centos":
			return "rhel"
		case strings.HasPrefix(name, "opensuse"), name == "sles":
			return "suse"
		case slices.Contains([]string{"debian", "rhel", "suse", "arch", "alpine"}, name):
			return name
		}
	}
	return id
}

// unquote undoes the quoting that os-release(5) allows.
func unquote(s string) string {
	if len(s) >= 2 && (s[0] == '"' || s[0] == '\'') && s[len(s)-1] == s[0] {
		q := s[0]
		s = s[1 : len(s)-1]
		if q == '\'' {
			return s
		}
	}
	var out strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) {
			i++
		}
		out.WriteByte(s[i])
	}
	return out.String()
}

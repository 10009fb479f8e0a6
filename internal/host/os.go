package host

import (
	"context"
	"fmt"
	"runtime"
	"strings"
)

// OS is the operating system as its os-release file names it.
type OS struct {
	Kind     string   `json:"kind"`           // "linux", "darwin"
	ID       string   `json:"id"`             // "debian"; "" is unknown
	Like     []string `json:"like,omitempty"` // ID_LIKE, nearest first
	Version  string   `json:"version"`        // VERSION_ID
	Name     string   `json:"name"`           // PRETTY_NAME
	Codename string   `json:"codename,omitzero"`
	Variant  string   `json:"variant,omitzero"` // VARIANT_ID
	Ostree   string   `json:"ostree,omitzero"`  // OSTREE_VERSION
	Family   string   `json:"family"`           // "debian", "rhel", "suse", "arch", "alpine", "darwin" or the ID itself

	// Doubt says which file speaks against the family: "/etc/alpine-release is there"; "" is no doubt.
	Doubt string `json:"doubt,omitzero"`
}

func osProbe() Probe {
	return Probe{Name: "os", Run: func(_ context.Context, s *System) (Part, error) {
		o, err := readOS(s)
		return func(f *Facts) { f.OS = o }, err
	}}
}

func readOS(s *System) (OS, error) {
	if o, ok := readDarwin(s); ok {
		return o, nil
	}
	kind := "linux"
	if s.Live() {
		kind = runtime.GOOS
	}
	var o OS
	var err error
	for _, path := range []string{"/etc/os-release", "/usr/lib/os-release"} {
		var b []byte
		if b, err = s.ReadFile(path); err != nil {
			continue
		}
		if o = ParseOSRelease(b); o.ID != "" || o.Name != "" { // an empty file has been seen
			break
		}
	}
	if err != nil {
		err = fmt.Errorf("cannot read os-release: %w", err)
	}
	o.Kind = kind
	o.Family, o.Doubt = doubt(o.Family, func(path string) bool { return s.has(path) })
	return o, err
}

// witnesses are files that a family of systems has beside os-release, which others only have when somebody lies.
func witnesses() []struct{ path, family string } {
	return []struct{ path, family string }{
		{"/etc/alpine-release", "alpine"},
		{"/etc/arch-release", "arch"},
		{"/etc/debian_version", "debian"},
		{"/etc/gentoo-release", "gentoo"},
		{"/etc/NIXOS", "nixos"},
		{"/etc/redhat-release", "rhel"},
		{"/etc/amazon-linux-release", "rhel"},
		{"/etc/SuSE-release", "suse"},
		{"/etc/SUSE-brand", "suse"},
	}
}

// doubt compares what os-release says with the witnesses. Without os-release the family is that of the witnesses, if
// they agree. A family that has a witness of its own stays: a Debian with a redhat-release is one on which somebody had
// to run a foreign installer.
func doubt(family string, there func(path string) bool) (sure, why string) {
	against := ""
	seen := map[string]bool{}
	for _, w := range witnesses() {
		if !there(w.path) {
			continue
		}
		seen[w.family] = true
		if w.family != family && against == "" {
			against = w.path
		}
	}
	switch {
	case family == "" && len(seen) == 1:
		for one := range seen {
			return one, ""
		}
	case against == "", seen[family]:
		return family, ""
	case family == "":
		return "", "there is no os-release, and the files of several systems are there, " + against + " among them"
	}
	return family, against + " is there"
}

// ParseOSRelease reads an os-release file. It is written as shell assignments, but never run as such.
func ParseOSRelease(b []byte) OS {
	var o OS
	for line := range strings.Lines(string(b)) {
		key, value, ok := strings.Cut(strings.TrimSpace(line), "=")
		if !ok || strings.HasPrefix(key, "#") {
			continue
		}
		value = clean(unquote(value))
		switch key {
		case "ID":
			o.ID = strings.ToLower(value)
		case "ID_LIKE":
			o.Like = words(strings.ToLower(value))
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

// family finds the family: the id itself comes before ID_LIKE, of which openSUSE has two. Some derivatives have none.
func family(id string, like []string) string {
	for _, name := range append([]string{id}, like...) {
		switch name {
		case "debian", "ubuntu", "raspbian", "devuan":
			return "debian"
		case "rhel", "fedora", "centos", "rocky", "almalinux", "ol", "amzn", "openeuler", "anolis":
			return "rhel"
		case "suse", "sles", "sled", "sle-micro", "sl-micro":
			return "suse"
		case "arch", "archarm", "manjaro":
			return "arch"
		case "alpine", "postmarketos":
			return "alpine"
		}
		if strings.HasPrefix(name, "opensuse") {
			return "suse"
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

package host

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"path"
	"regexp"
	"strings"
)

// IPTables is the iptables program that is installed.
type IPTables struct {
	Path    string      `json:"path"`    // "" is none, or unknown where Facts.Commands is
	Backend string      `json:"backend"` // "nft" or "legacy"; "" is unknown
	Version string      `json:"version"` // "1.8.9"; "" is unknown
	Legacy  Known[bool] `json:"legacy"`  // whether the legacy back end has tables in the kernel; only root can tell
}

const (
	dpkgStatus   = "/var/lib/dpkg/status"
	apkInstalled = "/lib/apk/db/installed"
	legacyTables = "/proc/net/ip_tables_names"

	// maxLinksFollowed is what the kernel follows at least (path_resolution(7): 40); an alternative takes three.
	maxLinksFollowed = 8
)

// iptablesProbe records no file: the lists of all packages are large and nobody's business.
func iptablesProbe() Probe {
	return Probe{Name: "iptables", Run: func(_ context.Context, s *System) (Part, error) {
		t := s.Snapshot().IPTables
		if t == (IPTables{}) {
			t = readIPTables(s.unrecorded())
		}
		return func(f *Facts) { f.IPTables = t }, nil
	}}
}

func readIPTables(s *System) IPTables {
	t := IPTables{Path: s.Snapshot().Commands["iptables"]}
	for _, dir := range commandDirs() {
		if p := path.Join(dir, "iptables"); t.Path == "" && s.has(p) {
			t.Path = p
		}
	}
	if t.Path != "" {
		program := follow(s, t.Path)
		t.Backend = iptablesBackend(program)
		if b, err := s.ReadFile(program); err == nil {
			t.Version = ParseProgramVersion(b)
		}
	}
	if t.Path != "" && t.Version == "" {
		t.Version = packagedVersion(s)
	}
	b, err := s.ReadFile(legacyTables)
	switch {
	case err == nil:
		t.Legacy = Is(len(bytes.TrimSpace(b)) > 0)
	case s.Live() && errors.Is(err, fs.ErrNotExist): // its module is not loaded
		t.Legacy = Is(false)
	}
	return t
}

// follow returns where the links of a path end. Absolute links are followed below the root of a captured machine too.
func follow(s *System, p string) string {
	for range maxLinksFollowed {
		to, err := s.readLink(p)
		if err != nil {
			return p
		}
		if !path.IsAbs(to) {
			to = path.Join(path.Dir(p), to)
		}
		p = path.Clean(to)
	}
	return p
}

// iptablesBackend judges the name of the program that the links lead to. Before 1.8 there was only one.
func iptablesBackend(program string) string {
	switch path.Base(program) {
	case "xtables-nft-multi", "iptables-nft":
		return "nft"
	case "xtables-legacy-multi", "xtables-multi", "iptables-legacy":
		return "legacy"
	}
	return ""
}

// version of iptables, as a string of its own in the program
var programVersion = regexp.MustCompile(`\x00(1\.\d{1,2}\.\d{1,2}(?:\.\d{1,2})?)(?: \((?:nf_tables|legacy)\))?\x00`)

// ParseProgramVersion finds the version that the program would print, or "": it is a string between NULs, and no other looks like one.
func ParseProgramVersion(b []byte) string {
	version := ""
	for _, m := range programVersion.FindAllSubmatch(b, -1) {
		if v := string(m[1]); version != "" && v != version {
			return ""
		}
		version = string(m[1])
	}
	return version
}

// packagedVersion asks the package managers.
func packagedVersion(s *System) string {
	if b, err := s.ReadFile(dpkgStatus); err == nil {
		return ParsePackageVersion(b, "Package: iptables", "Version: ")
	}
	if b, err := s.ReadFile(apkInstalled); err == nil {
		return ParsePackageVersion(b, "P:iptables", "V:")
	}
	for _, dir := range s.matching("/var/lib/pacman/local/iptables-[0-9]*") {
		return upstreamVersion(strings.TrimPrefix(path.Base(dir), "iptables-"))
	}
	return ""
}

// ParsePackageVersion finds the version of a package in the databases of dpkg and apk, which are paragraphs of lines.
func ParsePackageVersion(b []byte, name, version string) string {
	for paragraph := range bytes.SplitSeq(b, []byte("\n\n")) {
		found, v := false, ""
		for line := range bytes.Lines(paragraph) {
			text := strings.TrimSpace(string(line))
			found = found || text == name
			if rest, ok := strings.CutPrefix(text, version); ok {
				v = upstreamVersion(rest)
			}
			if text == "Status: deinstall ok config-files" {
				v = ""
			}
		}
		if found {
			return v
		}
	}
	return ""
}

// upstreamVersion takes the epoch and the packager's part off: "1:1.8.9-2" is 1.8.9.
func upstreamVersion(v string) string {
	if _, rest, ok := strings.Cut(v, ":"); ok {
		v = rest
	}
	end := strings.IndexFunc(v, func(r rune) bool { return r != '.' && (r < '0' || r > '9') })
	if end >= 0 {
		v = v[:end]
	}
	if len(v) > 32 {
		return ""
	}
	return strings.Trim(v, ".")
}

package host

import (
	"bytes"
	"cmp"
	"context"
	"net/url"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
)

// Proxy is the proxy settings that were found, all in one place. User names and passwords in them are left out.
type Proxy struct {
	HTTP    string `json:"http,omitzero"`
	HTTPS   string `json:"https,omitzero"`
	NoProxy string `json:"no_proxy,omitzero"`
	Source  string `json:"source,omitzero"` // where: "environment", "environment of the caller", "/etc/environment", ...; "" is none found
}

const (
	maxProxyURL = 512
	maxNoProxy  = 4096 // a long list of networks
	maxParents  = 16   // from us to pid 1: sudo, shells, a terminal, a session
)

// proxyFile is a file that may set a proxy. The paths are patterns.
type proxyFile struct {
	paths []string
	parse func([]byte) Proxy
}

// proxyFiles are read in this order. In a folder the last file in the order of names counts most.
func proxyFiles() []proxyFile {
	return []proxyFile{
		{[]string{"/etc/environment"}, ParseEnvironmentFile},
		{[]string{"/etc/systemd/system.conf.d/*.conf", "/run/systemd/system.conf.d/*.conf", "/usr/lib/systemd/system.conf.d/*.conf", "/etc/systemd/system.conf"}, ParseManagerEnvironment},
		{[]string{"/etc/apt/apt.conf.d/*", "/etc/apt/apt.conf"}, ParseAptProxy},
		{[]string{"/etc/dnf/dnf.conf", "/etc/yum.conf"}, ParseDnfProxy},
	}
}

// proxyProbe records no file: they hold passwords.
func proxyProbe() Probe {
	return Probe{Name: "proxy", Run: func(_ context.Context, s *System) (Part, error) {
		p := s.Snapshot().Proxy
		if p.Source == "" {
			p = findProxy(s.unrecorded())
		}
		return func(f *Facts) { f.Proxy = p }, nil
	}}
}

func findProxy(s *System) Proxy {
	if s.Live() {
		if p := environmentProxy(os.Environ()); p.set() {
			p.Source = "environment"
			return p
		}
		if p := callersProxy(s); p.set() {
			p.Source = "environment of the caller"
			return p
		}
	}
	for _, f := range proxyFiles() {
		for _, pattern := range f.paths {
			for _, name := range slices.Backward(s.matching(pattern)) {
				b, err := s.ReadFile(name)
				if err != nil {
					continue
				}
				if p := f.parse(b); p.set() {
					p.Source = name
					return p
				}
			}
		}
	}
	return Proxy{}
}

// matching returns the paths whose last part fits a pattern, sorted.
func (s *System) matching(pattern string) []string {
	dir, last := path.Split(pattern)
	if !strings.Contains(last, "*") {
		return []string{pattern}
	}
	entries, err := s.readDir(path.Clean(dir))
	if err != nil {
		return nil
	}
	var all []string
	for _, e := range entries {
		if ok, _ := path.Match(last, e.Name()); ok {
			all = append(all, path.Join(dir, e.Name()))
		}
	}
	return sorted(all)
}

// OfPackages reports whether a proxy is set for apt or dnf only: what it lets through may be no more than packages.
func (p Proxy) OfPackages() bool {
	return strings.HasPrefix(p.Source, "/etc/apt/") || strings.HasPrefix(p.Source, "/etc/dnf/") || p.Source == "/etc/yum.conf"
}

// ProxyOfMachine is the proxy that this machine has for everybody, none if there is one for its packages only.
func ProxyOfMachine() Proxy {
	p := findProxy(Live().unrecorded())
	if p.OfPackages() {
		return Proxy{}
	}
	return p
}

// ProxyOfCaller is the proxy in the environment of who started this process, which is seen by nobody later on.
func ProxyOfCaller() Proxy { return callersProxy(Live()) }

// callersProxy looks at those who started us, as sudo takes the proxy out of the environment. Nothing but the proxy is taken from theirs.
func callersProxy(s *System) Proxy {
	pid := os.Getppid()
	for range maxParents {
		if pid <= 1 {
			break
		}
		dir := "/proc/" + strconv.Itoa(pid)
		if b, err := s.ReadFile(dir + "/environ"); err == nil {
			if p := environmentProxy(strings.Split(string(b), "\x00")); p.set() {
				return p
			}
		}
		b, err := s.ReadFile(dir + "/status")
		if err != nil {
			break
		}
		pid = ParseParent(b)
	}
	return Proxy{}
}

func (p Proxy) set() bool { return p.HTTP != "" || p.HTTPS != "" }

// ParseParent returns the parent in /proc/PID/status, or 0.
func ParseParent(status []byte) int {
	for line := range bytes.Lines(status) {
		if v, ok := bytes.CutPrefix(line, []byte("PPid:")); ok {
			if pid, err := strconv.Atoi(string(bytes.TrimSpace(v))); err == nil && pid > 0 {
				return pid
			}
		}
	}
	return 0
}

// environmentProxy picks the proxy out of assignments. Of both spellings the small one counts, as curl has it.
func environmentProxy(assignments []string) Proxy {
	var p Proxy
	var all string // ALL_PROXY, for what has none of its own
	for _, a := range assignments {
		key, value, ok := strings.Cut(a, "=")
		if !ok {
			continue
		}
		to := map[string]*string{"http_proxy": &p.HTTP, "https_proxy": &p.HTTPS, "no_proxy": &p.NoProxy, "all_proxy": &all}[strings.ToLower(key)]
		switch {
		case to == nil || *to != "" && key != strings.ToLower(key):
		case to == &p.NoProxy:
			*to = cleanNoProxy(value)
		default:
			*to = cleanProxy(value)
		}
	}
	p.HTTP, p.HTTPS = cmp.Or(p.HTTP, all), cmp.Or(p.HTTPS, all)
	return p
}

// cleanProxy returns the URL of a proxy without user, password and path, or "" if it is none.
func cleanProxy(text string) string {
	text = strings.TrimSpace(text)
	if text == "" || len(text) > maxProxyURL || strings.EqualFold(text, "DIRECT") || text == "_none_" { // apt's and dnf's words for no proxy
		return ""
	}
	if !strings.Contains(text, "://") {
		text = "http://" + text
	}
	u, err := url.Parse(text)
	if err != nil || !slices.Contains([]string{"http", "https", "socks5", "socks5h"}, u.Scheme) {
		return ""
	}
	if port := u.Port(); u.Hostname() == "" || port == "0" || !validDomain(strings.ToLower(strings.NewReplacer(":", "", "[", "", "]", "").Replace(u.Host))) {
		return ""
	}
	return u.Scheme + "://" + u.Host
}

// cleanNoProxy keeps the entries that have the form of a name, an address or a network.
func cleanNoProxy(text string) string {
	if len(text) > maxNoProxy {
		return ""
	}
	parts := strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == ' ' })
	parts = slices.DeleteFunc(parts, func(p string) bool {
		return p != "*" && !validDomain(strings.ToLower(strings.NewReplacer(":", "", "/", "", "*", "x", "[", "", "]", "").Replace(p)))
	})
	return strings.Join(parts, ",")
}

// ParseEnvironmentFile reads /etc/environment: assignments, perhaps with export and quotes, never run.
func ParseEnvironmentFile(b []byte) Proxy {
	var all []string
	for line := range bytes.Lines(b) {
		key, value, ok := strings.Cut(strings.TrimPrefix(strings.TrimSpace(string(line)), "export "), "=")
		if ok && !strings.HasPrefix(key, "#") {
			all = append(all, key+"="+unquote(value))
		}
	}
	return environmentProxy(all)
}

// ParseManagerEnvironment reads DefaultEnvironment= of systemd-system.conf(5), which its services get.
func ParseManagerEnvironment(b []byte) Proxy {
	var all []string
	for line := range bytes.Lines(b) {
		value, ok := strings.CutPrefix(strings.TrimSpace(string(line)), "DefaultEnvironment=")
		if !ok {
			continue
		}
		for _, word := range strings.Fields(value) { // a quoted value with a space in it is no proxy
			all = append(all, strings.Trim(word, `"'`))
		}
	}
	return environmentProxy(all)
}

// ParseAptProxy reads lines such as: Acquire::http::Proxy "http://proxy:3128";
func ParseAptProxy(b []byte) Proxy {
	var p Proxy
	for line := range bytes.Lines(b) {
		f := strings.Fields(string(line))
		if len(f) != 2 {
			continue
		}
		value := strings.Trim(f[1], `";`)
		switch strings.ToLower(f[0]) {
		case "acquire::http::proxy":
			p.HTTP = cleanProxy(value)
		case "acquire::https::proxy":
			p.HTTPS = cleanProxy(value)
		}
	}
	return p
}

// ParseDnfProxy reads proxy= of dnf.conf(5), for both protocols.
func ParseDnfProxy(b []byte) Proxy {
	for line := range bytes.Lines(b) {
		key, value, ok := strings.Cut(string(line), "=")
		if ok && strings.TrimSpace(key) == "proxy" {
			value = cleanProxy(value)
			return Proxy{HTTP: value, HTTPS: value}
		}
	}
	return Proxy{}
}

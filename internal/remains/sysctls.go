package remains

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/pipeopshq/pipeops-agent/internal/atomicfile"
)

// maxSysctl bounds what is read of one value, in bytes.
const maxSysctl = 4 << 10

// sysctlNames are the values of the kernel that the kubelet (kernel.*, vm.*), kube-proxy (conntrack, route_localnet, ipvs) and
// flannel (forwarding) change. They are set in this order: to forward or not changes values of the links, too.
func sysctlNames() []string {
	return []string{
		"net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding", "net/ipv6/conf/default/forwarding",
		"net/ipv4/conf/all/forwarding", "net/ipv4/conf/default/forwarding",
		"net/ipv4/conf/*/forwarding", "net/ipv6/conf/*/forwarding", "net/ipv6/conf/*/accept_ra",
		"net/ipv4/conf/*/accept_redirects", "net/ipv4/conf/*/rp_filter",
		"net/ipv4/conf/all/route_localnet", "net/ipv4/conf/default/route_localnet",
		"net/ipv4/conf/all/arp_ignore", "net/ipv4/conf/all/arp_announce",
		"net/ipv4/vs/conntrack", "net/ipv4/vs/conn_reuse_mode", "net/ipv4/vs/expire_nodest_conn", "net/ipv4/vs/expire_quiescent_template",
		"net/netfilter/nf_conntrack_max", "net/netfilter/nf_conntrack_tcp_timeout_established",
		"net/netfilter/nf_conntrack_tcp_timeout_close_wait", "net/netfilter/nf_conntrack_tcp_be_liberal",
		"net/netfilter/nf_conntrack_udp_timeout", "net/netfilter/nf_conntrack_udp_timeout_stream",
		"net/bridge/bridge-nf-call-iptables", "net/bridge/bridge-nf-call-ip6tables", "net/bridge/bridge-nf-call-arptables",
		"vm/overcommit_memory", "vm/panic_on_oom", "kernel/panic", "kernel/panic_on_oops",
		"kernel/keys/root_maxkeys", "kernel/keys/root_maxbytes",
	}
}

// sysctls are values of the kernel, as "net/ipv4/ip_forward=0".
func (e Env) sysctls() Thing {
	return Thing{
		Kind: "k3s-sysctls", Title: "values of the kernel",
		List: func(context.Context) ([]string, error) { return e.listSysctls() },
		Remove: func(_ context.Context, before []string) ([]string, error) {
			var left []string
			others, files := e.forwarders(), e.sysctlFiles()
			for _, entry := range before {
				name, value, _ := strings.Cut(entry, "=")
				path := e.path(filepath.Join("/proc/sys", name))
				now, err := readSysctl(path)
				if errors.Is(err, fs.ErrNotExist) || err == nil && now == value {
					continue
				}
				forwards := name == "net/ipv4/ip_forward" || strings.HasSuffix(name, "/forwarding")
				switch want, known := setBy(name); {
				case err == nil && value == "0" && forwards && len(others) > 0:
					left = append(left, fmt.Sprintf("%s stays %s: %s needs it", dotted(name), now, strings.Join(others, ", ")))
					continue
				case err == nil && files[name].value == now: // the next boot would set it again
					left = append(left, fmt.Sprintf("%s stays %s: %s sets it", dotted(name), now, files[name].path))
					continue
				case err == nil && known && now != want:
					left = append(left, fmt.Sprintf("%s stays %s: somebody else has set it", dotted(name), now))
					continue
				}
				if err == nil {
					err = os.WriteFile(path, []byte(value+"\n"), 0)
				}
				if err != nil {
					left = append(left, fmt.Sprintf("%s was %s: %v", dotted(name), value, err))
				}
			}
			return left, nil
		},
	}
}

// setBy returns what kube-proxy, the kubelet and flannel set a value to, where that is known: another one is not theirs.
func setBy(name string) (string, bool) {
	known := map[string]string{
		"net/ipv4/ip_forward":                                "1",
		"net/ipv4/conf/all/route_localnet":                   "1",
		"net/netfilter/nf_conntrack_tcp_timeout_established": "86400",
		"net/netfilter/nf_conntrack_tcp_timeout_close_wait":  "3600",
		"vm/overcommit_memory":                               "1",
		"kernel/panic_on_oops":                               "1",
	}
	value, ok := known[name]
	return value, ok
}

func dotted(name string) string { return strings.ReplaceAll(name, "/", ".") }

func (e Env) listSysctls() ([]string, error) {
	var all []string
	seen := map[string]bool{}
	for _, pattern := range sysctlNames() {
		found, err := filepath.Glob(e.path(filepath.Join("/proc/sys", pattern)))
		if err != nil {
			return nil, err
		}
		slices.Sort(found)
		for _, path := range found {
			name := strings.TrimPrefix(path, e.path("/proc/sys")+"/")
			value, err := readSysctl(path)
			if err != nil || seen[name] { // one that may not be read is not changed either
				continue
			}
			seen[name] = true
			all = append(all, name+"="+value)
		}
	}
	return all, nil
}

func readSysctl(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxSysctl))
	return strings.TrimSpace(string(data)), err
}

// forwarders are bridges of other runtimes that are up: without forwarding their containers reach nothing.
func (e Env) forwarders() []string {
	if e.Root != "" {
		return nil
	}
	return bridges()
}

// setting is a value that a file sets at every boot.
type setting struct{ value, path string }

// maxSysctlFiles bounds how many files of settings are read, and maxSysctlFile each of them, in bytes.
const maxSysctlFiles, maxSysctlFile = 200, 64 << 10

// sysctlFiles returns what an administrator or a program has set for every boot, by names with slashes: a VPN needs forwarding
// when no k3s does. Where several files set a value, the one counts whose name is the last (sysctl.d(5)). What comes with the
// system is not looked at: it was so before.
func (e Env) sysctlFiles() map[string]setting {
	var paths []string
	for _, pattern := range []string{"/etc/sysctl.d/*.conf", "/run/sysctl.d/*.conf"} {
		found, _ := filepath.Glob(e.path(pattern)) // the pattern is good
		paths = append(paths, found...)
	}
	slices.SortStableFunc(paths, func(a, b string) int { return strings.Compare(filepath.Base(a), filepath.Base(b)) })
	all := map[string]setting{}
	for _, path := range append(paths[:min(len(paths), maxSysctlFiles)], e.path("/etc/sysctl.conf")) {
		text, err := atomicfile.Read(path, maxSysctlFile)
		if err != nil {
			continue
		}
		for name, value := range parseSysctls(text) {
			all[name] = setting{value, filepath.Join("/", strings.TrimPrefix(path, e.path("/")))}
		}
	}
	return all
}

// parseSysctls reads lines of "net.ipv4.ip_forward = 1", whose name may have slashes in the place of dots.
func parseSysctls(text []byte) map[string]string {
	all := map[string]string{}
	for line := range strings.Lines(string(text)) {
		name, value, ok := strings.Cut(strings.TrimSpace(line), "=")
		name = strings.TrimSpace(strings.TrimPrefix(name, "-"))
		if !ok || name == "" || strings.ContainsAny(name[:1], "#;") {
			continue
		}
		if i := strings.IndexAny(name, "./"); i >= 0 && name[i] == '.' { // the first of them says which of the two divides
			name = strings.NewReplacer(".", "/", "/", ".").Replace(name)
		}
		all[name] = strings.Join(strings.Fields(value), "\t")
	}
	return all
}

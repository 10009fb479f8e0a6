package host

import (
	"context"
	"strings"
)

// Sysctl is kernel settings.
type Sysctl struct {
	Values   map[string]string `json:"values"`   // by name, "vm.overcommit_memory": "1"; null: unknown
	Writable map[string]bool   `json:"writable"` // whether the file could be opened for writing (nothing is written); null: unknown
}

// sysctlNames lists the settings that a node changes or stumbles over.
func sysctlNames() []string {
	return []string{
		"kernel.keys.root_maxkeys", "kernel.panic", "kernel.panic_on_oops", "net.bridge.bridge-nf-call-iptables", "net.ipv4.conf.all.rp_filter",
		"net.ipv4.ip_forward", "net.ipv4.ip_unprivileged_port_start", "net.netfilter.nf_conntrack_max", "user.max_user_namespaces",
		"vm.overcommit_memory", "vm.panic_on_oom",
	}
}

func sysctlProbe() Probe {
	return Probe{Name: "sysctl", Run: func(_ context.Context, s *System) (Part, error) {
		values, writable := map[string]string{}, map[string]bool{}
		for _, name := range sysctlNames() {
			path := "/proc/sys/" + strings.ReplaceAll(name, ".", "/")
			if v := s.line(path); v != "" {
				values[name] = v
			}
			if s.Live() && s.has(path) {
				writable[name] = liveWritable(path)
			} else if w, ok := s.Snapshot().SysctlWritable[name]; ok {
				writable[name] = w
			}
		}
		var y Sysctl
		if len(values) > 0 {
			y.Values = values
		}
		if len(writable) > 0 {
			y.Writable = writable
		}
		return func(f *Facts) { f.Sysctl = y }, nil
	}}
}

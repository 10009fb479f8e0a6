package remains

import (
	"context"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// moduleOfPods reports whether a module is one that the start of k3s loads, itself or by what it uses.
func moduleOfPods(name string) bool {
	names := []string{
		"br_netfilter", "overlay", "vxlan", "udp_tunnel", "ip6_udp_tunnel", "veth", "bridge", "stp", "llc", "wireguard",
		"ip_tables", "ip6_tables", "x_tables", "iptable_nat", "iptable_filter", "iptable_mangle", "ip6table_nat", "ip6table_filter",
		"ip6table_mangle", "nf_tables", "nfnetlink", "nfnetlink_acct", "ip_set", "libcrc32c",
	}
	if slices.Contains(names, name) {
		return true
	}
	for _, prefix := range []string{"nf_", "nft_", "xt_", "ip_vs", "ip_set_", "ipt_", "ip6t_"} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}

// modules are those of the kernel, by name. A new one that nothing uses is unloaded; what somebody uses stays, and that is
// no fault.
func (e Env) modules() Thing {
	return Thing{
		Kind: "k3s-modules", Title: "modules of the kernel",
		List: func(context.Context) ([]string, error) { return Modules() },
		Remove: func(ctx context.Context, before []string) ([]string, error) {
			if len(e.forwarders()) > 0 { // their rules may hold by what br_netfilter does, which counts no users
				before = append(slices.Clone(before), "br_netfilter", "bridge")
			}
			for more := true; more && ctx.Err() == nil; {
				used, err := loaded()
				if err != nil {
					return nil, nil
				}
				more = false
				for name, busy := range used {
					if !busy && moduleOfPods(name) && !slices.Contains(before, name) && unix.DeleteModule(name, unix.O_NONBLOCK) == nil {
						more = true // it may have used others
					}
				}
			}
			return nil, ctx.Err()
		},
	}
}

package remains

import (
	"bufio"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// maxModules bounds what is read of /proc/modules, in bytes.
const maxModules = 1 << 20

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
		List: func(context.Context) ([]string, error) {
			used, err := loaded()
			var all []string
			for name := range used {
				all = append(all, name)
			}
			slices.Sort(all)
			return all, err
		},
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

// loaded returns the modules and whether they are in use; none where the kernel has no modules.
func loaded() (map[string]bool, error) {
	f, err := os.Open("/proc/modules")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return parseModules(io.LimitReader(f, maxModules))
}

// parseModules reads lines of name, size, users and who they are.
func parseModules(r io.Reader) (map[string]bool, error) {
	used := map[string]bool{}
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		if fields := strings.Fields(lines.Text()); len(fields) >= 3 {
			used[fields[0]] = fields[2] != "0"
		}
	}
	return used, lines.Err()
}

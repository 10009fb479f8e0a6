package remains

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/pipeopshq/pipeops-agent/internal/mounttable"
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

// linkModules are modules that count no users for their links, and take these with them when they are unloaded: by the kind of
// the links, those that stay as long as there is one. What br_netfilter does for the rules of others is not counted either.
func linkModules() map[string][]string {
	return map[string][]string{"veth": {"veth"}, "vxlan": {"vxlan"}, "wireguard": {"wireguard"}, "bridge": {"bridge", "br_netfilter"}}
}

// modules are those of the kernel, by name. A new one that nothing uses is unloaded; what somebody uses stays, and that is
// no fault.
func (e Env) modules() Thing {
	return Thing{
		Kind: "k3s-modules", Title: "modules of the kernel",
		List: func(context.Context) ([]string, error) { return Modules() },
		Remove: func(ctx context.Context, before []string) ([]string, error) {
			kinds, err := linkKinds()
			for kind, names := range linkModules() {
				if err != nil || kinds[kind] { // where it cannot be told who has links, all stay
					before = append(slices.Clone(before), names...)
				}
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

// linkKinds returns the kinds of the links of this machine, in all of its network namespaces.
func linkKinds() (map[string]bool, error) {
	spaces, err := netNamespaces()
	if err != nil {
		return nil, err
	}
	kinds := map[string]bool{}
	for _, paths := range spaces {
		var f *os.File
		for _, path := range paths {
			if f, err = os.Open(path); !errors.Is(err, fs.ErrNotExist) {
				break
			}
		}
		if errors.Is(err, fs.ErrNotExist) {
			continue // all its processes have ended, and its links with them
		}
		if err != nil {
			return nil, fmt.Errorf("cannot enter a network namespace: %w", err)
		}
		links, err := linksOf(&netlink.Config{NetNS: int(f.Fd())})
		_ = f.Close()
		if err != nil {
			return nil, err
		}
		for _, l := range links {
			kinds[l.kind] = true
		}
	}
	return kinds, nil
}

// netNamespaces returns the files of each network namespace that a process is in, or that is mounted, by its name.
func netNamespaces() (map[string][]string, error) {
	dir, err := os.Open("/proc")
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	names, err := dir.Readdirnames(maxProcesses)
	if err != nil {
		return nil, err
	}
	mounts, err := mounttable.Read()
	if err != nil {
		return nil, err
	}
	files := map[string][]string{} // by "net:[4026531840]"
	for _, m := range mounts {
		if m.Type == "nsfs" && strings.HasPrefix(m.Root, "net:[") {
			files[m.Root] = append(files[m.Root], m.Point)
		}
	}
	for _, name := range names {
		if _, err := strconv.Atoi(name); err != nil {
			continue
		}
		path := filepath.Join("/proc", name, "ns/net")
		if id, err := os.Readlink(path); err == nil {
			files[id] = append(files[id], path)
		}
	}
	return files, nil
}

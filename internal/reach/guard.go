package reach

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/pipeopshq/pipeops-agent/internal/cluster"
)

// knownFor is for how long the addresses of nodes and of the API server count as known. The own addresses of this machine, which a
// mistake would lay open, are looked at each time.
const knownFor = 10 * time.Second

// nodesPage is how many nodes are listed at once: one of them has some 20 KiB.
const nodesPage = 100

// guard knows which addresses are never dialled, whatever object names them.
type guard struct {
	own func() ([]netip.Addr, error) // of this machine

	mu    sync.Mutex
	known map[netip.Addr]string // what they are
	nets  []netip.Prefix        // of pods, by node: the first two addresses of each are the node's
	until time.Time
}

// check returns why an address must not be dialled; nil if it may.
func (g *guard) check(ctx context.Context, client *cluster.Client, address netip.Addr) error {
	if why := never(address); why != "" {
		return fmt.Errorf("%s is %s", address, why)
	}
	for _, a := range hidden(address) {
		own, err := g.own()
		if err != nil {
			return fmt.Errorf("it is not known which addresses are this machine's: %w", err)
		}
		for _, o := range own {
			if o.Unmap().WithZone("") == a {
				return fmt.Errorf("%s is an address of this machine", a)
			}
		}
		what, err := g.taken(ctx, client, a)
		if err != nil {
			return err
		}
		if what != "" {
			return fmt.Errorf("%s is %s", a, what)
		}
	}
	return nil
}

// never says what is wrong with an address by itself; "" if nothing is.
func never(address netip.Addr) string {
	if !address.IsValid() || address.Zone() != "" {
		return "no address of a pod"
	}
	for _, a := range hidden(address) {
		switch {
		case a.IsUnspecified():
			return "the unspecified address"
		case a.IsLoopback():
			return "an address of loopback"
		case a.IsLinkLocalUnicast():
			return "a link-local address, where clouds have their metadata"
		case a.IsMulticast():
			return "a multicast address"
		}
		for _, n := range reserved() {
			if n.prefix.Contains(a) {
				return n.what
			}
		}
	}
	return ""
}

// hidden returns an address and the IPv4 address in it, if it is one of IPv6 that has one.
func hidden(address netip.Addr) []netip.Addr {
	a := address.Unmap()
	all := []netip.Addr{a}
	if !a.Is6() {
		return all
	}
	b := a.As16()
	switch {
	case netip.MustParsePrefix("64:ff9b::/96").Contains(a), netip.MustParsePrefix("::/96").Contains(a) && b[12] != 0: // RFC 6052; RFC 4291, 2.5.5.1
		all = append(all, netip.AddrFrom4([4]byte(b[12:])))
	case netip.MustParsePrefix("2002::/16").Contains(a): // RFC 3056
		all = append(all, netip.AddrFrom4([4]byte(b[2:6])))
	}
	return all
}

type reservedNet struct {
	prefix netip.Prefix
	what   string
}

// reserved lists networks that no pod is in, and single addresses at which clouds answer to the machine.
func reserved() []reservedNet {
	metadata := "where a cloud has its metadata"
	list := []reservedNet{}
	for _, p := range []string{"0.0.0.0/8", "240.0.0.0/4", "192.0.0.0/24", "64:ff9b:1::/48", "100::/64"} { // RFC 6890
		list = append(list, reservedNet{netip.MustParsePrefix(p), "in a network that is reserved"})
	}
	for _, p := range []string{"fd00:ec2::/32", "100.100.100.200/32", "168.63.129.16/32", "fd20:ce::254/128"} { // AWS, Alibaba, Azure, GCP
		list = append(list, reservedNet{netip.MustParsePrefix(p), metadata})
	}
	return list
}

// taken says what an address is in the cluster, if it belongs to a node or to the API server.
func (g *guard) taken(ctx context.Context, client *cluster.Client, a netip.Addr) (string, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if time.Now().After(g.until) {
		known, nets, err := addresses(ctx, client)
		if err != nil {
			return "", err
		}
		g.known, g.nets, g.until = known, nets, time.Now().Add(knownFor)
	}
	if what := g.known[a]; what != "" {
		return what, nil
	}
	for _, n := range g.nets {
		if first := n.Masked().Addr(); a == first || a == first.Next() {
			return "the address of a node in the network of its pods", nil
		}
	}
	return "", nil
}

// addresses returns those of the nodes and of the API server, and the networks of pods.
func addresses(ctx context.Context, client *cluster.Client) (map[netip.Addr]string, []netip.Prefix, error) {
	known := map[netip.Addr]string{}
	add := func(text, what string) {
		if a, err := netip.ParseAddr(text); err == nil {
			known[a.Unmap().WithZone("")] = what
		}
	}
	var nets []netip.Prefix
	options := metav1.ListOptions{Limit: nodesPage}
	for {
		nodes, err := client.Dynamic.Resource(nodesResource).List(ctx, options)
		if err != nil {
			return nil, nil, fmt.Errorf("cannot list the nodes, whose addresses are not dialled: %w", err)
		}
		for _, node := range nodes.Items {
			listed, _, _ := unstructured.NestedSlice(node.Object, "status", "addresses")
			for _, entry := range listed {
				a, _ := entry.(map[string]any)
				text, _, _ := unstructured.NestedString(a, "address")
				add(text, "the address of the node "+node.GetName())
			}
			ranges, _, _ := unstructured.NestedStringSlice(node.Object, "spec", "podCIDRs")
			for _, text := range ranges {
				if p, err := netip.ParsePrefix(text); err == nil {
					nets = append(nets, p)
				}
			}
		}
		if options.Continue = nodes.GetContinue(); options.Continue == "" {
			break
		}
	}
	if client.Base != nil {
		add(client.Base.Hostname(), "the address of the API server")
	}
	const api = "the address of the API server"
	service, err := serviceOf(ctx, client, metav1.NamespaceDefault, "kubernetes")
	if err != nil {
		return nil, nil, fmt.Errorf("cannot see the address of the API server, which is not dialled: %w", err)
	}
	if service != nil {
		ips, _, _ := unstructured.NestedStringSlice(service.Object, "spec", "clusterIPs")
		ip, _, _ := unstructured.NestedString(service.Object, "spec", "clusterIP")
		for _, text := range append(ips, ip) {
			add(text, api)
		}
	}
	slices, err := slicesOf(ctx, client, metav1.NamespaceDefault, "kubernetes")
	if err != nil {
		return nil, nil, fmt.Errorf("cannot see the addresses of the API servers, which are not dialled: %w", err)
	}
	for i := range slices {
		endpoints, _, _ := unstructured.NestedSlice(slices[i].Object, "endpoints")
		for _, entry := range endpoints {
			e, _ := entry.(map[string]any)
			ips, _, _ := unstructured.NestedStringSlice(e, "addresses")
			for _, text := range ips {
				add(text, api)
			}
		}
	}
	return known, nets, nil
}

// ownAddresses returns those of the interfaces of this machine.
func ownAddresses() ([]netip.Addr, error) {
	list, err := net.InterfaceAddrs()
	if err != nil {
		return nil, err
	}
	var out []netip.Addr
	for _, entry := range list {
		if n, ok := entry.(*net.IPNet); ok {
			if a, ok := netip.AddrFromSlice(n.IP); ok {
				out = append(out, a.Unmap())
			}
		}
	}
	return out, nil
}

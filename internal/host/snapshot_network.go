package host

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// NetworkSnapshot is the part of a [Snapshot] that is in /proc/net, which shows every peer, in files that hold secrets, or in
// engines. Public addresses are replaced. A probe prefers it to the files of a captured machine.
type NetworkSnapshot struct {
	Routes     []Route     `json:"routes,omitzero"` // null: unknown, or in files
	Links      []Link      `json:"links,omitzero"`  // null: unknown, or in files
	Addresses  Addresses   `json:"addresses,omitzero"`
	Proxy      Proxy       `json:"proxy,omitzero"`
	IPTables   IPTables    `json:"iptables,omitzero"`
	Firewall   Firewall    `json:"firewall,omitzero"`
	Containers []Container `json:"containers,omitzero"` // of clusters in the Docker engine; null: unknown
}

func networkSnapshotOf(f Facts, containers []Container) NetworkSnapshot {
	n := NetworkSnapshot{
		Routes: documentedRoutes(f.Routes), Links: f.Links, Addresses: f.Addresses, Proxy: f.Proxy, IPTables: f.IPTables, Firewall: f.Firewall, Containers: containers,
	}
	n.Addresses.Own = nil // only an install needs them
	if a, err := netip.ParseAddr(n.Addresses.Node); err == nil {
		n.Addresses.Node = documented(a).String()
	}
	n.Firewall.Rejects = slices.Clone(f.Firewall.Rejects)
	for i, r := range n.Firewall.Rejects {
		n.Firewall.Rejects[i] = string(redactAddresses([]byte(r)))
	}
	for _, text := range []*string{&n.Proxy.HTTP, &n.Proxy.HTTPS, &n.Proxy.NoProxy} {
		*text = string(redactAddresses([]byte(*text)))
	}
	return n
}

// unrecorded is the same machine, of which nothing gets into a capture: for files that hold secrets. What a probe learns
// from them goes into the snapshot.
func (s *System) unrecorded() *System {
	return &System{Root: s.Root, Network: s.Network, Gateway: s.Gateway, snapshot: s.snapshot}
}

func (r *recorder) engine(containers []Container) {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.containers = containers
}

// matters tells whether a process belongs to a cluster, an engine or a neighbour: the names of others are nobody's business.
func matters(process string) bool {
	return slices.ContainsFunc(clusterKinds(), func(k clusterKind) bool { return k.is(process) }) ||
		slices.ContainsFunc(runtimeKinds(), func(k runtimeKind) bool { return slices.Contains(k.processes, process) }) ||
		process == firewalldProcess || process == networkManager
}

// redactNetwork takes out of the files of these probes what is secret or says more than they want.
func redactNetwork(path string, b []byte) []byte {
	switch path {
	case instanceData: // the keys of users, and what the cloud calls this machine
		return fmt.Appendf(nil, "{\"v1\": {\"cloud_name\": %q}}\n", ParseInstanceData(b))
	case rulesV4, rulesV6, rulesRHEL, rulesRHEL6:
		return redactRules(b)
	case nftConf, nftConfRHEL:
		return redactNftRules(b)
	}
	switch {
	case strings.HasSuffix(path, kubeconfigPath):
		return redactKubeconfig(b)
	case strings.Contains(path, "/.minikube/profiles/") && len(b) > 0:
		return fmt.Appendf(nil, "{\"Driver\": %q}\n", ParseMinikubeDriver(b))
	}
	return b
}

func redactAddresses(b []byte) []byte {
	return address.ReplaceAllFunc(b, func(m []byte) []byte {
		a, err := netip.ParseAddr(string(m))
		if err != nil || documented(a) == a {
			return m
		}
		return []byte(documented(a).String())
	})
}

// documented replaces a public address by one that is reserved for documentation.
func documented(a netip.Addr) netip.Addr {
	switch {
	case a.IsPrivate() || a.IsLoopback() || a.IsLinkLocalUnicast() || a.IsUnspecified() || slices.ContainsFunc(harmless(), func(p netip.Prefix) bool { return p.Contains(a) }):
		return a
	case a.Is4():
		return netip.AddrFrom4([4]byte{192, 0, 2, 1}) // RFC 5737
	}
	return netip.AddrFrom16([16]byte{0: 0x20, 1: 0x01, 2: 0x0d, 3: 0xb8, 15: 1}) // RFC 3849
}

// harmless lists the public ranges that belong to nobody: inside of providers and VPNs (RFC 6598), and documentation (RFC
// 5737, RFC 3849).
func harmless() []netip.Prefix {
	return []netip.Prefix{
		shared(), netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("198.51.100.0/24"), netip.MustParsePrefix("203.0.113.0/24"),
		netip.MustParsePrefix("2001:db8::/32"),
	}
}

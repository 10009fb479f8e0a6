package host

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
)

// Addresses tells over which families the machine reaches others.
type Addresses struct {
	IPv4 Known[bool] `json:"ipv4"` // an address that is not only for this link, and a default route
	IPv6 Known[bool] `json:"ipv6"`
	Node string      `json:"node,omitzero"` // address of the interface that has the default route, IPv4 before IPv6; "" is unknown
	Own  []string    `json:"own,omitzero"`  // all that others can reach, of interfaces that no cluster has made
}

// ownAddress is an address of the machine. Interface "" is unknown.
type ownAddress struct {
	Interface string
	netip.Addr
}

func addressesProbe() Probe {
	return Probe{Name: "addresses", Run: func(_ context.Context, s *System) (Part, error) {
		a, err := readAddresses(s)
		return func(f *Facts) { f.Addresses = a }, err
	}}
}

func readAddresses(s *System) (Addresses, error) {
	if a := s.Snapshot().Addresses; a.IPv4.OK || a.IPv6.OK || a.Node != "" {
		return a, nil
	}
	routes, err := readRoutes(s)
	if routes == nil {
		return Addresses{}, err
	}
	v4, v6, err := ownAddresses(s)
	if err != nil {
		return Addresses{}, err
	}
	a := reachable(v4, v6, routes)
	a.Own = others(slices.Concat(v4, v6), routes)
	return a, nil
}

// maxOwn bounds the addresses that are told: a router may have hundreds.
const maxOwn = 32

// others leaves out the addresses that only this machine knows: of the loopback, of a link, and of the interfaces that
// clusters and container engines make.
func others(all []ownAddress, routes []Route) []string {
	var out []string
	for _, a := range all {
		made := madeForContainers(a.Interface)
		for _, r := range routes {
			made = made || a.Interface == "" && madeForContainers(r.Interface) && onLink(a.Addr, r.Interface, routes)
		}
		if text := a.String(); a.IsGlobalUnicast() && !made && len(out) < maxOwn && !slices.Contains(out, text) {
			out = append(out, text)
		}
	}
	return out
}

func madeForContainers(link string) bool {
	return slices.ContainsFunc([]string{"cni", "flannel", "veth", "cali", "docker", "br-", "kube-", "podman", "nerdctl"}, func(prefix string) bool {
		return strings.HasPrefix(link, prefix)
	})
}

// ownAddresses returns nil without an error for a family of which a captured machine does not tell.
func ownAddresses(s *System) (v4, v6 []ownAddress, err error) {
	if s.Live() {
		return liveAddresses()
	}
	if b, err := s.ReadFile("/proc/net/fib_trie"); err == nil {
		v4 = ParseFibTrie(b)
	}
	if b, err := s.ReadFile("/proc/net/if_inet6"); err == nil {
		v6 = ParseInet6(b)
	}
	return v4, v6, nil
}

func liveAddresses() (v4, v6 []ownAddress, err error) {
	interfaces, err := net.Interfaces()
	if err != nil {
		return nil, nil, fmt.Errorf("cannot list the addresses: %w", err)
	}
	v4, v6 = []ownAddress{}, []ownAddress{}
	for _, i := range interfaces {
		addrs, err := i.Addrs()
		if err != nil { // gone since
			continue
		}
		for _, a := range addrs {
			p, err := netip.ParsePrefix(a.String())
			switch {
			case err != nil:
			case p.Addr().Is4():
				v4 = append(v4, ownAddress{i.Name, p.Addr()})
			default:
				v6 = append(v6, ownAddress{i.Name, p.Addr()})
			}
		}
	}
	return v4, v6, nil
}

// reachable judges each family by an address and a default route. nil addresses are unknown: a default route of IPv4 is not
// there without one, that of IPv6 may be.
func reachable(v4, v6 []ownAddress, routes []Route) Addresses {
	var a Addresses
	for _, family := range []struct {
		everywhere string
		own        []ownAddress
		unseen     Known[bool]
		known      *Known[bool]
	}{{"0.0.0.0/0", v4, Is(true), &a.IPv4}, {"::/0", v6, Known[bool]{}, &a.IPv6}} {
		*family.known = Is(false)
		r, ok := defaultRoute(routes, family.everywhere)
		if !ok {
			continue
		}
		if family.own == nil {
			*family.known = family.unseen
		}
		var node netip.Addr
		for _, o := range family.own {
			if !o.IsGlobalUnicast() {
				continue
			}
			*family.known = Is(true)
			if !node.IsValid() && (o.Interface == r.Interface || o.Interface == "" && onLink(o.Addr, r.Interface, routes)) {
				node = o.Addr
			}
		}
		if a.Node == "" && node.IsValid() && (v4 != nil || !a.IPv4.Value) { // else that of IPv4 would come first, and is not seen
			a.Node = node.String()
		}
	}
	return a
}

// onLink tells whether an address lies in a network that is attached to an interface.
func onLink(a netip.Addr, link string, routes []Route) bool {
	for _, r := range routes {
		if p, err := netip.ParsePrefix(r.Destination); err == nil && !r.Gateway && r.Interface == link && p.Contains(a) {
			return true
		}
	}
	return false
}

// ParseFibTrie returns the IPv4 addresses that /proc/net/fib_trie shows as our own: a line "/32 host LOCAL" below that of the address.
func ParseFibTrie(b []byte) []ownAddress {
	all := []ownAddress{}
	seen := map[netip.Addr]bool{}
	var last netip.Addr
	for line := range bytes.Lines(b) {
		text := strings.TrimSpace(string(line))
		if a, ok := strings.CutPrefix(text, "|-- "); ok {
			last, _ = netip.ParseAddr(a)
			continue
		}
		if text == "/32 host LOCAL" && last.Is4() && !seen[last] { // each table shows it
			seen[last] = true
			all = append(all, ownAddress{"", last})
		}
	}
	return all
}

// ParseInet6 reads /proc/net/if_inet6: address, index, prefix length, scope, flags, interface.
func ParseInet6(b []byte) []ownAddress {
	all := []ownAddress{}
	for line := range bytes.Lines(b) {
		f := strings.Fields(string(line))
		if len(f) != 6 || len(f[0]) != 32 {
			continue
		}
		if raw, err := hex.DecodeString(f[0]); err == nil {
			all = append(all, ownAddress{f[5], netip.AddrFrom16([16]byte(raw))})
		}
	}
	return all
}

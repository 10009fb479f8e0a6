package host

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"runtime"
	"slices"
	"strconv"
	"strings"
)

// Route is an entry of the main routing tables.
type Route struct {
	Destination string `json:"destination"` // in CIDR form: "0.0.0.0/0", "10.8.0.0/16"
	Interface   string `json:"interface"`
	Gateway     bool   `json:"gateway"`         // whether it leads over another host
	Metric      int    `json:"metric,omitzero"` // of several to one destination the lowest is used
}

// maxRoutes bounds the routes: a router that speaks BGP has a million.
const maxRoutes = 512

// The flags of a route (linux/route.h, linux/ipv6_route.h).
const (
	routeUp      = 0x1
	routeGateway = 0x2
	routeReject  = 0x200
	routeCache   = 0x01000000
	routeLocal   = 0x80000000
)

func routesProbe() Probe {
	return Probe{Name: "routes", Run: func(_ context.Context, s *System) (Part, error) {
		routes, err := readRoutes(s)
		return func(f *Facts) { f.Routes = routes }, err
	}}
}

// readRoutes returns nil without an error for a captured machine that does not tell, and for macOS.
func readRoutes(s *System) ([]Route, error) {
	if r := s.Snapshot().Routes; r != nil {
		return r, nil
	}
	v4, err := s.ReadFile("/proc/net/route")
	v6, err6 := s.ReadFile("/proc/net/ipv6_route")
	switch {
	case err == nil || err6 == nil: // a kernel may lack either family
	case (!s.Live() || runtime.GOOS != "linux") && errors.Is(err, fs.ErrNotExist):
		return nil, nil
	default:
		return nil, fmt.Errorf("cannot read the routes: %w", err)
	}
	routes := append(ParseRoutes(v4), ParseRoutes6(v6)...)
	return routes[:min(len(routes), maxRoutes)], nil
}

// ParseRoutes reads /proc/net/route, the main table of IPv4, in which addresses are hexadecimal in the byte order of the
// machine; those that we run on are little-endian.
func ParseRoutes(b []byte) []Route {
	all := []Route{}
	for line := range bytes.Lines(b) {
		f := strings.Fields(string(line)) // interface destination gateway flags refs use metric mask ...
		if len(f) < 8 {
			continue
		}
		dst, err1 := littleEndian(f[1])
		mask, err2 := littleEndian(f[7])
		flags, err3 := strconv.ParseUint(f[3], 16, 32)
		metric, err4 := strconv.ParseUint(f[6], 10, 31)
		if errors.Join(err1, err2, err3, err4) != nil || flags&routeUp == 0 || flags&routeReject != 0 {
			continue
		}
		bits := 0
		for m := binary.BigEndian.Uint32(mask[:]); m&(1<<31) != 0; m <<= 1 {
			bits++
		}
		all = append(all, Route{
			Destination: netip.PrefixFrom(netip.AddrFrom4(dst), bits).String(), Interface: f[0],
			Gateway: flags&routeGateway != 0, Metric: int(metric),
		})
	}
	return preferred(all)
}

func littleEndian(s string) (a [4]byte, err error) {
	n, err := strconv.ParseUint(s, 16, 32)
	binary.LittleEndian.PutUint32(a[:], uint32(n))
	return a, err
}

// ParseRoutes6 reads /proc/net/ipv6_route, which shows all tables: routes to ourselves, multicast and those that refuse are left out.
func ParseRoutes6(b []byte) []Route {
	all := []Route{}
	for line := range bytes.Lines(b) {
		f := strings.Fields(string(line)) // destination bits source bits gateway metric refs use flags interface
		if len(f) != 10 || len(f[0]) != 32 {
			continue
		}
		raw, err1 := hex.DecodeString(f[0])
		bits, err2 := strconv.ParseUint(f[1], 16, 8)
		metric, err3 := strconv.ParseUint(f[5], 16, 32)
		flags, err4 := strconv.ParseUint(f[8], 16, 32)
		if errors.Join(err1, err2, err3, err4) != nil || bits > 128 || metric > 1<<31-1 {
			continue
		}
		a := netip.AddrFrom16([16]byte(raw))
		if flags&routeUp == 0 || flags&(routeReject|routeCache|routeLocal) != 0 || a.IsMulticast() || f[9] == "lo" {
			continue
		}
		all = append(all, Route{
			Destination: netip.PrefixFrom(a, int(bits)).String(), Interface: f[9], Gateway: flags&routeGateway != 0, Metric: int(metric),
		})
	}
	return preferred(all)
}

// preferred sorts by destination, and of one destination the route that is used first.
func preferred(routes []Route) []Route {
	slices.SortStableFunc(routes, func(a, b Route) int {
		return cmp.Or(cmp.Compare(a.Destination, b.Destination), cmp.Compare(a.Metric, b.Metric))
	})
	return routes
}

// defaultRoute returns the route to everywhere of one family: destination "0.0.0.0/0" or "::/0".
func defaultRoute(routes []Route, destination string) (Route, bool) {
	i := slices.IndexFunc(routes, func(r Route) bool { return r.Destination == destination })
	if i < 0 {
		return Route{}, false
	}
	return routes[i], true
}

// documentedRoutes are the same without public addresses. What is as wide as the halves of the Internet that a VPN takes says nothing of anybody.
func documentedRoutes(routes []Route) []Route {
	out := slices.Clone(routes)
	for i, r := range out {
		p, err := netip.ParsePrefix(r.Destination)
		if err != nil || p.Bits() <= 8 || documented(p.Addr()) == p.Addr() {
			continue
		}
		bits := max(p.Bits(), 24) // 192.0.2.0/24, 2001:db8::/32
		if p.Addr().Is6() {
			bits = max(p.Bits(), 32)
		}
		out[i].Destination = netip.PrefixFrom(documented(p.Addr()), bits).Masked().String()
	}
	return out
}

// shared is the range that providers and VPNs use inside (RFC 6598).
func shared() netip.Prefix { return netip.PrefixFrom(netip.AddrFrom4([4]byte{100, 64}), 10) }

package distro

import (
	"fmt"
	"math"
	"net/netip"

	"github.com/pipeopshq/pipeops-agent/internal/host"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

// families warns of machines without IPv4, as GitHub has no IPv6 address (k3s issues 5921, 13846), and of those that were
// seen not to reach it. What was seen counts more: NAT64 leads from IPv6 to GitHub.
func families() Requirement {
	return Requirement{Name: "ipv4", Code: reason.NetIPv6Only, Advice: true, Judge: func(c Case) Finding {
		a := c.Facts.Addresses
		releases, asked := releasesSeen(c.Facts)
		switch {
		case asked && (releases.IPv4.Value || releases.IPv6.Value):
			return met()
		case asked && cutOff(c.Facts, releases):
			return unmet("the releases of k3s ("+releases.Address+") do not answer over "+familiesOf(a)+", and others do", "").
				fixed("let this machine reach them, or give a mirror by --mirror that it reaches")
		case !a.IPv4.OK || !a.IPv6.OK:
			return unknown()
		case !a.IPv4.Value && a.IPv6.Value:
			return unmet("the machine has only IPv6, and the releases of k3s are on a host that has none", "")
		}
		return met()
	}}
}

func releasesSeen(f host.Facts) (host.Endpoint, bool) {
	for _, e := range f.Reach {
		if e.Name == host.ReachReleases {
			return e, true
		}
	}
	return host.Endpoint{}, false
}

// cutOff reports whether an endpoint answers over no family that the machine has, while another one shows that there is a
// network at all. A proxy reaches what the machine itself does not.
func cutOff(f host.Facts, e host.Endpoint) bool {
	a := f.Addresses
	if f.Proxy.Source != "" || !a.IPv4.Value && !a.IPv6.Value || a.IPv4.Value && e.IPv4.Or(true) || a.IPv6.Value && e.IPv6.Or(true) {
		return false
	}
	for _, other := range f.Reach {
		if other.IPv4.Value || other.IPv6.Value {
			return true
		}
	}
	return false
}

func familiesOf(a host.Addresses) string {
	switch {
	case a.IPv4.Value && a.IPv6.Value:
		return "IPv4 or IPv6"
	case a.IPv6.Value:
		return "IPv6"
	}
	return "IPv4"
}

// mtu warns of links over which the packets of vxlan, 50 bytes larger, do not fit, and of paths that are narrower than the
// link of which flannel takes its MTU (hcloud-k8s issue 450).
func mtu() Requirement {
	return Requirement{Name: "mtu", Code: reason.NetMTU, Advice: true, Judge: func(c Case) Finding {
		l, ok := wayOut(c.Facts)
		if !ok {
			return unknown()
		}
		if l.MTU < minMTU {
			return unmet(fmt.Sprintf("%s carries %d bytes; with less than %d IPv6 and large packets of pods get lost", l.Name, l.MTU, minMTU), "")
		}
		least := host.Endpoint{PathMTU: host.Is(l.MTU)}
		for _, e := range c.Facts.Reach {
			if n, ok := e.PathMTU.Get(); ok && n < least.PathMTU.Value {
				least = e
			}
		}
		if least.PathMTU.Value < l.MTU {
			n := least.PathMTU.Value
			return unmet(fmt.Sprintf("%s carries %d bytes, but the path to %s only %d; large packets of pods get lost", l.Name, l.MTU, least.Address, n), "").
				fixed(fmt.Sprintf("set the MTU of %s to %d in the settings of the network, or that of flannel to %d", l.Name, n, n-vxlanBytes))
		}
		return met()
	}}
}

// wayOut is the link of the default route.
func wayOut(f host.Facts) (host.Link, bool) {
	var out string
	for _, r := range f.Routes {
		if to, err := netip.ParsePrefix(r.Destination); err == nil && to.Bits() == 0 {
			out = r.Interface
			break
		}
	}
	for _, l := range f.Links {
		if l.Name == out && l.MTU > 0 {
			return l, true
		}
	}
	return host.Link{}, false
}

// skewed says how far the clock is off those of others; "" if it is not, or not known to be.
func skewed(f host.Facts) string {
	for _, e := range f.Reach {
		skew, ok := e.Skew.Get()
		if !ok || math.Abs(skew) <= maxSkew {
			continue
		}
		side := "ahead of"
		if skew < 0 {
			side = "behind"
		}
		return fmt.Sprintf("the clock is %.0f s %s that of %s", math.Abs(skew), side, e.Address)
	}
	return ""
}

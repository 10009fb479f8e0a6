package distro

import (
	"strings"
	"testing"

	"github.com/pipeopshq/pipeops-agent/internal/host"
)

// TestReach: what was seen of the servers that an install needs. What is unknown says nothing against a machine.
func TestReach(t *testing.T) {
	yes, no, unknown := host.Is(true), host.Is(false), host.Known[bool]{}
	at := func(name string, v4, v6 host.Known[bool]) host.Endpoint {
		return host.Endpoint{Name: name, Address: name + ".example:443", IPv4: v4, IPv6: v6}
	}
	path := func(name string, mtu int) host.Endpoint {
		return host.Endpoint{Name: name, Address: name + ".example:443", PathMTU: host.Is(mtu)}
	}
	off := func(name string, seconds float64) host.Endpoint {
		return host.Endpoint{Name: name, Address: name + ".example:443", Skew: host.Is(seconds)}
	}
	both, only4, only6 := host.Addresses{IPv4: yes, IPv6: yes}, host.Addresses{IPv4: yes, IPv6: no}, host.Addresses{IPv4: no, IPv6: yes}
	const releases, images, gateway = host.ReachReleases, host.ReachImages, host.ReachGateway
	for name, c := range map[string]struct {
		judged Requirement
		facts  host.Facts
		want   Verdict
		says   []string // parts of the evidence and of the way out
	}{
		"nobody was asked":            {families(), host.Facts{Addresses: only4}, Met, nil},
		"releases over IPv4":          {families(), host.Facts{Addresses: both, Reach: []host.Endpoint{at(releases, yes, no), at(images, yes, yes)}}, Met, nil},
		"releases gone":               {families(), host.Facts{Addresses: both, Reach: []host.Endpoint{at(releases, no, no), at(images, yes, no)}}, Unmet, []string{"releases.example:443", "IPv4 or IPv6", "--mirror"}},
		"releases gone, IPv4 only":    {families(), host.Facts{Addresses: only4, Reach: []host.Endpoint{at(releases, no, unknown), at(gateway, yes, no)}}, Unmet, []string{"over IPv4,"}},
		"releases gone, IPv6 only":    {families(), host.Facts{Addresses: only6, Reach: []host.Endpoint{at(releases, unknown, no), at(images, no, yes)}}, Unmet, []string{"over IPv6,"}},
		"releases gone, proxy":        {families(), host.Facts{Addresses: both, Proxy: host.Proxy{Source: "environment"}, Reach: []host.Endpoint{at(releases, no, no), at(images, yes, no)}}, Met, nil},
		"no network at all":           {families(), host.Facts{Addresses: both, Reach: []host.Endpoint{at(releases, no, no), at(images, no, no)}}, Met, nil},
		"others unknown":              {families(), host.Facts{Addresses: both, Reach: []host.Endpoint{at(releases, no, no), at(images, unknown, unknown)}}, Met, nil},
		"releases too slow":           {families(), host.Facts{Addresses: both, Reach: []host.Endpoint{at(releases, unknown, no), at(images, yes, no)}}, Met, nil},
		"families unknown":            {families(), host.Facts{Reach: []host.Endpoint{at(releases, no, no), at(images, yes, no)}}, Unknown, nil},
		"IPv6 only, too slow to tell": {families(), host.Facts{Addresses: only6, Reach: []host.Endpoint{at(releases, no, unknown), at(images, no, yes)}}, Unmet, []string{"only IPv6"}},

		"path as wide":     {mtu(), linked(1500, path(releases, 1500)), Met, nil},
		"path wider":       {mtu(), linked(1500, path(gateway, 65536)), Met, nil},
		"path narrower":    {mtu(), linked(1500, path(releases, 1500), path(images, 1400), path(gateway, 1499)), Unmet, []string{"eth0 carries 1500 bytes", "images.example:443 only 1400", "of eth0 to 1400", "flannel to 1350"}},
		"one byte":         {mtu(), linked(1500, path(gateway, 1499)), Unmet, []string{"only 1499"}},
		"path unknown":     {mtu(), linked(1500, at(releases, yes, no)), Met, nil},
		"narrow link":      {mtu(), linked(1300, path(gateway, 1280)), Unmet, []string{"eth0 carries 1300 bytes; with less than 1330"}},
		"link unknown":     {mtu(), host.Facts{Reach: []host.Endpoint{path(releases, 1400)}}, Unknown, nil},
		"clock ahead":      {clock(), host.Facts{Reach: []host.Endpoint{off(releases, 0), off(gateway, 180)}}, Unmet, []string{"180 s ahead of that of gateway.example:443"}},
		"clock behind":     {clock(), host.Facts{Reach: []host.Endpoint{off(images, -61)}}, Unmet, []string{"61 s behind that of images.example:443"}},
		"clock a bit off":  {clock(), host.Facts{Clock: host.Clock{Year: host.Is(2026)}, Reach: []host.Endpoint{off(releases, 60), off(gateway, -60)}}, Met, nil},
		"year before skew": {clock(), host.Facts{Clock: host.Clock{Year: host.Is(2021)}, Reach: []host.Endpoint{off(releases, -1e8)}}, Unmet, []string{"the clock says 2021"}},
		"skew unknown":     {clock(), host.Facts{Reach: []host.Endpoint{at(releases, yes, no)}}, Unknown, nil},
	} {
		got := c.judged.Judge(Case{Facts: c.facts})
		if got.Verdict != c.want {
			t.Errorf("%s: %s (%s), want %s", name, got.Verdict, got.Evidence, c.want)
		}
		for _, part := range c.says {
			if !strings.Contains(got.Evidence+"\n"+got.Fix, part) {
				t.Errorf("%s: %q, %q: no %q", name, got.Evidence, got.Fix, part)
			}
		}
	}
}

// linked is a machine whose way out carries packets of so many bytes.
func linked(mtu int, seen ...host.Endpoint) host.Facts {
	return host.Facts{
		Routes: []host.Route{{Destination: "10.0.0.0/24", Interface: "eth1"}, {Destination: "0.0.0.0/0", Interface: "eth0", Gateway: true}},
		Links:  []host.Link{{Name: "eth1", MTU: 9000, Up: true}, {Name: "eth0", MTU: mtu, Up: true}},
		Reach:  seen,
	}
}

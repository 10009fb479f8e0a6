package distro

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/pipeopshq/pipeops-agent/internal/host"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

// networks are those of a cluster.
type networks struct{ pods, services netip.Prefix }

func (n networks) values() []string { return []string{n.pods.String(), n.services.String()} }

// choices are the networks that k3s may get, its own defaults first. The last ones are for machines whose VPN has taken
// all of 10.0.0.0/8, and for those that have 172.16.0.0/12 besides.
func choices() []networks {
	var all []networks
	for _, c := range [][2]string{
		{"10.42.0.0/16", "10.43.0.0/16"},
		{"10.142.0.0/16", "10.143.0.0/16"},
		{"172.28.0.0/16", "172.29.0.0/16"},
		{"172.22.0.0/16", "172.23.0.0/16"},
		{"192.168.128.0/18", "192.168.192.0/18"},
		{"100.112.0.0/16", "100.113.0.0/16"},
	} {
		all = append(all, networks{netip.MustParsePrefix(c[0]), netip.MustParsePrefix(c[1])})
	}
	return all
}

// freeNetworks returns the networks that a cluster gets, and why they are not the default ones: the first that no route
// leads into. Those of a cluster of ours that is there are its own. It is false if no networks are free.
func freeNetworks(f host.Facts) (networks, string, bool) {
	if made, ours := ourSettings(f); ours {
		if n, ok := parseNetworks(made["cluster-cidr"], made["service-cidr"]); ok {
			return n, "", true
		}
		return choices()[0], "", true
	}
	if !f.Addresses.IPv4.Or(true) && f.Addresses.IPv6.Value {
		n, _ := parseNetworks("fd00:42::/56", "fd00:43::/112") // as k3s chooses them itself
		return n, "the machine has only IPv6", true
	}
	first := ""
	for _, n := range choices() {
		clash := ""
		for _, r := range f.Routes {
			to, err := netip.ParsePrefix(r.Destination)
			if err != nil || to.Bits() == 0 || ownInterface(r.Interface) {
				continue
			}
			if to.Overlaps(n.pods) || to.Overlaps(n.services) {
				clash = fmt.Sprintf("the route to %s leads to %s", r.Destination, r.Interface)
				break
			}
		}
		if clash == "" {
			return n, first, true
		}
		if first == "" {
			first = clash
		}
	}
	return choices()[0], first, false
}

func parseNetworks(pods, services string) (networks, bool) {
	p, err1 := netip.ParsePrefix(pods)
	s, err2 := netip.ParsePrefix(services)
	return networks{p, s}, err1 == nil && err2 == nil
}

// ownInterface reports whether an interface is one that a cluster makes.
func ownInterface(name string) bool {
	return name == "cni0" || strings.HasPrefix(name, "flannel") || strings.HasPrefix(name, "veth") || strings.HasPrefix(name, "cali")
}

func cidr() Requirement {
	return Requirement{Name: "cidr", Code: reason.NetCIDROverlap, Judge: func(c Case) Finding {
		if c.Facts.Routes == nil && !c.Facts.Addresses.IPv4.OK {
			return unknown()
		}
		n, clash, ok := freeNetworks(c.Facts)
		switch {
		case clash == "":
			return met()
		case !ok:
			return unmet(clash+", and so it is with every network that a cluster could use", "two private networks of which no route knows")
		}
		return unmet(clash, "no route into 10.42.0.0/16 and 10.43.0.0/16").
			cured(remedy(RemedyCIDR, fmt.Sprintf("pods get %s, services %s", n.pods, n.services), n.values()...))
	}}
}

// route needs a default route: k3s finds the address of the node by it, also on a machine that reaches nobody.
func route() Requirement {
	return Requirement{Name: "route", Code: reason.NetNoRoute, Judge: func(c Case) Finding {
		if len(c.Facts.Routes) == 0 { // a list without any route is one that could not be read
			return unknown()
		}
		for _, r := range c.Facts.Routes {
			if to, err := netip.ParsePrefix(r.Destination); err == nil && to.Bits() == 0 {
				return met()
			}
		}
		return unmet("no route leads to 0.0.0.0/0 or ::/0", "a default route")
	}}
}

// dns needs name servers that pods can reach: one at a loopback address is another one in each pod (coredns issue 2087).
func dns() Requirement {
	return Requirement{Name: "dns", Code: reason.NetDNSLoop, Judge: func(c Case) Finding {
		d := c.Facts.DNS
		loop, ok := d.Loopback.Get()
		var faults []string
		switch {
		case !ok && d.Wildcard == nil:
			return unknown()
		case loop:
			faults = append(faults, "/etc/resolv.conf names "+strings.Join(loopbacks(d.Nameservers), ", "))
		case len(d.Wildcard) > 0:
			faults = append(faults, "every name exists in the search domain "+strings.Join(d.Wildcard, ", "))
		case len(d.Nameservers) > maxNameservers:
			faults = append(faults, fmt.Sprintf("/etc/resolv.conf names %d servers, and pods use %d", len(d.Nameservers), maxNameservers))
		default:
			return met()
		}
		servers := d.Servers[:min(len(d.Servers), maxNameservers)]
		if len(servers) == 0 {
			return unmet(strings.Join(faults, "; ")+", and no other is known", "").advice()
		}
		return unmet(strings.Join(faults, "; "), "name servers that pods can reach").
			cured(remedy(RemedyResolvConf, "pods ask "+strings.Join(servers, ", "), servers...).
				risking("name servers that change later have to be told to the cluster: run install again"))
	}}
}

func loopbacks(servers []string) []string {
	return slices.DeleteFunc(slices.Clone(servers), func(s string) bool {
		a, err := netip.ParseAddr(s)
		return err != nil || !a.IsLoopback()
	})
}

// firewall needs that packets of pods get through: k3s's own rules come after those of ufw and firewalld (k3s issues 1280,
// 7542), and after the rules of Oracle's images that reject all else (977).
func firewall() Requirement {
	return Requirement{Name: "firewall", Code: reason.NetFirewall, Judge: func(c Case) Finding {
		f := c.Facts.Firewall
		nets := c.letIn()
		let := "packets of pods and services (" + strings.Join(nets, ", ") + ") are let in"
		if len(nets) > 2 {
			let = "packets of pods, services and servers (" + strings.Join(nets, ", ") + ") are let in"
		}
		letIn := func(id, title string) Remedy {
			r := remedy(id, title, nets...)
			if c.Request.Node != "" { // which workers there are, and will be, nobody here knows
				r = r.risking(fmt.Sprintf("other workers are not let in: for pods to reach each other, let %d/udp in from each of them here, and from this machine there", vxlanPort))
			}
			return r
		}
		switch {
		case f.UFW.Value:
			return unmet("ufw is active", "ufw lets pods through").cured(letIn(RemedyUFW, "ufw: "+let))
		case f.Firewalld.Value:
			return unmet("firewalld is active", "firewalld trusts pods").cured(letIn(RemedyFirewalld, "firewalld: "+let))
		case len(f.Rejects) > 0:
			return unmet("packets are rejected by "+strings.Join(f.Rejects, ", "), "rules that accept the packets of pods").
				cured(letIn(RemedyAcceptRules, let+", before they are rejected"))
		case !f.UFW.OK && !f.Firewalld.OK && f.Rejects == nil:
			return unknown()
		}
		return met()
	}}
}

// networkManager needs that NetworkManager leaves the interfaces of pods alone (rke2 issue 786).
func networkManager() Requirement {
	return Requirement{Name: "network-manager", Code: reason.NetManager, Judge: func(c Case) Finding {
		if c.Facts.Neighbours == nil {
			return unknown()
		}
		n, ok := neighbour(c.Facts, "network", "networkmanager")
		if !ok {
			return met()
		}
		return unmet("NetworkManager runs ("+n.Evidence+")", "NetworkManager that leaves the interfaces of pods alone").
			cured(remedy(RemedyNetManager, "NetworkManager leaves the interfaces of pods alone"))
	}}
}

// cloudSetup minds nm-cloud-setup, whose rules take packets of pods away (documentation of k3s, "Additional OS
// preparations"): below RHEL 8.4 it must be off, later it is better so.
func cloudSetup(advice bool) Requirement {
	name := "nm-cloud-setup"
	if advice {
		name += "-advised"
	}
	return Requirement{Name: name, Code: reason.NetManager, Advice: advice, Judge: func(c Case) Finding {
		if c.Facts.Neighbours == nil {
			return unknown()
		}
		n, ok := neighbour(c.Facts, "network", "nm-cloud-setup")
		_, minor, _ := strings.Cut(c.Facts.OS.Version, ".")
		old := major(c.Facts.OS.Version) == 8 && len(minor) == 1 && minor < "4"
		switch {
		case !ok, old == advice:
			return met()
		}
		return unmet("nm-cloud-setup is enabled ("+n.Evidence+")", "nm-cloud-setup disabled").
			fixed("systemctl disable --now nm-cloud-setup.service nm-cloud-setup.timer, then reboot").
			cured(remedy(RemedyServiceOff, "nm-cloud-setup is switched off", "nm-cloud-setup.service", "nm-cloud-setup.timer").costing(reason.CostReboot).
				risking("further addresses of the cloud's network cards are no longer configured by themselves"))
	}}
}

func neighbour(f host.Facts, kind, name string) (host.Neighbour, bool) {
	for _, n := range f.Neighbours {
		if n.Kind == kind && (name == "" || n.Name == name) {
			return n, true
		}
	}
	return host.Neighbour{}, false
}

// panel warns of programs that manage a whole machine and expect to be alone.
func panel() Requirement {
	return Requirement{Name: "panel", Code: reason.NeighbourPanel, Advice: true, Judge: func(c Case) Finding {
		if c.Facts.Neighbours == nil {
			return unknown()
		}
		n, ok := neighbour(c.Facts, "panel", "")
		if !ok {
			return met()
		}
		return unmet(n.Name+" manages this machine ("+n.Evidence+")", "")
	}}
}

// bundledTools prefers the iptables that k3s brings where the machine's is missing or known to break rules: 1.8.0 to 1.8.4
// (k3s issue 8795; RHEL 8 and Amazon Linux 2 have it), or where both back ends hold rules.
func bundledTools() Requirement {
	return Requirement{Name: "iptables", Code: reason.HostIPTables, Judge: func(c Case) Finding {
		t, o := c.Facts.IPTables, c.Facts.OS
		evidence := ""
		switch _, installed := c.Facts.Commands["iptables"]; {
		case brokenIPTables(t.Version):
			evidence = "iptables " + t.Version + " is known to break rules"
		case t.Version == "" && (o.Family == "rhel" && major(o.Version) == 8 || is(o, "amzn", 2)) && installed:
			evidence = "iptables of " + name(o) + " is 1.8.4, which is known to break rules"
		case t.Backend == "nft" && t.Legacy.Value:
			evidence = "iptables uses nftables, and rules of the legacy back end are in force too"
		case c.Facts.Commands != nil && !installed:
			evidence = "no iptables is installed"
		case c.Facts.Commands == nil && t.Version == "":
			return unknown()
		default:
			return met()
		}
		return unmet(evidence, "iptables 1.8.5 or later").cured(remedy(RemedyBundledTools, "k3s uses the iptables that it brings"))
	}}
}

func brokenIPTables(version string) bool {
	patch, ok := strings.CutPrefix(version, "1.8.")
	return ok && len(patch) == 1 && patch <= "4"
}

// webPorts minds, where the bundled ingress is wanted, who else answers on its ports.
func webPorts() Requirement {
	return Requirement{Name: "web-ports", Code: reason.NetWebPorts, Judge: func(c Case) Finding {
		switch {
		case !c.Request.Ingress || ourK3s(c.Facts):
			return met()
		case c.Facts.Listening == nil:
			return unknown()
		}
		taken := holders(c, false, 80, 443)
		if len(taken) == 0 {
			return met()
		}
		return unmet(strings.Join(taken, ", "), "the ports 80 and 443 free").
			cured(remedy(RemedyDisable, "the bundled ingress is left out", "traefik", "servicelb"))
	}}
}

// proxied says that only the package manager has a proxy. An install sees to any other: [FindProxies].
func proxied() Requirement {
	return Requirement{Name: "proxy", Code: reason.NetProxy, Advice: true, Judge: func(c Case) Finding {
		if p := c.Facts.Proxy; p.OfPackages() {
			return unmet("the proxy in "+p.Source+" is used for packages only: neither downloads nor images go through it", "")
		}
		return met()
	}}
}

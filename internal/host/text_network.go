package host

import (
	"fmt"
	"strconv"
	"strings"
)

// network groups what matters about the network; most bounds lists.
func (f Facts) network(most func(int) int) section {
	s := section{title: "Network"}
	s.add("Address", f.Addresses.text())
	s.add("Links", f.links(most(maxShown)))
	s.add("Routes", f.routes(most(maxShown)))
	s.add("Names", f.DNS.text())
	s.add("Reach", f.reach())
	s.add("Firewall", f.Firewall.text())
	s.add("Proxy", f.Proxy.text())
	s.add("Ports", f.ports(most(maxOwnersShown)))
	return s
}

func (a Addresses) text() string {
	var parts []string
	if a.Node != "" {
		parts = append(parts, a.Node)
	}
	v4, known4 := a.IPv4.Get()
	v6, known6 := a.IPv6.Get()
	switch {
	case !known4 && !known6:
	case v4 && v6:
		parts = append(parts, "IPv4 and IPv6")
	case v4:
		parts = append(parts, "IPv4 only")
	case v6:
		parts = append(parts, "IPv6 only")
	case known4 && known6:
		parts = append(parts, "no way out")
	}
	return strings.Join(parts, ", ")
}

// links names the interfaces that are up and have a device behind them.
func (f Facts) links(most int) string {
	var all []string
	for _, l := range f.Links {
		if l.Up && !l.Virtual {
			all = append(all, fmt.Sprintf("%s (MTU %d)", l.Name, l.MTU))
		}
	}
	return few(all, most)
}

// routes names what lies behind another host, apart from the rest of the world.
func (f Facts) routes(most int) string {
	var all []string
	for _, r := range f.Routes {
		if r.Gateway && r.Destination != "0.0.0.0/0" && r.Destination != "::/0" {
			all = append(all, r.Destination+" over "+r.Interface)
		}
	}
	return few(all, most)
}

func (d DNS) text() string {
	s := few(d.Nameservers, 3)
	if d.Loopback.Value {
		s += " on this machine only"
		if len(d.Servers) > 0 {
			s += ", behind it " + few(d.Servers, 3)
		}
	}
	if len(d.Wildcard) > 0 {
		s += "; every name exists in " + few(d.Wildcard, 3)
	}
	return s
}

// reach tells of each endpoint how it answers.
func (f Facts) reach() string {
	var all []string
	for _, e := range f.Reach {
		all = append(all, e.text())
	}
	return strings.Join(all, "; ")
}

func (e Endpoint) text() string {
	s := e.Name
	switch {
	case e.IPv4.Value && e.IPv6.Value:
		s += " over IPv4 and IPv6"
	case e.IPv4.Value:
		s += " over IPv4"
	case e.IPv6.Value:
		s += " over IPv6"
	case e.IPv4.OK && e.IPv6.OK:
		s += " not at all"
	default:
		s += " " + unknownText
	}
	if n, ok := e.PathMTU.Get(); ok {
		s += fmt.Sprintf(", packets of %d bytes", n)
	}
	switch skew, ok := e.Skew.Get(); {
	case ok && skew > 0:
		s += fmt.Sprintf(", our clock is %.0f s ahead", skew)
	case ok && skew < 0:
		s += fmt.Sprintf(", our clock is %.0f s behind", -skew)
	}
	return s
}

func (f Firewall) text() string {
	var parts []string
	if f.UFW.Value {
		parts = append(parts, "ufw")
	}
	if f.Firewalld.Value {
		parts = append(parts, "firewalld")
	}
	if len(f.Rejects) > 0 {
		parts = append(parts, "rules that reject ("+few(f.Rejects, 3)+")")
	}
	if f.Forward == "drop" {
		parts = append(parts, "forwarded packets are dropped")
	}
	if len(parts) == 0 && f.UFW.OK && f.Firewalld.OK {
		return "none is active"
	}
	return strings.Join(parts, ", ")
}

func (p Proxy) text() string {
	s := or(p.HTTPS, p.HTTP)
	if s != "" && p.Source != "" {
		s += " (" + p.Source + ")"
	}
	return s
}

// maxPortsOfOne bounds the ports that are shown of one program.
const maxPortsOfOne = 8

// ports names the TCP ports that are listened on by their owners: "sshd 22; k3s-server 6443 6444".
func (f Facts) ports(most int) string {
	if f.Listening == nil {
		return unknownText
	}
	var owners []string
	held := map[string][]string{}
	for _, l := range f.Listening {
		if l.Proto != "tcp" {
			continue
		}
		owner := or(l.Owner, "somebody")
		if held[owner] == nil {
			owners = append(owners, owner)
		}
		held[owner] = append(held[owner], strconv.Itoa(l.Port))
	}
	for i, owner := range owners {
		owners[i] = owner + " " + few(held[owner], maxPortsOfOne)
	}
	if left := len(owners) - most; left > 1 {
		owners = append(owners[:most], fmt.Sprintf("and %d more programs", left))
	}
	return or(strings.Join(owners, "; "), "none in use")
}

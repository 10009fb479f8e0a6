package distro

import (
	"cmp"
	"slices"
	"strings"

	"github.com/pipeopshq/pipeops-agent/internal/host"
	"github.com/pipeopshq/pipeops-agent/internal/proxy"
)

// Proxies is through what others are reached: by our downloads, by k3s and what it runs, and by containerd for images.
type Proxies struct {
	proxy.Proxy
	Containerd proxy.Proxy
	Source     string // where they were found, for people
	Off        bool   // none is to be used, whatever the machine has
}

// FindProxies completes the proxies that the user gave, or those that the machine has where none were given, then with the
// user's list of what is reached without them if there is one: NoProxy names whatever belongs to the cluster, to the machine and to a private network of the gateway. Without a proxy it is the zero
// value. Those of a package manager are only its own.
func FindProxies(given Proxies, f host.Facts, d Decision, nodeName, gateway string) Proxies {
	p := given
	if p.Off {
		return Proxies{}
	}
	if !p.Set() && !p.Containerd.Set() && !f.Proxy.OfPackages() {
		p.Proxy, p.Source = proxy.Proxy{HTTP: f.Proxy.HTTP, HTTPS: f.Proxy.HTTPS, NoProxy: cmp.Or(p.NoProxy, f.Proxy.NoProxy)}, f.Proxy.Source
	}
	if !p.Set() && !p.Containerd.Set() {
		return Proxies{}
	}
	past := pastProxy(f, d, nodeName, gateway)
	if !p.Containerd.Set() {
		p.Containerd.HTTP, p.Containerd.HTTPS = p.HTTP, p.HTTPS
	}
	if p.Containerd.NoProxy == "" {
		p.Containerd.NoProxy = p.NoProxy
	}
	p.Proxy.NoProxy, p.Containerd.NoProxy = joined(p.NoProxy, past), joined(p.Containerd.NoProxy, past)
	return p
}

// Past returns the proxies with more that is reached without them; where there are none it changes nothing.
func (p Proxies) Past(more []string) Proxies {
	if p.Set() || p.Containerd.Set() {
		p.Proxy.NoProxy, p.Containerd.NoProxy = joined(p.NoProxy, more), joined(p.Containerd.NoProxy, more)
	}
	return p
}

// Check finds what cannot be a proxy, without telling it.
func (p Proxies) Check() error {
	if err := p.Proxy.Check(); err != nil {
		return err
	}
	return p.Containerd.Check()
}

// pastProxy lists what must not go through a proxy (k3s issues 194, 325, 2026): the loopback, the machine itself, what is
// in the cluster, and the gateway if it is near.
func pastProxy(f host.Facts, d Decision, nodeName, gateway string) []string {
	past := []string{"localhost", "127.0.0.0/8", "::1"}
	past = append(past, f.Addresses.Own...)
	past = append(past, f.Addresses.Node, strings.ToLower(f.Identity.Hostname), nodeName)
	n, _, _ := freeNetworks(f)
	nets := n.values()
	for _, r := range d.Remedies {
		switch r.ID {
		case RemedyNodeName:
			past = append(past, r.Values...)
		case RemedyCIDR:
			nets = r.Values
		}
	}
	past = append(append(past, nets...), ".svc", ".cluster.local")
	if host := proxy.Near(gateway); host != "" {
		past = append(past, host)
	}
	return past
}

// joined adds to a list what it lacks.
func joined(list string, more []string) string {
	var all []string
	for _, v := range append(strings.FieldsFunc(list, func(r rune) bool { return r == ',' || r == ' ' }), more...) {
		if v != "" && !slices.Contains(all, v) {
			all = append(all, v)
		}
	}
	return strings.Join(all, ",")
}

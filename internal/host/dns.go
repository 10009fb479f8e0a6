package host

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
)

// DNS is how the machine resolves names.
type DNS struct {
	Nameservers []string    `json:"nameservers"` // of /etc/resolv.conf; null: unknown
	Search      []string    `json:"search"`
	Loopback    Known[bool] `json:"loopback"` // whether a name server is on this machine only, such as 127.0.0.53: pods cannot reach it
	Upstream    string      `json:"upstream"` // file with the name servers behind it: "/run/systemd/resolve/resolv.conf"; ""
	Servers     []string    `json:"servers"`  // that pods can use: those of Upstream, or of /etc/resolv.conf, without loopback; null: unknown
	Wildcard    []string    `json:"wildcard"` // search domains in which every name exists; null: unknown, as always without System.Network
}

const (
	resolvConf = "/etc/resolv.conf"

	// maxNameservers and maxSearch bound what is kept; glibc uses three name servers, Kubernetes 32 domains.
	maxNameservers = 16
	maxSearch      = 32
	// maxDomain is the longest domain name (RFC 1035).
	maxDomain = 253

	// wildcardTimeout bounds the look-ups in all search domains.
	wildcardTimeout = 250 * time.Millisecond
)

// upstreams lists the files in which local resolvers write the name servers that they ask.
func upstreams() []string {
	return []string{
		"/run/systemd/resolve/resolv.conf",
		"/run/NetworkManager/no-stub-resolv.conf",
		"/run/NetworkManager/resolv.conf",
		"/run/dnsmasq/resolv.conf",
	}
}

func dnsProbe() Probe {
	return Probe{Name: "dns", Run: func(ctx context.Context, s *System) (Part, error) {
		d, err := readDNS(s)
		if err == nil && s.Live() && s.Network && d.Search != nil {
			d.Wildcard, err = wildcards(ctx, d.Search, new(net.Resolver).LookupHost)
		}
		return func(f *Facts) { f.DNS = d }, err
	}}
}

func readDNS(s *System) (DNS, error) {
	b, err := s.ReadFile(resolvConf)
	if err != nil {
		if !s.Live() && errors.Is(err, fs.ErrNotExist) {
			return DNS{}, nil
		}
		return DNS{}, fmt.Errorf("cannot read the name servers: %w", err)
	}
	d := ParseResolvConf(b)
	if !d.Loopback.Value {
		return d, nil
	}
	for _, path := range upstreams() {
		b, err := s.ReadFile(path)
		if err != nil {
			continue
		}
		if up := ParseResolvConf(b); len(up.Servers) > 0 {
			d.Upstream, d.Servers = path, up.Servers
			break
		}
	}
	return d, nil
}

// ParseResolvConf reads the format of resolv.conf(5). Of several search and domain lines the last counts.
func ParseResolvConf(b []byte) DNS {
	d := DNS{Nameservers: []string{}, Search: []string{}, Servers: []string{}, Loopback: Is(false)}
	for line := range bytes.Lines(b) {
		f := strings.Fields(string(line))
		if len(f) < 2 {
			continue
		}
		switch f[0] {
		case "nameserver":
			a, err := netip.ParseAddr(f[1])
			if err != nil || len(f[1]) > 64 || len(d.Nameservers) == maxNameservers {
				continue
			}
			a = a.WithZone("")
			d.Nameservers = append(d.Nameservers, a.String())
			switch a = a.Unmap(); {
			case a.IsLoopback() || a.IsUnspecified():
				d.Loopback = Is(true)
			case a.Is6() && a.IsLinkLocalUnicast(): // a pod is not on that link
			default:
				d.Servers = append(d.Servers, a.String())
			}
		case "search", "domain":
			d.Search = []string{}
			for _, name := range f[1:] {
				if name = strings.TrimSuffix(strings.ToLower(name), "."); validDomain(name) && len(d.Search) < maxSearch {
					d.Search = append(d.Search, name)
				}
				if f[0] == "domain" {
					break
				}
			}
		}
	}
	return d
}

func validDomain(name string) bool {
	return name != "" && len(name) <= maxDomain && strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789-_.") == ""
}

// maxWildcards is the number of search domains that are asked.
const maxWildcards = 6

// wildcards returns the domains in which a name exists that nobody has made. They break cluster DNS, which tries each
// name of the world in each search domain first (k3s issue 2801).
func wildcards(ctx context.Context, domains []string, lookup func(context.Context, string) ([]string, error)) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, wildcardTimeout)
	defer cancel()
	domains = domains[:min(len(domains), maxWildcards)]
	label := "pipeops-" + strings.ToLower(rand.Text())
	exists := make([]bool, len(domains))
	var g errgroup.Group
	for i, domain := range domains {
		g.Go(func() error {
			found, err := lookup(ctx, label+"."+domain+".")
			var missing *net.DNSError
			if errors.As(err, &missing) && missing.IsNotFound {
				return nil
			}
			exists[i] = err == nil && len(found) > 0
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, fmt.Errorf("cannot look up a name in the search domains: %w", err)
	}
	all := []string{}
	for i, domain := range domains {
		if exists[i] {
			all = append(all, domain)
		}
	}
	return all, nil
}

package host

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"unicode"
)

// shown reports what must not reach a terminal.
func shown(t *testing.T, texts ...string) {
	t.Helper()
	for _, s := range texts {
		if strings.ContainsFunc(s, unicode.IsControl) {
			t.Errorf("%q has control characters", s)
		}
	}
}

func FuzzParseRoutes(f *testing.F) {
	f.Add([]byte(routeTable))
	f.Add([]byte(routeTable6))
	f.Fuzz(func(t *testing.T, b []byte) {
		routes := append(ParseRoutes(b), ParseRoutes6(b)...)
		for _, r := range append(routes, documentedRoutes(routes)...) {
			if p, err := netip.ParsePrefix(r.Destination); err != nil || !p.IsValid() || r.Metric < 0 {
				t.Errorf("%+v: %v", r, err)
			}
		}
	})
}

func FuzzParseAddresses(f *testing.F) {
	f.Add([]byte(fibTrie))
	f.Add([]byte(inet6))
	f.Fuzz(func(t *testing.T, b []byte) {
		a := reachable(ParseFibTrie(b), ParseInet6(b), append(ParseRoutes([]byte(routeTable)), ParseRoutes6([]byte(routeTable6))...))
		if a.Node != "" {
			if _, err := netip.ParseAddr(a.Node); err != nil {
				t.Error(err)
			}
		}
	})
}

func FuzzParseLink(f *testing.F) {
	f.Add("1500", "up", "0x1003")
	f.Fuzz(func(t *testing.T, mtu, state, flags string) {
		if ParseMTU(mtu) < 0 {
			t.Errorf("MTU %q", mtu)
		}
		ParseLinkUp(state, flags)
	})
}

func FuzzParseResolvConf(f *testing.F) {
	seed(f, "etc/resolv.conf")
	f.Add([]byte("nameserver 127.0.0.53\nnameserver fe80::1%eth0\nsearch a b\ndomain c\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		d := ParseResolvConf(b)
		shown(t, append(d.Nameservers, d.Search...)...)
		if len(d.Nameservers) > maxNameservers || len(d.Search) > maxSearch || len(d.Servers) > len(d.Nameservers) {
			t.Errorf("%+v", d)
		}
		for _, s := range d.Servers {
			if a, err := netip.ParseAddr(s); err != nil || a.IsLoopback() {
				t.Errorf("pods cannot use %q", s)
			}
		}
	})
}

func FuzzParseProxy(f *testing.F) {
	f.Add([]byte("http_proxy=http://u:p@h:1\nno_proxy=a,b\nDefaultEnvironment=\"https_proxy=h\"\nAcquire::http::Proxy \"http://h\";\nproxy=h\nPPid:\t3\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		ParseParent(b)
		for _, p := range []Proxy{ParseEnvironmentFile(b), ParseManagerEnvironment(b), ParseAptProxy(b), ParseDnfProxy(b), environmentProxy(strings.Split(string(b), "\x00"))} {
			shown(t, p.HTTP, p.HTTPS, p.NoProxy)
			if strings.Contains(p.HTTP+p.HTTPS, "@") {
				t.Errorf("%+v holds a user", p)
			}
		}
	})
}

func FuzzParseIPTables(f *testing.F) {
	f.Add([]byte("\x001.8.9 (nf_tables)\x00"))
	f.Add([]byte("Package: iptables\nVersion: 1:1.8.9-2\n\nP:iptables\nV:1.8.10-r3\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, v := range []string{ParseProgramVersion(b), ParsePackageVersion(b, "Package: iptables", "Version: "), ParsePackageVersion(b, "P:iptables", "V:")} {
			if strings.Trim(v, "0123456789.") != "" {
				t.Errorf("version %q", v)
			}
		}
	})
}

func FuzzParseFirewall(f *testing.F) {
	f.Add([]byte("*filter\n:INPUT DROP [0:0]\n:FORWARD ACCEPT [0:0]\n-A INPUT -m comment --comment \"x\" -j REJECT\nENABLED=yes\nDEFAULT_FORWARD_POLICY=\"DROP\"\n"))
	f.Add([]byte("chain input { type filter hook input priority 0; policy drop; }"))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, parse := range []func([]byte) rules{ParseRules, ParseNftRules} {
			r := parse(b)
			shown(t, r.rejects...)
			if r.forward != "" && r.forward != "drop" && r.forward != "accept" {
				t.Errorf("policy %q", r.forward)
			}
		}
		if a, b := ParseNftRules(b), ParseNftRules(redactNftRules(b)); len(a.rejects) != len(b.rejects) || a.forward != b.forward {
			t.Errorf("%+v is captured as %+v", a, b)
		}
		ParseUFWConf(b)
		ParseUFWForward(b)
	})
}

func FuzzParseCloud(f *testing.F) {
	seed(f, instanceData)
	f.Add([]byte(`{"v1":{"cloud_name":"aws","platform":"ec2"}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		name := ParseInstanceData(b)
		if again := ParseInstanceData(redact(instanceData, b)); name != again {
			t.Errorf("%q is captured as %q", name, again)
		}
	})
}

func FuzzParseEngine(f *testing.F) {
	f.Add([]byte(dockerVersion))
	f.Add([]byte(dockerInfo))
	f.Add([]byte(k3dNodes))
	f.Fuzz(func(t *testing.T, b []byte) {
		_, _ = ParseDockerVersion(b)
		if d, _ := ParseDockerInfo(Docker{Reachable: Is(true)}, b); d.Root != "" && !strings.HasPrefix(d.Root, "/") {
			t.Errorf("root %q", d.Root)
		}
		ParseMinikubeDriver(b)
		nodes, _ := ParseContainers(b)
		for _, k := range engineKinds() {
			for _, c := range k.find(&System{Root: t.TempDir(), snapshot: &Snapshot{}}, nodes, true) {
				if !ValidNodeName(c.Cluster) {
					t.Errorf("name %q", c.Cluster)
				}
			}
		}
	})
}

func FuzzParseKubeconfig(f *testing.F) {
	f.Add([]byte(kubeconfig("x", "https://10.0.0.1:6443")))
	f.Add([]byte(kubeconfig("gke_a", "https://34.1.2.3")))
	f.Fuzz(func(t *testing.T, b []byte) {
		x, ok := ParseKubeconfig(b)
		y, again := ParseKubeconfig(redactKubeconfig(b))
		if ok && (!again || x.port != y.port || (x.kind() == "local") != (y.kind() == "local")) {
			t.Errorf("%+v is captured as %+v", x, y)
		}
	})
}

func FuzzParseK3sSettings(f *testing.F) {
	f.Add([]byte("cluster-cidr: 10.142.0.0/16\nservice-cidr: 10.143.0.0/16\ntoken: secret\nnode-name: [a, b]\n"))
	f.Add([]byte(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		for key, value := range ParseK3sSettings(b) {
			if !slices.Contains(lastingSettings(), key) || value != clean(value) {
				t.Errorf("%q: %q", key, value)
			}
		}
		keepK3sSettings(b)
	})
}

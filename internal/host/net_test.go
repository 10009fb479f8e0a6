package host

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

const (
	routeTable = `Iface	Destination	Gateway 	Flags	RefCnt	Use	Metric	Mask		MTU	Window	IRTT
eth1	00000000	0102A8C0	0003	0	0	200	00000000	0	0	0
eth0	00000000	010200C0	0003	0	0	100	00000000	0	0	0
wg0	0000080A	00000000	0001	0	0	0	0000FFFF	0	0	0
eth0	000200C0	00000000	0001	0	0	0	00FFFFFF	0	0	0
eth0	0000010A	00000000	0201	0	0	0	0000FFFF	0	0	0
down	0000020A	00000000	0000	0	0	0	0000FFFF	0	0	0
torn	00
`
	routeTable6 = `fd000000000000000000000000000000 40 00000000000000000000000000000000 00 00000000000000000000000000000000 00000100 00000001 00000000 00000001     eth0
00000000000000000000000000000000 00 00000000000000000000000000000000 00 fd000000000000000000000000000001 00000400 00000002 00000000 00000003     eth0
00000000000000000000000000000001 80 00000000000000000000000000000000 00 00000000000000000000000000000000 00000000 00000002 00000000 80200001       lo
ff000000000000000000000000000000 08 00000000000000000000000000000000 00 00000000000000000000000000000000 00000100 00000003 00000000 00000001     eth0
00000000000000000000000000000000 00 00000000000000000000000000000000 00 00000000000000000000000000000000 ffffffff 00000001 00000000 00200200       lo
`
	fibTrie = `Main:
  +-- 0.0.0.0/0 3 0 5
     |-- 0.0.0.0
        /0 universe UNICAST
     +-- 127.0.0.0/8 2 0 2
        |-- 127.0.0.1
           /32 host LOCAL
     +-- 192.0.2.0/24 2 0 2
        |-- 192.0.2.0
           /24 link UNICAST
        |-- 192.0.2.9
           /32 host LOCAL
        |-- 10.8.0.2
           /32 host LOCAL
Local:
        |-- 192.0.2.9
           /32 host LOCAL
`
	inet6 = `00000000000000000000000000000001 01 80 10 80       lo
fe8000000000000000fc00fffe000001 04 40 20 80     eth0
fd000000000000000000000000000002 04 40 00 82     eth0
`
)

func TestParseRoutes(t *testing.T) {
	want := []Route{
		{"0.0.0.0/0", "eth0", true, 100},
		{"0.0.0.0/0", "eth1", true, 200},
		{"10.8.0.0/16", "wg0", false, 0},
		{"192.0.2.0/24", "eth0", false, 0},
	}
	if diff := cmp.Diff(want, ParseRoutes([]byte(routeTable))); diff != "" {
		t.Error(diff)
	}
	want = []Route{{"::/0", "eth0", true, 1024}, {"fd00::/64", "eth0", false, 256}}
	if diff := cmp.Diff(want, ParseRoutes6([]byte(routeTable6))); diff != "" {
		t.Error(diff)
	}
}

func TestDocumentedRoutes(t *testing.T) {
	for in, want := range map[string]string{
		"0.0.0.0/0": "0.0.0.0/0", "128.0.0.0/1": "128.0.0.0/1", "10.8.0.0/16": "10.8.0.0/16", "100.64.0.0/10": "100.64.0.0/10", "169.254.169.254/32": "169.254.169.254/32",
		"93.184.216.0/22": "192.0.2.0/24", "93.184.216.34/32": "192.0.2.1/32", "2606:2800::/29": "2001:db8::/32", "2606:2800::9/128": "2001:db8::1/128", "::/0": "::/0", "fd00::/64": "fd00::/64",
	} {
		if got := documentedRoutes([]Route{{Destination: in}})[0].Destination; got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
}

func TestAddresses(t *testing.T) {
	own4, own6 := ParseFibTrie([]byte(fibTrie)), ParseInet6([]byte(inet6))
	if len(own4) != 3 || len(own6) != 3 {
		t.Errorf("addresses: %v, %v", own4, own6)
	}
	v4, v6 := ParseRoutes([]byte(routeTable)), ParseRoutes6([]byte(routeTable6))
	for _, c := range []struct {
		name       string
		own4, own6 []ownAddress
		routes     []Route
		want       Addresses
	}{
		{"both", own4, own6, slices.Concat(v4, v6), Addresses{Is(true), Is(true), "192.0.2.9", nil}},
		{"no IPv6 route", own4, own6, v4, Addresses{Is(true), Is(false), "192.0.2.9", nil}},
		{"IPv6 only", own4, own6, v6, Addresses{Is(false), Is(true), "fd00::2", nil}},
		{"no network", own4, own6, []Route{}, Addresses{Is(false), Is(false), "", nil}},
		{"link-local only", own4, []ownAddress{{"eth0", netip.MustParseAddr("fe80::1")}}, v6, Addresses{Is(false), Is(false), "", nil}},
		{"only routes are known", nil, nil, slices.Concat(v4, v6), Addresses{Is(true), Known[bool]{}, "", nil}},
		{"no addresses of IPv4 are known", nil, own6, slices.Concat(v4, v6), Addresses{Is(true), Is(true), "", nil}},
	} {
		if got := reachable(c.own4, c.own6, c.routes); !cmp.Equal(got, c.want) {
			t.Errorf("%s: %+v", c.name, got)
		}
	}
}

func TestOwnAddresses(t *testing.T) {
	routes := []Route{{"10.42.0.0/24", "cni0", false, 0}, {"192.0.2.0/24", "eth0", false, 0}}
	var all []ownAddress
	for _, a := range []string{
		"eth0 192.0.2.9", "eth0 192.0.2.9", "lo 127.0.0.1", "eth0 fe80::1", "wg0 10.8.0.2", "docker0 172.17.0.1", "br-1234 172.18.0.1", "br0 10.9.0.1",
		"cni0 10.42.0.1", "flannel.1 10.42.0.0", " 10.42.0.1", " 192.0.2.10",
	} {
		link, address, _ := strings.Cut(a, " ")
		all = append(all, ownAddress{link, netip.MustParseAddr(address)})
	}
	if got, want := others(all, routes), []string{"192.0.2.9", "10.8.0.2", "10.9.0.1", "192.0.2.10"}; !slices.Equal(got, want) {
		t.Errorf("%v, not %v", got, want)
	}
}

// TestNetworkOfCapture: a folder may hold the tables of the kernel in place of host.json's fields.
func TestNetworkOfCapture(t *testing.T) {
	dir := t.TempDir()
	for path, content := range map[string]string{
		"proc/net/route": routeTable, "proc/net/ipv6_route": routeTable6, "proc/net/fib_trie": fibTrie, "proc/net/if_inet6": inet6,
		"sys/class/net/lo/mtu": "65536\n", "sys/class/net/lo/operstate": "unknown\n",
		"sys/class/net/ens3/mtu": "1450\n", "sys/class/net/ens3/operstate": "up\n", "sys/class/net/ens3/device/uevent": "",
		"sys/class/net/br0/mtu": "1500\n", "sys/class/net/br0/operstate": "down\n",
		"sys/class/net/wg0/mtu": "1420\n", "sys/class/net/wg0/operstate": "unknown\n", "sys/class/net/wg0/flags": "0x91\n",
		"sys/class/net/odd/mtu": "-1\n",
	} {
		write(t, dir, path, content)
	}
	f := Collect(t.Context(), load(t, dir))
	if len(f.Routes) != 6 || f.Addresses.Node != "192.0.2.9" {
		t.Errorf("routes %v, addresses %+v", f.Routes, f.Addresses)
	}
	if want := []string{"192.0.2.9", "10.8.0.2", "fd00::2"}; !slices.Equal(f.Addresses.Own, want) {
		t.Errorf("own addresses %v, not %v", f.Addresses.Own, want)
	}
	want := []Link{{"ens3", 1450, true, false}, {"br0", 1500, false, true}, {"wg0", 1420, true, true}}
	if diff := cmp.Diff(want, f.Links); diff != "" {
		t.Error(diff)
	}
}

func TestParseResolvConf(t *testing.T) {
	for _, c := range []struct {
		name, in string
		want     DNS
	}{
		{"empty", "", DNS{Nameservers: []string{}, Search: []string{}, Servers: []string{}, Loopback: Is(false)}},
		{"stub", "nameserver 127.0.0.53\noptions edns0 trust-ad\nsearch Example.com. lan\n", DNS{
			Nameservers: []string{"127.0.0.53"}, Search: []string{"example.com", "lan"}, Servers: []string{}, Loopback: Is(true),
		}},
		{"more than three", "nameserver 10.0.0.1\nnameserver 10.0.0.2\nnameserver 10.0.0.3\nnameserver 10.0.0.4\n", DNS{
			Nameservers: []string{"10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4"}, Search: []string{}, Servers: []string{"10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4"}, Loopback: Is(false),
		}},
		{"one loopback of two, and one of a link", "nameserver ::1\nnameserver fe80::1%eth0\nnameserver 169.254.169.253\n", DNS{
			Nameservers: []string{"::1", "fe80::1", "169.254.169.253"}, Search: []string{}, Servers: []string{"169.254.169.253"}, Loopback: Is(true),
		}},
		{"last search counts", "search a\ndomain b c\nnameserver nonsense\n# nameserver 10.0.0.1\nsearch \x1b[31m ok\n", DNS{
			Nameservers: []string{}, Search: []string{"ok"}, Servers: []string{}, Loopback: Is(false),
		}},
	} {
		if diff := cmp.Diff(c.want, ParseResolvConf([]byte(c.in))); diff != "" {
			t.Errorf("%s:\n%s", c.name, diff)
		}
	}
}

func TestUpstreamOfLocalResolver(t *testing.T) {
	for _, c := range []struct {
		name, file, upstream string
		servers              []string
	}{
		{"systemd-resolved", "run/systemd/resolve/resolv.conf", "nameserver 10.0.0.2\n", []string{"10.0.0.2"}},
		{"dnsmasq of NetworkManager", "run/NetworkManager/no-stub-resolv.conf", "nameserver 10.0.0.3\n", []string{"10.0.0.3"}},
		{"loop", "run/systemd/resolve/resolv.conf", "nameserver 127.0.0.1\n", []string{}},
	} {
		dir := t.TempDir()
		write(t, dir, "etc/resolv.conf", "nameserver 127.0.0.53\n")
		write(t, dir, c.file, c.upstream)
		d := Collect(t.Context(), load(t, dir)).DNS
		if diff := cmp.Diff(c.servers, d.Servers); diff != "" || (d.Upstream == "/"+c.file) != (len(c.servers) > 0) {
			t.Errorf("%s: upstream %q\n%s", c.name, d.Upstream, diff)
		}
	}
}

func TestWildcards(t *testing.T) {
	missing := &net.DNSError{Err: "no such host", IsNotFound: true}
	got, err := wildcards(t.Context(), []string{"wild.example", "tame.example"}, func(_ context.Context, name string) ([]string, error) {
		if strings.HasSuffix(name, ".wild.example.") {
			return []string{"192.0.2.1"}, nil
		}
		return nil, missing
	})
	if diff := cmp.Diff([]string{"wild.example"}, got); diff != "" || err != nil {
		t.Error(diff, err)
	}
	got, err = wildcards(t.Context(), []string{"a", "b"}, func(context.Context, string) ([]string, error) { return nil, errors.New("refused") })
	if got != nil || err == nil {
		t.Errorf("a name server that does not answer is taken for an answer: %v, %v", got, err)
	}
}

func TestProxyFiles(t *testing.T) {
	for _, c := range []struct {
		name  string
		parse func([]byte) Proxy
		in    string
		want  Proxy
	}{
		{"environment", ParseEnvironmentFile, "PATH=/bin\nexport http_proxy=\"http://joe:s3cret@proxy.lan:3128/\"\nHTTP_PROXY=http://other\nNO_PROXY=localhost,10.0.0.0/8,.svc\n#https_proxy=x\n", Proxy{HTTP: "http://proxy.lan:3128", NoProxy: "localhost,10.0.0.0/8,.svc"}},
		{"no scheme", ParseEnvironmentFile, "https_proxy=10.1.1.1:8080", Proxy{HTTPS: "http://10.1.1.1:8080"}},
		{"for all", ParseEnvironmentFile, "ALL_PROXY=socks5://u:p@p.lan:1080\nhttp_proxy=http://web.lan\n", Proxy{HTTP: "http://web.lan", HTTPS: "socks5://p.lan:1080"}},
		{"secret in the path", ParseEnvironmentFile, "https_proxy=https://p.lan/token?key=1", Proxy{HTTPS: "https://p.lan"}},
		{"IPv6", ParseEnvironmentFile, "https_proxy=socks5://[fd00::1]:1080", Proxy{HTTPS: "socks5://[fd00::1]:1080"}},
		{"no proxy at all", ParseEnvironmentFile, "https_proxy=file:///etc/shadow\nhttp_proxy=$(id)\n", Proxy{}},
		{"odd entries", ParseEnvironmentFile, "no_proxy=\"a b,,*,\x1b[1m,[::1]\"\n", Proxy{NoProxy: "a,b,*,[::1]"}},
		{"manager", ParseManagerEnvironment, "[Manager]\n#DefaultEnvironment=x\nDefaultEnvironment=\"HTTPS_PROXY=http://u:p@p:1\" 'LANG=C'\n", Proxy{HTTPS: "http://p:1"}},
		{"apt", ParseAptProxy, "Acquire::Retries \"3\";\nAcquire::http::Proxy \"http://u:p@apt.lan:3142\";\nAcquire::https::Proxy \"DIRECT\";\n", Proxy{HTTP: "http://apt.lan:3142"}},
		{"dnf", ParseDnfProxy, "[main]\nproxy_password=x\nproxy = http://dnf.lan:8080\n", Proxy{HTTP: "http://dnf.lan:8080", HTTPS: "http://dnf.lan:8080"}},
	} {
		if got := c.parse([]byte(c.in)); got != c.want {
			t.Errorf("%s: %+v, want %+v", c.name, got, c.want)
		}
	}
}

func TestProxyOfCapture(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "etc/apt/apt.conf.d/10a", `Acquire::http::Proxy "http://a:1";`)
	write(t, dir, "etc/apt/apt.conf.d/95proxies", `Acquire::http::Proxy "http://b:2";`)
	t.Setenv("https_proxy", "http://not-of-this-machine:1")
	if p := Collect(t.Context(), load(t, dir)).Proxy; p.HTTP != "http://b:2" || p.HTTPS != "" || p.Source != "/etc/apt/apt.conf.d/95proxies" {
		t.Errorf("%+v", p)
	}
	if ParseParent([]byte("Name:\tsh\nPid:\t7\nPPid:\t12\n")) != 12 || ParseParent([]byte("PPid:\t-1\n")) != 0 {
		t.Error("parent")
	}
}

func TestIPTables(t *testing.T) {
	for _, c := range []struct {
		name  string
		files map[string]string
		links map[string]string
		want  IPTables
	}{
		{"none", map[string]string{"etc/hosts": ""}, nil, IPTables{}},
		{
			"Debian", map[string]string{"usr/sbin/xtables-nft-multi": "\x7fELF\x001.8.9\x00%s v%s\x00", "proc/net/ip_tables_names": ""},
			map[string]string{"usr/sbin/iptables": "/etc/alternatives/iptables", "etc/alternatives/iptables": "/usr/sbin/iptables-nft", "usr/sbin/iptables-nft": "xtables-nft-multi"},
			IPTables{Path: "/usr/sbin/iptables", Backend: "nft", Version: "1.8.9", Legacy: Is(false)},
		},
		{
			"Alpine", map[string]string{"lib/apk/db/installed": "P:musl\nV:1.2.5-r0\n\nC:Q1\nP:iptables\nV:1.8.10-r3\n\n", "proc/net/ip_tables_names": "filter\nnat\n"},
			map[string]string{"sbin/iptables": "xtables-legacy-multi"}, IPTables{Path: "/sbin/iptables", Backend: "legacy", Version: "1.8.10", Legacy: Is(true)},
		},
		{
			"dpkg", map[string]string{"usr/sbin/iptables": "x", "var/lib/dpkg/status": "Package: iptables-persistent\nVersion: 1.0.20\n\nPackage: iptables\nStatus: install ok installed\nVersion: 1:1.8.4-3ubuntu2\n"},
			nil, IPTables{Path: "/usr/sbin/iptables", Version: "1.8.4"},
		},
		{"loop of links", map[string]string{"usr/x": ""}, map[string]string{"usr/sbin": "sbin"}, IPTables{}},
		{"link to itself", map[string]string{"usr/sbin/x": ""}, map[string]string{"usr/sbin/iptables": "iptables"}, IPTables{Path: "/usr/sbin/iptables"}},
	} {
		dir := t.TempDir()
		for path, content := range c.files {
			write(t, dir, path, content)
		}
		for path, to := range c.links {
			link(t, dir, path, to)
		}
		if got := Collect(t.Context(), load(t, dir)).IPTables; got != c.want {
			t.Errorf("%s: %+v, want %+v", c.name, got, c.want)
		}
	}
}

func TestParseProgramVersion(t *testing.T) {
	for in, want := range map[string]string{
		"\x001.8.9\x00libxtables.so.12\x00": "1.8.9", "\x001.8.11 (nf_tables)\x00": "1.8.11", "\x001.4.21\x00\x001.8.9\x00": "", "1.8.9": "", "\x00GLIBC_2.3.4\x00": "",
	} {
		if got := ParseProgramVersion([]byte(in)); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func TestParseRules(t *testing.T) {
	oracle := `# Generated by iptables-save
*nat
-A INPUT -j DROP
COMMIT
*filter
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
-A INPUT -m state --state RELATED,ESTABLISHED -j ACCEPT
-A INPUT -s 198.51.100.7/32 -j DROP
-A INPUT -p tcp -m state --state NEW -m tcp --dport 22 -j ACCEPT
-A INPUT -m comment --comment "joe's rule" -j REJECT --reject-with icmp-host-prohibited
-A FORWARD -j REJECT --reject-with icmp-host-prohibited
COMMIT
`
	want := rules{rejects: []string{"-A INPUT -j REJECT --reject-with icmp-host-prohibited", "-A FORWARD -j REJECT --reject-with icmp-host-prohibited"}, forward: "accept"}
	if diff := cmp.Diff(want, ParseRules([]byte(oracle)), cmp.AllowUnexported(rules{})); diff != "" {
		t.Error(diff)
	}
	want = rules{rejects: []string{"INPUT policy DROP"}, forward: "drop"}
	if diff := cmp.Diff(want, ParseRules([]byte("*filter\n:INPUT DROP [0:0]\n:FORWARD DROP [0:0]\n")), cmp.AllowUnexported(rules{})); diff != "" {
		t.Error(diff)
	}
	nft := "table inet filter {\n\tchain input {\n\t\ttype filter hook input priority 0; policy drop;\n\t}\n\tchain forward { type filter hook forward priority 0; policy accept; }\n chain x { policy drop; } }\n"
	want = rules{rejects: []string{"input policy drop"}, forward: "accept"}
	for _, in := range []string{nft, string(redactNftRules([]byte(nft)))} {
		if diff := cmp.Diff(want, ParseNftRules([]byte(in)), cmp.AllowUnexported(rules{})); diff != "" {
			t.Error(diff)
		}
	}
}

func TestFirewall(t *testing.T) {
	const unit = "etc/systemd/system/multi-user.target.wants/firewalld.service"
	for _, c := range []struct {
		name  string
		files map[string]string
		want  Firewall
	}{
		{"nothing known", map[string]string{"etc/hosts": ""}, Firewall{}},
		{"ufw", map[string]string{"etc/ufw/ufw.conf": "# x\nENABLED=yes\n", "etc/default/ufw": "DEFAULT_FORWARD_POLICY=\"DROP\"\n"}, Firewall{UFW: Is(true), Forward: "drop"}},
		{"ufw off", map[string]string{"etc/ufw/ufw.conf": "ENABLED=no\n", "etc/default/ufw": "DEFAULT_FORWARD_POLICY=\"DROP\"\n"}, Firewall{UFW: Is(false)}},
		{"firewalld runs", map[string]string{SnapshotFile: `{"processes":["firewalld"],"commands":{}}`}, Firewall{UFW: Is(false), Firewalld: Is(true)}},
		{"firewalld is enabled and does not run", map[string]string{unit: "", SnapshotFile: `{"processes":[],"commands":{"firewall-cmd":"/usr/bin/firewall-cmd","ufw":"/usr/sbin/ufw"}}`}, Firewall{Firewalld: Is(false)}},
		{"firewalld is enabled", map[string]string{unit: ""}, Firewall{Firewalld: Is(true)}},
		{"Oracle", map[string]string{rulesV4: "*filter\n:FORWARD ACCEPT [0:0]\n-A INPUT -j REJECT\n"}, Firewall{Rejects: []string{rulesV4 + ": -A INPUT -j REJECT"}, Forward: "accept"}},
		{"Docker sets its own policy", map[string]string{rulesV4: "*filter\n:FORWARD ACCEPT [0:0]\n", SnapshotFile: `{"processes":["dockerd"]}`}, Firewall{Firewalld: Is(false), Rejects: []string{}}},
		{"nftables is enabled", map[string]string{
			"etc/systemd/system/sysinit.target.wants/nftables.service": "", "etc/nftables.conf": "chain input { type filter hook input priority 0; policy drop; }",
		}, Firewall{Rejects: []string{nftConf + ": input policy drop"}}},
		{"nftables is not enabled", map[string]string{"etc/nftables.conf": "chain input { type filter hook input priority 0; policy drop; }"}, Firewall{}},
		{"as captured", map[string]string{SnapshotFile: `{"firewall":{"ufw":false,"firewalld":true,"rejects":["kernel"],"forward":"drop"}}`}, Firewall{UFW: Is(false), Firewalld: Is(true), Rejects: []string{"kernel"}, Forward: "drop"}},
	} {
		dir := t.TempDir()
		for path, content := range c.files {
			write(t, dir, path, content)
		}
		got := Collect(t.Context(), load(t, dir)).Firewall
		if diff := cmp.Diff(c.want, got, cmpopts.EquateComparable()); diff != "" {
			t.Errorf("%s:\n%s", c.name, diff)
		}
	}
}

func link(t *testing.T, dir, path, to string) {
	t.Helper()
	from := filepath.Join(dir, path)
	if err := os.MkdirAll(filepath.Dir(from), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(to, from); err != nil {
		t.Fatal(err)
	}
}

// TestBadNetworkFiles: whatever is in the files, no probe fails in a way of its own, and nothing is certain that cannot be read.
func TestBadNetworkFiles(t *testing.T) {
	big := strings.Repeat("a b c d e f g h i j = : | - {[\"\n", 10<<20/31)
	for _, path := range []string{
		"/proc/net/route", "/proc/net/ipv6_route", "/proc/net/fib_trie", "/proc/net/if_inet6", "/sys/class/net/eth0/mtu", resolvConf, "/etc/environment",
		"/etc/systemd/system.conf", "/etc/apt/apt.conf", "/etc/dnf/dnf.conf", "/usr/sbin/iptables", dpkgStatus, apkInstalled, legacyTables, ufwConf, ufwDefaults, rulesV4,
		rulesRHEL, nftConf, instanceData, cloudID, "/sys/class/dmi/id/chassis_asset_tag", "/root" + kubeconfigPath, "/root/.minikube/profiles/a/config.json",
	} {
		for how, content := range map[string]string{"empty": "", "binary": "\x00\xff\xfe\x1b[31m\n\x00", "big": big, "one long line": big[:1<<16] + strings.Repeat("x", 1<<20)} {
			dir := t.TempDir()
			write(t, dir, path, content)
			f := Collect(t.Context(), load(t, dir))
			for _, probe := range []string{"routes", "links", "addresses", "dns", "proxy", "iptables", "firewall", "cloud", "neighbours", "runtimes", "docker", "clusters"} {
				if text, failed := f.Errors[probe]; failed {
					t.Errorf("%s, %s: %s: %s", path, how, probe, text)
				}
			}
			if f.Addresses.Node != "" || len(f.Links) > 0 || f.Proxy != (Proxy{}) || f.IPTables.Version != "" || f.Firewall.UFW.Value || f.Firewall.Firewalld.Value || f.Cloud.Name != "" {
				t.Errorf("%s, %s: %+v", path, how, f)
			}
		}
	}
}

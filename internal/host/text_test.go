package host

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/pipeopshq/pipeops-agent/internal/console"
)

// full is a machine about which there is something to tell in every row.
func full() Facts {
	many := func(format string) []string {
		var all []string
		for range 30 {
			all = append(all, format)
		}
		return all
	}
	f := Facts{
		OS:         OS{Kind: "linux", ID: "debian", Name: "Debian GNU/Linux 12 (bookworm)"},
		Hardware:   Hardware{Vendor: "Hetzner", Product: "vServer", Portable: Is(true)},
		Arch:       Arch{Name: "amd64", Userland: Is(32), PageSize: Is(16384), Level: Is(2)},
		Kernel:     Kernel{Release: "6.1.0", SysctlReadOnly: Is(true)},
		CPU:        CPU{Count: Is(4), Quota: Is(1.5)},
		Memory:     Memory{Total: Is[uint64](8 << 30), Available: Is[uint64](6 << 30), Limit: Is[uint64](2 << 30)},
		Disk:       []Disk{{Path: ClusterDir, At: "/", Device: "/dev/sda1", Rotational: Is(true), Removable: Is(true), Statfs: Statfs{Type: "ext4", Total: Is[uint64](80 << 30), Free: Is[uint64](60 << 30), ReadOnly: Is(true)}}},
		Cgroup:     Cgroup{Version: "v1", Controllers: []string{"cpu"}, ReadOnly: Is(true)},
		Init:       Init{Name: "init", OpenRC: Is(true)},
		Clusters:   []Cluster{{Name: "k3s", State: Running, Ours: Is(true)}, {Name: "k0s", State: Debris}, {Name: "rke2", State: Doubt}},
		Docker:     Docker{Reachable: Is(true), Server: "28.2.2", Rootless: Is(true), Desktop: Is(true), Outside: Is(true), Swarm: Is(true)},
		Identity:   Identity{Hostname: "Node_1", NodeName: Is(false)},
		UID:        Is(1000),
		Modules:    Modules{Present: Is(true), States: map[string]string{"vxlan": "missing", "overlay": "loaded"}},
		LSM:        LSM{AppArmor: Is(true), SELinux: "enforcing"},
		Keyring:    Keyring{MaxKeys: Is[int64](200)},
		Inotify:    Inotify{MaxInstances: Is[int64](128), UsedInstances: Is[int64](60)},
		Swap:       Swap{Total: Is[uint64](1 << 30), Zram: Is(true)},
		Limits:     Limits{PIDsLimit: Is[uint64](1000)},
		Entropy:    Entropy{Ready: Is(false)},
		Roots:      Roots{ReadOnly: map[string]bool{"/usr": true, "/etc": false}, Immutable: "ostree"},
		Packages:   Packages{Manager: "apt", Busy: Is(true), BusyBy: "unattended-upgr", CloudInit: "running"},
		Clock:      Clock{Year: Is(1970), Synchronized: Is(false), RTC: Is(false)},
		Addresses:  Addresses{IPv4: Is(true), IPv6: Is(false), Node: "10.0.0.2"},
		DNS:        DNS{Nameservers: []string{"127.0.0.53"}, Loopback: Is(true), Servers: []string{"1.1.1.1"}, Wildcard: []string{"example.com"}},
		Proxy:      Proxy{HTTPS: "http://proxy:3128", Source: "/etc/environment"},
		IPTables:   IPTables{Backend: "nft", Version: "1.8.9", Legacy: Is(true)},
		Firewall:   Firewall{UFW: Is(true), Firewalld: Is(true), Rejects: many("iptables INPUT"), Forward: "drop"},
		Cloud:      Cloud{Name: "hetzner"},
		Reach:      []Endpoint{{Name: ReachReleases, IPv4: Is(true), IPv6: Is(false), PathMTU: Is(1400), Skew: Is(180.0)}, {Name: ReachImages}},
		Boot:       Boot{RebootNeeded: Is(true)},
		Errors:     map[string]string{"ports": "cannot read"},
		Listening:  []Listener{},
		Neighbours: []Neighbour{}, Runtimes: []Runtime{{Name: "containerd", State: Stopped}},
		Virtualization: Virtualization{Stack: []Layer{{LayerContainer, "lxc"}, {LayerVM, "kvm"}}, UserNamespace: Is(true)},
	}
	for i := range 30 {
		f.Listening = append(f.Listening, Listener{Proto: "tcp", Port: 1000 + i, Owner: fmt.Sprint("program", i%20)})
		f.Neighbours = append(f.Neighbours, Neighbour{Kind: "web", Name: "nginx", Evidence: "port 80"})
		f.Links = append(f.Links, Link{Name: "eth0", MTU: 1450, Up: true})
		f.Routes = append(f.Routes, Route{Destination: "10.8.0.0/16", Interface: "tun0", Gateway: true})
	}
	return f
}

// TestTextIsBounded: however much there is to tell, one reads it on one or two screens, and no line is too long.
func TestTextIsBounded(t *testing.T) {
	p := &console.Page{Width: 80}
	full().Show(p)
	lines := strings.Split(p.String(), "\n")
	if len(lines) > 75 {
		t.Errorf("%d lines", len(lines))
	}
	for _, l := range lines {
		if len([]rune(l)) > 80 {
			t.Errorf("%q is too long", l)
		}
	}
	for _, want := range []string{
		"on amd64 with 32-bit programs, an LXC container in a KVM virtual machine", "at Hetzner; 1.5 CPUs, 2 GiB of memory, 60 GiB free on ext4",
		"k3s running (installed by pipeops-agent), k0s has left remains", "missing: vxlan", "which cannot name a node", "x86-64-v2",
		"SELinux enforcing, AppArmor", "program0 1000, 1020", "and 12 more programs", "and 25 more", "not synchronized", "busy: unattended-upgr", "128 inotify instances (60 used)",
	} {
		if !strings.Contains(strings.Join(strings.Fields(p.String()), " "), want) {
			t.Errorf("%q is missing in\n%s", want, p)
		}
	}
}

// TestShowAll: every fact is there by its name, also those that are unknown.
func TestShowAll(t *testing.T) {
	p := &console.Page{}
	if err := full().ShowAll(p); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(p.String(), "\n")
	for _, want := range []string{"cpu.count", "disk[0].path", "dns.servers", "modules.states.vxlan", "routes[29].interface", "errors.ports"} {
		if !slices.ContainsFunc(lines, func(l string) bool { return strings.HasPrefix(l, want+"  ") }) {
			t.Errorf("%s is missing", want)
		}
	}
	for _, want := range []string{"(8 GiB)", "unknown", "nft"} {
		if !strings.Contains(p.String(), want) {
			t.Errorf("%q is missing", want)
		}
	}
	if err := (Facts{}).ShowAll(&console.Page{}); err != nil {
		t.Error(err)
	}
}

package distro

import (
	"slices"
	"strings"
	"testing"

	"github.com/pipeopshq/pipeops-agent/internal/host"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
	"github.com/pipeopshq/pipeops-agent/internal/trial"
)

func no(detail string) trial.Result { return trial.Result{OK: host.Is(false), Detail: detail} }
func yes() trial.Result             { return trial.Result{OK: host.Is(true)} }

// sight is what a test wants of a decision: who is chosen, the codes of k3s's reasons and warnings, and the remedies with
// their values.
type sight struct {
	chosen   string
	reasons  string
	warnings string
	remedies string
}

func sightOf(d Decision) sight {
	s := sight{chosen: d.Chosen}
	k, _ := d.Candidate(K3s)
	var reasons, warnings, remedies []string
	for _, r := range k.Reasons {
		reasons = append(reasons, string(r.Code))
	}
	for _, r := range k.Warnings {
		warnings = append(warnings, string(r.Code))
	}
	for _, r := range d.Remedies {
		remedies = append(remedies, strings.TrimSpace(r.ID+" "+strings.Join(r.Values, " ")))
	}
	s.reasons, s.warnings, s.remedies = strings.Join(reasons, " "), strings.Join(warnings, " "), strings.Join(remedies, ", ")
	return s
}

// TestRequirements changes one thing of a machine on which k3s fits, and says what comes of it.
func TestRequirements(t *testing.T) {
	container := func(name string) func(*captured) {
		return func(m *captured) {
			m.facts.Virtualization.Stack = []host.Layer{{Kind: host.LayerContainer, Name: name}, {Kind: host.LayerVM, Name: "kvm"}}
		}
	}
	all := func(changes ...func(*captured)) func(*captured) {
		return func(m *captured) {
			for _, c := range changes {
				c(m)
			}
		}
	}
	tried := func(name string, r trial.Result) func(*captured) {
		return func(m *captured) { m.trials[name] = r }
	}
	docker := func(server string) func(*captured) {
		return func(m *captured) {
			m.facts.Docker = host.Docker{Reachable: host.Is(true), Server: server, Root: "/var/lib/docker"}
			m.facts.Commands["docker"] = "/usr/bin/docker"
		}
	}
	noInit := func(m *captured) { m.facts.Init = host.Init{Name: "bash", Systemd: host.Is(false)} }
	routes := func(r ...host.Route) func(*captured) {
		return func(m *captured) {
			m.facts.Routes = append([]host.Route{{Destination: "0.0.0.0/0", Interface: "eth0", Gateway: true}}, r...)
		}
	}
	shifted := func(m *captured) { m.facts.Virtualization.UserNamespace = host.Is(true) }
	missing := func(names ...string) func(*captured) {
		return func(m *captured) {
			m.facts.Modules = host.Modules{Present: host.Is(true), States: map[string]string{}}
			for _, n := range names {
				m.facts.Modules.States[n] = "missing"
			}
		}
	}
	skew := func(seconds float64) func(*captured) {
		return func(m *captured) {
			m.facts.Clock.Year = host.Known[int]{}
			m.facts.Reach = []host.Endpoint{{Name: host.ReachReleases}, {Name: host.ReachGateway, Skew: host.Is(seconds)}}
		}
	}
	rhel10 := func(m *captured) {
		m.facts.OS = host.OS{Kind: "linux", ID: "rhel", Version: "10.1", Family: "rhel"}
		m.facts.Kernel.Release = "6.12.0-124.el10.x86_64"
		m.facts.Commands["iptables"] = "/usr/sbin/iptables"
	}
	for name, c := range map[string]struct {
		change  func(*captured)
		request Request
		want    sight
	}{
		"nothing": {change: all(), want: sight{chosen: K3s}},

		// init and containers
		"OpenRC": {change: func(m *captured) {
			m.facts.Init = host.Init{Name: "init", OpenRC: host.Is(true), Systemd: host.Is(false)}
		}, want: sight{chosen: K3s}},
		"no init":         {change: noInit, want: sight{K3s, "", "HOST_NO_SYSTEMD", ""}},
		"we are the init": {change: func(m *captured) { m.facts.Init = host.Init{Name: "pipeops-agent", Systemd: host.Is(false)} }, want: sight{chosen: K3s}},
		"we are the init, Docker": {change: all(docker("28.2.2"), func(m *captured) {
			m.facts.Init = host.Init{Name: "pipeops-agent", Systemd: host.Is(false)}
		}), want: sight{chosen: K3d}},
		"no init, Docker, k3s by name": {change: all(noInit, docker("28.2.2")), request: Request{Distro: K3s}, want: sight{K3s, "", "HOST_NO_SYSTEMD", ""}},
		"init unknown":                 {change: func(m *captured) { m.facts.Init = host.Init{} }, want: sight{chosen: K3s}},
		"runit, Docker":                {change: all(noInit, docker("28.2.2")), want: sight{K3d, "", "HOST_NO_SYSTEMD", ""}},
		"container that may":           {change: all(container("lxc"), tried(trial.SysctlWrite, yes()), tried(trial.CgroupCreate, yes())), want: sight{chosen: K3s}},
		"container whose host has set the kernel": {change: all(container("lxc"), tried(trial.SysctlWrite, no("read-only")), func(m *captured) {
			m.facts.Sysctl.Values = map[string]string{"vm.overcommit_memory": "1", "vm.panic_on_oom": "0", "kernel.panic": "10", "kernel.panic_on_oops": "1", "net.ipv4.ip_forward": "1"}
		}), want: sight{chosen: K3s}},
		"container without kmsg":       {change: all(container("lxc"), tried(trial.Kmsg, no("no such file"))), want: sight{"", "HOST_CONTAINER_NESTING", "", ""}},
		"container without namespaces": {change: all(container("lxc"), tried(trial.Netns, no("not permitted"))), want: sight{"", "HOST_CONTAINER_NESTING", "", ""}},
		"shifted ids": {change: all(container("lxc"), shifted, tried(trial.Kmsg, no("no")), tried(trial.SysctlWrite, no("no"))),
			want: sight{K3s, "", "", "kubelet-arg feature-gates=KubeletInUserNamespace=true"}},
		"shifted ids, old kernel": {change: all(container("lxc"), shifted, tried(trial.Overlay, no("operation not permitted")), func(m *captured) {
			m.facts.Kernel = host.Kernel{Release: "5.4.0-42", Major: 5, Minor: 4}
		}), want: sight{K3s, "", "", "snapshotter native, kubelet-arg feature-gates=KubeletInUserNamespace=true"}},
		"shifted ids, no mounts": {change: all(container("lxc"), shifted, tried(trial.Overlay, no("permission denied"))), want: sight{"", "HOST_CONTAINER_NESTING", "", ""}},
		"socket of an engine outside": {change: all(container("docker"), noInit, tried(trial.CgroupCreate, no("read-only")), docker("28.2.2"), func(m *captured) {
			m.facts.Docker.Outside = host.Is(true)
		}), want: sight{K3d, "HOST_CONTAINER_NESTING", "HOST_NO_SYSTEMD", ""}},
		"engine in a container that may not": {change: all(container("lxc"), tried(trial.CgroupCreate, no("read-only")), docker("28.2.2")), want: sight{"", "HOST_CONTAINER_NESTING", "", ""}},
		"root mount that we have made shared": {change: func(m *captured) {
			m.facts.Roots.Shared = host.Is(true)
			m.facts.Clusters = []host.Cluster{{Name: K3s, State: host.Running, Ours: host.Is(true), Settings: map[string]string{host.SharedRoot: "yes"}}}
		}, want: sight{K3s, "", "", "shared-root"}},
		"private root mount": {change: func(m *captured) { m.facts.Roots.Shared = host.Is(false) }, want: sight{K3s, "", "", "shared-root"}},
		"Docker Desktop in WSL 2": {change: all(docker("28.2.2"), func(m *captured) {
			m.facts.Virtualization.WSL, m.facts.Docker.Desktop = host.Is(2), host.Is(true)
		}), want: sight{K3d, "HOST_WSL_DOCKER", "HOST_WSL_IDLE", ""}},
		"Docker Desktop in WSL 2, k3s by name": {change: all(docker("28.2.2"), func(m *captured) {
			m.facts.Virtualization.WSL, m.facts.Docker.Desktop = host.Is(2), host.Is(true)
		}), request: Request{Distro: K3s}, want: sight{K3s, "HOST_WSL_DOCKER", "HOST_WSL_IDLE", ""}},

		// kernel
		"no vxlan":         {change: tried(trial.Vxlan, no("operation not supported")), want: sight{K3s, "", "", "flannel-backend host-gw"}},
		"no vxlan module":  {change: missing("vxlan"), want: sight{K3s, "", "", "flannel-backend host-gw"}},
		"no namespaces":    {change: tried(trial.Netns, no("invalid argument")), want: sight{"", "HOST_NAMESPACES", "", ""}},
		"no comment match": {change: tried(trial.IPTablesComment, no("no such file")), want: sight{"", "HOST_NETFILTER", "", ""}},
		"EL10":             {change: all(rhel10, missing("br_netfilter", "xt_comment")), want: sight{"", "HOST_NETFILTER", "", ""}},
		"EL10, consent": {change: all(rhel10, missing("br_netfilter", "xt_comment")), request: Request{Consent: []reason.Cost{reason.CostPackage}},
			want: sight{K3s, "", "", "package kernel-modules-extra-6.12.0-124.el10.x86_64"}},
		"modules gone": {change: all(missing("overlay"), func(m *captured) { m.facts.Modules.Present = host.Is(false) }), want: sight{"", "HOST_REBOOT_PENDING", "", ""}},
		"a kernel without modules": {change: func(m *captured) {
			m.facts.Modules = host.Modules{Present: host.Is(false), States: map[string]string{"overlay": "builtin", "br_netfilter": "builtin", "nf_conntrack": "builtin"}}
		}, want: sight{chosen: K3s}},
		"modules that are not loaded": {change: func(m *captured) {
			m.facts.Commands["modprobe"] = "/usr/sbin/modprobe"
			m.facts.Modules = host.Modules{Present: host.Is(true), States: map[string]string{"overlay": "loaded", "br_netfilter": "loadable", "nf_conntrack": "loadable", "wireguard": "loadable"}}
		}, want: sight{K3s, "", "", "modules br_netfilter nf_conntrack"}},
		"zfs":          {change: tried(trial.Overlay, no("invalid argument")), want: sight{K3s, "", "", "snapshotter native"}},
		"no oom score": {change: tried(trial.OOMScoreAdj, no("permission denied")), want: sight{K3s, "", "", "containerd-restrict-oom-score-adj"}},
		"few watches":  {change: func(m *captured) { m.facts.Inotify.MaxInstances = host.Is(int64(128)) }, want: sight{K3s, "", "", "sysctl fs.inotify.max_user_instances=1024"}},
		"few of both": {change: func(m *captured) {
			m.facts.Inotify.MaxInstances, m.facts.Keyring.MaxKeys = host.Is(int64(128)), host.Is(int64(200))
		}, want: sight{K3s, "", "", "sysctl fs.inotify.max_user_instances=1024 kernel.keys.root_maxkeys=1000000"}},
		"few watches, container": {change: all(container("lxc"), tried(trial.SysctlWrite, no("")), func(m *captured) {
			m.facts.Inotify.MaxInstances = host.Is(int64(128))
			m.facts.Sysctl.Values = map[string]string{"vm.overcommit_memory": "1", "vm.panic_on_oom": "0", "kernel.panic": "10", "kernel.panic_on_oops": "1", "net.ipv4.ip_forward": "1"}
		}), want: sight{K3s, "", "HOST_INOTIFY", ""}},
		"SELinux":   {change: func(m *captured) { m.facts.LSM.SELinux = "enforcing" }, want: sight{K3s, "", "HOST_SELINUX", ""}},
		"cgroup v1": {change: func(m *captured) { m.facts.Cgroup.Version = "v1" }, want: sight{K3s, "", "HOST_CGROUP_V1", ""}},
		"cgroup v1, 1.35": {change: func(m *captured) { m.facts.Cgroup.Version = "v1" }, request: Request{Kubernetes: "v1.35.1+k3s1"},
			want: sight{K3s, "", "", "kubelet-arg fail-cgroupv1=false"}},
		"cgroup v1, 1.38": {change: func(m *captured) { m.facts.Cgroup.Version = "v1" }, request: Request{Kubernetes: "v1.38.0+k3s1"},
			want: sight{"", "HOST_CGROUP_V1", "", ""}},
		"Amazon Linux 2, 1.35": {change: func(m *captured) {
			m.facts.Cgroup.Version, m.facts.OS = "v1", host.OS{Kind: "linux", ID: "amzn", Version: "2", Family: "rhel"}
			m.facts.IPTables.Version = "1.8.9"
		}, request: Request{Kubernetes: "v1.35.1+k3s1"}, want: sight{"", "HOST_CGROUP_V1", "", ""}},

		// disk
		"slow disk":          {change: tried(trial.Fsync, trial.Result{OK: host.Is(true), Value: host.Is(210.0)}), want: sight{K3s, "", "HOST_DISK_SLOW", ""}},
		"no inodes":          {change: func(m *captured) { m.facts.Disk[0].FreeInodes = host.Is(uint64(12)) }, want: sight{"", "HOST_DISK_LOW", "", ""}},
		"no inodes on btrfs": {change: func(m *captured) { m.facts.Disk[0].FreeInodes, m.facts.Disk[0].Type = host.Is(uint64(0)), "btrfs" }, want: sight{chosen: K3s}},
		"read-only /usr": {change: func(m *captured) {
			m.facts.Roots.ReadOnly = map[string]bool{"/usr/local/bin": true, "/opt/bin": false}
		}, want: sight{K3s, "", "", "binary-dir /opt/bin, kubelet-arg volume-plugin-dir=/var/lib/kubelet/volumeplugins"}},
		"read-only everywhere": {change: func(m *captured) {
			m.facts.Roots.ReadOnly = map[string]bool{"/usr/local/bin": true, "/opt/bin": true}
		}, want: sight{"", "HOST_READ_ONLY", "", ""}},
		"NixOS":         {change: func(m *captured) { m.facts.Roots.Immutable = "nix" }, want: sight{"", "HOST_IMMUTABLE", "", ""}},
		"NixOS, Docker": {change: all(docker("28.2.2"), func(m *captured) { m.facts.Roots.Immutable = "nix" }), want: sight{K3d, "HOST_IMMUTABLE", "", ""}},

		// network
		"VPN with 10.0.0.0/8": {change: routes(host.Route{Destination: "10.0.0.0/8", Interface: "tun0"}), want: sight{K3s, "", "", "cidr 172.28.0.0/16 172.29.0.0/16"}},
		"LAN of 10.42":        {change: routes(host.Route{Destination: "10.42.7.0/24", Interface: "eth0"}), want: sight{K3s, "", "", "cidr 10.142.0.0/16 10.143.0.0/16"}},
		"all private networks": {change: routes(host.Route{Destination: "10.0.0.0/8"}, host.Route{Destination: "172.16.0.0/12"}, host.Route{Destination: "192.168.0.0/16"}, host.Route{Destination: "100.64.0.0/10"}),
			want: sight{"", "NET_CIDR_OVERLAP", "", ""}},
		"no default route": {change: func(m *captured) { m.facts.Routes = []host.Route{{Destination: "192.168.1.0/24", Interface: "eth0"}} }, want: sight{"", "NET_NO_ROUTE", "", ""}},
		"ufw":              {change: func(m *captured) { m.facts.Firewall.UFW = host.Is(true) }, want: sight{K3s, "", "", "ufw 10.42.0.0/16 10.43.0.0/16"}},
		"firewalld and a VPN": {change: all(routes(host.Route{Destination: "10.0.0.0/8", Interface: "tun0"}), func(m *captured) { m.facts.Firewall.Firewalld = host.Is(true) }),
			want: sight{K3s, "", "", "cidr 172.28.0.0/16 172.29.0.0/16, firewalld 172.28.0.0/16 172.29.0.0/16"}},
		"Oracle's rules": {change: func(m *captured) { m.facts.Firewall.Rejects = []string{"/etc/iptables/rules.v4"} }, want: sight{K3s, "", "", "accept-before-reject 10.42.0.0/16 10.43.0.0/16"}},
		"stub resolver": {change: func(m *captured) {
			m.facts.DNS = host.DNS{Nameservers: []string{"127.0.0.53"}, Loopback: host.Is(true), Servers: []string{"10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5"}}
		}, want: sight{K3s, "", "", "resolv-conf 10.0.0.2 10.0.0.3 10.0.0.4"}},
		"stub resolver and nothing behind it": {change: func(m *captured) {
			m.facts.DNS = host.DNS{Nameservers: []string{"127.0.0.1"}, Loopback: host.Is(true)}
		}, want: sight{K3s, "", "NET_DNS_LOOP", ""}},
		"NetworkManager": {change: func(m *captured) {
			m.facts.Neighbours = []host.Neighbour{{Kind: "network", Name: "networkmanager", Evidence: "x"}}
		}, want: sight{K3s, "", "", "networkmanager-unmanaged"}},
		"nm-cloud-setup of 8.3": {change: func(m *captured) {
			m.facts.OS.Version = "8.3"
			m.facts.Neighbours = []host.Neighbour{{Kind: "network", Name: "nm-cloud-setup", Evidence: "x"}}
		}, want: sight{"", "NET_MANAGER", "", ""}},
		"nm-cloud-setup of 8.10": {change: func(m *captured) {
			m.facts.OS.Version = "8.10"
			m.facts.Neighbours = []host.Neighbour{{Kind: "network", Name: "nm-cloud-setup", Evidence: "x"}}
		}, want: sight{K3s, "", "NET_MANAGER", ""}},
		"web server": {change: func(m *captured) {
			m.facts.Listening = append(m.facts.Listening, host.Listener{Proto: "tcp", Port: 80, Owner: "nginx"})
		}, want: sight{chosen: K3s}},
		"web server, ingress": {change: func(m *captured) {
			m.facts.Listening = append(m.facts.Listening, host.Listener{Proto: "tcp", Port: 80, Owner: "nginx"})
		}, request: Request{Ingress: true}, want: sight{K3s, "", "", "disable traefik servicelb"}},
		"port taken, Docker": {change: all(docker("28.2.2"), func(m *captured) {
			m.facts.Listening = append(m.facts.Listening, host.Listener{Proto: "tcp", Port: 10250, Owner: "x"})
		}), want: sight{K3d, "NET_PORT_TAKEN", "", ""}},
		"IPv6 only": {change: func(m *captured) { m.facts.Addresses = host.Addresses{IPv4: host.Is(false), IPv6: host.Is(true)} }, want: sight{K3s, "", "NET_IPV6_ONLY", "cidr fd00:42::/56 fd00:43::/112"}},
		"IPv6 only, NAT64": {change: func(m *captured) {
			m.facts.Addresses = host.Addresses{IPv4: host.Is(false), IPv6: host.Is(true)}
			m.facts.Reach = []host.Endpoint{{Name: host.ReachReleases, IPv4: host.Is(false), IPv6: host.Is(true)}}
		}, want: sight{K3s, "", "", "cidr fd00:42::/56 fd00:43::/112"}},
		"clock ahead":     {change: skew(180), want: sight{"", "HOST_CLOCK", "", ""}},
		"clock behind":    {change: skew(-61), want: sight{"", "HOST_CLOCK", "", ""}},
		"clock a bit off": {change: skew(60), want: sight{chosen: K3s}},
		"broken iptables": {change: func(m *captured) { m.facts.IPTables.Version = "1.8.2" }, want: sight{K3s, "", "", "prefer-bundled-bin"}},
		"proxy": {change: func(m *captured) {
			m.facts.Proxy = host.Proxy{HTTPS: "http://proxy:3128", NoProxy: "localhost", Source: "environment"}
		}, want: sight{K3s, "", "", ""}}, // an install sees to it
		"proxy of apt": {change: func(m *captured) {
			m.facts.Proxy = host.Proxy{HTTP: "http://proxy:3128", Source: "/etc/apt/apt.conf.d/proxy"}
		}, want: sight{K3s, "", "NET_PROXY", ""}},

		// identity and time
		"bad host name": {change: func(m *captured) {
			m.facts.Identity.Hostname, m.facts.Identity.NodeName = "My_Server", host.Is(false)
		}, want: sight{K3s, "", "", "node-name my-server"}},
		"localhost": {change: func(m *captured) { m.facts.Identity.Hostname = "localhost" }, want: sight{K3s, "", "", "node-name node"}},
		"old clock": {change: func(m *captured) { m.facts.Clock.Year = host.Is(2021) }, want: sight{"", "HOST_CLOCK", "", ""}},
		"old CPU":   {change: func(m *captured) { m.facts.Arch.Level = host.Is(1) }, want: sight{K3s, "", "HOST_CPU_LEVEL", ""}},
		"laptop":    {change: func(m *captured) { m.facts.Hardware.Portable = host.Is(true) }, want: sight{K3s, "", "HOST_PORTABLE", ""}},
		"Arch":      {change: func(m *captured) { m.facts.OS = host.OS{Kind: "linux", ID: "arch", Family: "arch"} }, want: sight{K3s, "", "HOST_UNTESTED", ""}},

		// engines
		"only Podman":                      {change: all(noInit, func(m *captured) { m.facts.Commands["podman"] = "/usr/bin/podman" }), want: sight{Kind, "", "HOST_NO_SYSTEMD", ""}},
		"old Docker":                       {change: all(noInit, docker("19.03.15")), want: sight{Minikube, "", "HOST_NO_SYSTEMD", ""}},
		"ancient Docker":                   {change: all(noInit, docker("17.12.1-ce")), want: sight{K3s, "", "HOST_NO_SYSTEMD", ""}},
		"engine with a kernel that cannot": {change: all(noInit, docker("28.2.2"), tried(trial.IPTablesComment, no("no"))), want: sight{"", "HOST_NETFILTER", "HOST_NO_SYSTEMD", ""}},
		"a user with Docker":               {change: all(docker("28.2.2"), func(m *captured) { m.facts.UID = host.Is(1000) }), want: sight{K3d, "HOST_NOT_ROOT", "", ""}},
		"rootless on cgroup v1": {change: all(noInit, docker("28.2.2"), func(m *captured) {
			m.facts.Docker.Rootless, m.facts.Cgroup.Version = host.Is(true), "v1"
		}), want: sight{K3s, "", "HOST_NO_SYSTEMD HOST_CGROUP_V1", ""}},
		"Docker on a full disk": {change: all(noInit, docker("28.2.2"), func(m *captured) {
			m.facts.Disk = append(m.facts.Disk, host.Disk{Path: "/var/lib/docker", Statfs: host.Statfs{Free: host.Is(uint64(gib)), Total: host.Is(uint64(9 * gib))}})
		}), want: sight{K3s, "", "HOST_NO_SYSTEMD", ""}},
		"macOS with Docker": {change: all(docker("28.2.2"), func(m *captured) {
			*m = captured{host.Facts{OS: host.OS{Kind: "darwin"}, UID: host.Is(501), Docker: m.facts.Docker, Arch: host.Arch{Machine: "arm64", Name: "arm64"}}, trial.Results{}}
		}), want: sight{K3d, "HOST_OS", "", ""}},
	} {
		m := machine(t, "debian12-vm")
		m.facts.Commands["iptables"] = "/usr/sbin/iptables"
		m.facts.Inotify, m.facts.Keyring, m.facts.Modules = host.Inotify{}, host.Keyring{}, host.Modules{}
		c.change(&m)
		d := Decide(m.facts, m.trials, c.request)
		if got := sightOf(d); got != c.want {
			t.Errorf("%s:\n got %+v\nwant %+v", name, got, c.want)
		}
		if k, _ := d.Candidate(K3s); d.Chosen == "" && len(k.consent) > 0 && !k.beyond != (len(d.Consent) > 0) {
			t.Errorf("%s: consent %+v", name, d.Consent)
		}
	}
}

// TestCounterfactual: what a candidate is said to need is what it needs.
func TestCounterfactual(t *testing.T) {
	m := machine(t, "vps-512mb")
	for _, c := range []struct {
		name   string
		memory uint64
		cpus   int
		docker bool
		want   []string
	}{
		{K3s, 463 * mib, 1, false, []string{"900 MiB of memory (437 MiB more)"}},
		{K3d, 463 * mib, 1, false, []string{"Docker", "2 CPUs", "1.9 GiB of memory (1.4 GiB more)"}},
		{K3d, 1900 * mib, 1, true, []string{"2 CPUs"}},
	} {
		f := m.facts
		f.Memory.Total, f.CPU.Count, f.Init.Systemd = host.Is(c.memory), host.Is(c.cpus), host.Is(c.name == K3s)
		f.Docker.Reachable = host.Is(c.docker)
		k, _ := Decide(f, m.trials, Request{}).Candidate(c.name)
		if !slices.Equal(k.Counterfactual, c.want) {
			t.Errorf("%s: %q", c.name, k.Counterfactual)
		}
		f.Memory.Total, f.CPU.Count, f.Docker = host.Is(uint64(1900*mib)), host.Is(2), host.Docker{Reachable: host.Is(true)}
		if got := Decide(f, m.trials, Request{}).Chosen; got != c.name {
			t.Errorf("with all that %s is said to need, %q is chosen", c.name, got)
		}
	}
}

// TestMoreConsent: agreeing to more never makes a choice impossible, and what was agreed to is listed.
func TestMoreConsent(t *testing.T) {
	both := []reason.Cost{reason.CostPackage, reason.CostReboot}
	for name, m := range machines(t) {
		d, more := Decide(m.facts, m.trials, Request{Adopt: true}), Decide(m.facts, m.trials, Request{Adopt: true, Consent: both})
		if d.Chosen != "" && more.Chosen != d.Chosen || len(d.Consent) > 0 && more.Chosen == "" {
			t.Errorf("%s: %q becomes %q with consent", name, d.Chosen, more.Chosen)
		}
		for _, r := range append(d.Consent, more.Remedies...) {
			if r.ID == "" || r.Title == "" || r.Code == "" || r.Evidence == "" || r.Where != reason.Here || !slices.Contains(costs(), r.Cost) {
				t.Errorf("%s: remedy %+v is not whole", name, r)
			}
		}
		for _, r := range d.Remedies {
			if r.Cost != reason.CostNone && r.Cost != reason.CostSysctl {
				t.Errorf("%s: %s costs %s, and nobody agreed", name, r.ID, r.Cost)
			}
		}
	}
}

// TestPatches: whoever is told that the outer host must change is given the lines, each with its risk.
func TestPatches(t *testing.T) {
	for name, m := range machines(t) {
		d := Decide(m.facts, m.trials, Request{Adopt: true})
		kind, _ := m.facts.Virtualization.Container()
		outer := false
		if k, _ := d.Candidate(d.focus()); slices.Contains([]string{"lxc", "docker", "podman", "systemd-nspawn"}, kind) && d.Chosen == "" {
			outer = slices.ContainsFunc(k.Reasons, func(r Reason) bool { return r.Where == reason.OuterHost })
		}
		if outer != (len(d.Outer) > 0) && m.facts.Virtualization.WSL.Value == 0 {
			t.Errorf("%s: %v, and the patches are %+v", name, d.Err(), d.Outer)
		}
		for _, p := range d.Outer {
			if p.Host == "" || len(p.Lines) == 0 {
				t.Errorf("%s: %+v", name, p)
			}
			for _, l := range p.Lines {
				if l.Text == "" || l.Risk == "" || strings.ContainsAny(l.Text, "\n\r\x1b") {
					t.Errorf("%s, %s: %+v", name, p.Host, l)
				}
			}
		}
	}
}

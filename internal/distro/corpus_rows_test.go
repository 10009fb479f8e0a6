package distro

// corpus lists what must come out for every captured machine.
func corpus() []expectation {
	all := corpusSystems()
	all = append(all, corpusContainers()...)
	all = append(all, corpusHardware()...)
	all = append(all, corpusNetworks()...)
	return append(all, corpusClusters()...)
}

// corpusSystems are the operating systems and clouds.
func corpusSystems() []expectation {
	return []expectation{
		{machine: "debian11", chosen: K3s, quiet: noFirewall, shows: "HOST_INOTIFY", remedies: RemedySysctl, why: "1.6.4; 1.8 inotify: the default of 128 is too small"},
		{machine: "debian12-vm", chosen: K3s, quiet: noFirewall, why: "1.6.4"},
		{machine: "debian12-no-oom", chosen: K3s, shows: "HOST_OOM_SCORE|HOST_OOM_SCORE_ADJ", remedies: RemedyOOMScore, why: "design 6: restrict_oom_score_adj"},
		{machine: "debian13", chosen: K3s, quiet: noFirewall, shows: "HOST_INOTIFY", remedies: RemedySysctl, why: "1.6.4; 1.8 inotify"},
		{machine: "lmde6", chosen: K3s, quiet: noFirewall + " HOST_OS", why: "1.4 OS: LMDE says linuxmint but is Debian"},
		{machine: "ubuntu2004-cgroup-v1", chosen: K3s, quiet: noFirewall + " HOST_KERNEL", why: "1.8 cgroup v1: fine before 1.35"},
		{machine: "ubuntu2204-vm", chosen: K3s, quiet: noFirewall, remedies: RemedyResolvConf, why: "1.6.4; 1.8 DNS loop: 127.0.0.53"},
		{machine: "ubuntu2404-vm", chosen: K3s, shows: "NET_WEB_PORTS", quiet: "NET_PORT_TAKEN HOST_CONTAINER_NESTING", why: "1.5: nginx has port 80, its owner is named, k3s goes without"},
		{machine: "ubuntu2604-vm", chosen: K3s, quiet: noFirewall, remedies: RemedyResolvConf, why: "1.6.4"},
		{machine: "centos7", chosen: K3s, quiet: noFirewall + " HOST_KERNEL", why: "1.3 kubeadm: kernel 3.10; 1.8: cgroup v1 fine before 1.35"},
		{machine: "rhel9", chosen: K3s, quiet: plain + " NET_FIREWALL", shows: "HOST_SELINUX", remedies: RemedyNetManager, why: "1.7 RHEL 9: NetworkManager grabs the interfaces of pods"},
		{machine: "rocky9-firewalld", chosen: K3s, quiet: plain, shows: "NET_FIREWALL HOST_SELINUX", remedies: RemedyFirewalld + " " + RemedyNetManager, why: "1.7 RHEL 9 and firewalld: zone trusted for pods and services"},
		{machine: "oracle-linux9", chosen: K3s, quiet: plain, shows: "NET_FIREWALL", remedies: RemedyFirewalld + " " + RemedyNetManager, why: "1.7 RHEL 9, firewalld"},
		{machine: "rhel10-no-extra-modules", exit: 10, refuses: "HOST_MODULES|HOST_NETFILTER", consent: RemedyPackage, why: "1.7 RHEL 10: kernel-modules-extra of the running release"},
		{machine: "rhel10-extra-modules", chosen: K3s, quiet: plain, remedies: RemedyNetManager, why: "1.7 RHEL 10: with the package it is an ordinary machine; ip_tables is gone and not needed"},
		{machine: "rocky8-cgroup-v1", chosen: K3s, quiet: plain, remedies: RemedyBundledTools, why: "1.7 RHEL 8: cgroup v1 fine before 1.35; iptables-save corrupts rules"},
		{machine: "alma8-nm-cloud-setup", exit: 10, refuses: "NET_MANAGER", consent: RemedyServiceOff, why: "1.7 RHEL 8: disable service and timer of nm-cloud-setup, reboot"},
		{machine: "amazon-linux2", chosen: K3s, quiet: noFirewall + " HOST_CGROUP_V1", why: "1.7 Amazon Linux 2: refused from 1.35 on only"},
		{machine: "amazon-linux2023", chosen: K3s, quiet: plain + " NET_FIREWALL", why: "1.7 Amazon Linux 2023: no iptables, k3s brings its own"},
		{machine: "sles15", chosen: K3s, quiet: noFirewall, why: "1.7 SLES: continue"},
		{machine: "btrfs-root", chosen: K3s, quiet: noFirewall + " HOST_DISK_TYPE HOST_DISK_LOW", why: "1.4 overlay: the trial holds; btrfs counts no inodes"},
		{machine: "sle-micro", chosen: K3s, quiet: "HOST_READ_ONLY HOST_DISK_LOW HOST_MODULES", shows: "HOST_SELINUX", why: "1.7 SLE Micro: /usr read-only matters for packages, none is needed; /usr/local and /var are writable"},
		{machine: "opensuse-microos", chosen: K3s, quiet: "HOST_READ_ONLY HOST_DISK_LOW HOST_MODULES", shows: "HOST_SELINUX", why: "1.7 MicroOS, likewise"},
		{machine: "fedora-coreos", chosen: K3s, quiet: "HOST_READ_ONLY HOST_DISK_LOW HOST_CONTAINER_NESTING", shows: "HOST_SELINUX", remedies: RemedyNetManager, why: "1.7 Fedora CoreOS: /usr/local is writable there"},
		{machine: "flatcar", chosen: K3s, quiet: "HOST_DISK_LOW HOST_SELINUX", remedies: RemedyBinaryDir, why: "1.7 Flatcar: /opt/bin"},
		{machine: "nixos", exit: 10, refuses: "HOST_IMMUTABLE|HOST_READ_ONLY k3d:DOCKER_UNREACHABLE", quiet: "HOST_CONTAINER_NESTING", why: "1.7 NixOS: adopt, or k3d; the option is named"},
		{machine: "nixos-docker", chosen: K3d, refuses: "HOST_IMMUTABLE|HOST_READ_ONLY", why: "1.7 NixOS: k3d; 1.6.4: read-only root is what a container cures"},
		{machine: "gentoo-openrc", chosen: K3s, quiet: noFirewall + " HOST_NO_SYSTEMD", why: "1.3 k3s: systemd or OpenRC"},
		{machine: "void-runit", exit: 10, refuses: "HOST_NO_SYSTEMD", quiet: "HOST_CONTAINER_NESTING", why: "1.3 k3s: systemd or OpenRC; runit is neither"},
		{machine: "arch", chosen: K3s, quiet: noFirewall, why: "1.6.3: gates decide; with systemd and writable paths none fails"},
		{machine: "alpine-openrc", chosen: K3s, remedies: RemedyOpenRCCgroups, quiet: "HOST_NO_SYSTEMD", why: "1.7 Alpine: enable the service cgroups, unified"},
		{machine: "alpine-openrc-no-cgroups", chosen: K3s, remedies: RemedyOpenRCCgroups, quiet: "HOST_NO_SYSTEMD", why: "1.7 Alpine"},
		{machine: "alpine-docker-openrc", chosen: K3s, quiet: noFirewall + " HOST_NO_SYSTEMD", why: "1.3 OpenRC; 1.6.4: k3s comes before k3d"},
		{machine: "aws-ec2", chosen: K3s, quiet: noFirewall, remedies: RemedyResolvConf, why: "1.4 cloud; 1.6.4"},
		{machine: "gcp-vm", chosen: K3s, quiet: noFirewall, why: "1.4 cloud; 1.6.4"},
		{machine: "azure-vm", chosen: K3s, quiet: noFirewall, remedies: RemedyResolvConf, why: "1.4 cloud; 1.6.4"},
		{machine: "hetzner-vm", chosen: K3s, quiet: noFirewall, remedies: RemedyResolvConf, why: "1.4 cloud; 1.6.4"},
		{machine: "digitalocean", chosen: K3s, quiet: noFirewall, why: "1.4 cloud; 1.6.4"},
		{machine: "vultr", chosen: K3s, quiet: noFirewall, why: "1.4 cloud; 1.6.4"},
		{machine: "alibaba-vm", chosen: K3s, quiet: noFirewall, why: "1.4 cloud; 1.6.4"},
		{machine: "scaleway-vm", chosen: K3s, quiet: noFirewall, why: "1.4 cloud; 1.6.4"},
		{machine: "linode-vm", chosen: K3s, quiet: noFirewall, why: "1.4 cloud; 1.6.4"},
		{machine: "openstack-vm", chosen: K3s, quiet: noFirewall, why: "1.4 cloud; 1.6.4"},
		{machine: "aws-ec2-xen", chosen: K3s, quiet: noFirewall, why: "1.4 cloud; 1.6.4"},
		{machine: "vmware-vm", chosen: K3s, quiet: noFirewall, why: "1.4 virtualization; 1.6.4"},
		{machine: "virtualbox-vm", chosen: K3s, quiet: noFirewall, why: "1.4 virtualization; 1.6.4"},
		{machine: "hyperv-vm", chosen: K3s, quiet: noFirewall, why: "1.4 virtualization; 1.6.4"},
		{machine: "oracle-ubuntu-reject-rules", chosen: K3s, quiet: plain, shows: "NET_FIREWALL", remedies: RemedyAcceptRules, why: "1.7 Oracle Cloud: accepts before the reject"},
		{machine: "cloud-init-running", chosen: K3s, shows: "HOST_PACKAGES_BUSY", why: "1.4 package manager: wait, then go on"},
		{machine: "dpkg-locked", chosen: K3s, shows: "HOST_PACKAGES_BUSY", why: "1.4 package manager"},
		{machine: "lying-os-release", chosen: K3s, quiet: noFirewall + " HOST_NO_SYSTEMD HOST_OS", why: "1.4 OS: parsed, never run; pid 1 says what the init is"},
		{machine: "missing-os-release", chosen: K3s, quiet: noFirewall + " HOST_OS", why: "1.4 OS: unknown refuses nothing"},
		{machine: "empty-os-release", chosen: K3s, quiet: noFirewall + " HOST_OS", why: "1.4 OS: an empty file was seen; /usr/lib/os-release"},
		{machine: "kernel-config-is-only-a-hint", chosen: K3s, quiet: noFirewall, why: "1.4 kernel config: only advice, what works counts (3.30)"},
		{machine: "iptables-mixed", chosen: K3s, quiet: "HOST_NETFILTER NET_PORT_TAKEN", why: "1.8 nftables: pick the back end by trial, switch nothing"},
		{machine: "zero-byte-dmi", chosen: K3s, quiet: noFirewall, why: "1.4 cloud: unknown refuses nothing"},
		{machine: "nothing-known", chosen: K3s, quiet: noFirewall, why: "1.4: unknown refuses nothing"},
		{machine: "mac-docker", chosen: K3d, refuses: "HOST_OS", why: "6: macOS through Docker"},
		{machine: "mac-no-docker", exit: 10, refuses: "HOST_OS k3d:DOCKER_UNREACHABLE", why: "6: macOS, nothing without Docker"},
		{machine: "mac-kubeconfig", chosen: anything, refuses: "HOST_OS", why: "6: macOS; whether the kubeconfig of a user is a cluster of this machine is not said"},
	}
}

// corpusContainers are containers and WSL.
func corpusContainers() []expectation {
	return []expectation{
		{machine: "lxc-privileged", exit: 12, refuses: "HOST_CONTAINER_NESTING", outer: "Proxmox", why: "1.7 LXC privileged: nesting is off"},
		{machine: "lxc-privileged-proxmox-bare", exit: 12, refuses: "HOST_CONTAINER_NESTING", outer: "Proxmox", quiet: "HOST_MODULES", why: "1.7 LXC privileged"},
		{machine: "lxc-privileged-nesting", chosen: K3s, quiet: "HOST_CONTAINER_NESTING HOST_MODULES", why: "1.7 LXC privileged: all trials hold"},
		{machine: "lxc-privileged-nesting-no-vxlan", chosen: K3s, shows: "HOST_VXLAN", quiet: "HOST_CONTAINER_NESTING HOST_MODULES", remedies: RemedyFlannelBackend, why: "1.7 LXC privileged: host-gw if vxlan is missing; 1.4 modules: the effect counts"},
		{machine: "lxc-unprivileged", exit: 12, refuses: "HOST_CONTAINER_NESTING", outer: "Proxmox", why: "1.7 LXC unprivileged: kernel settings and /dev/kmsg are the host's"},
		{machine: "lxc-unprivileged-nesting-keyctl", chosen: K3s, shows: "HOST_USER_NAMESPACE", quiet: "HOST_CONTAINER_NESTING", remedies: RemedyKubeletArg + " " + RemedyOOMScore, why: "1.7 LXC unprivileged: KubeletInUserNamespace; kernel 6.8 carries overlays there"},
		{machine: "lxc-unprivileged-docker", exit: 12, refuses: "HOST_CONTAINER_NESTING k3d:HOST_CONTAINER_NESTING", outer: "Proxmox", why: "1.7 LXC unprivileged: the engine is in the same container and bound by the same trials"},
		{machine: "incus-unprivileged-default", exit: 12, refuses: "HOST_CONTAINER_NESTING", outer: "Incus", why: "1.7 LXC unprivileged without nesting"},
		{machine: "lxd-sysctl-net-readonly", exit: 12, refuses: "HOST_CONTAINER_NESTING", outer: "LXD", why: "1.7 LXD: /proc/sys/net read-only, raw.lxc outside"},
		{machine: "memory-limited-cgroup", exit: refused, refuses: "HOST_MEMORY_LOW", quiet: "HOST_CONTAINER_NESTING", why: "1.3: the smaller of machine and limit"},
		{machine: "docker-container", exit: 12, refuses: "HOST_CONTAINER_NESTING", outer: "Docker", why: "1.7 Docker container"},
		{machine: "docker-half-cpu", exit: 12, refuses: "HOST_CONTAINER_NESTING HOST_CPU", why: "1.4 CPU: the quota counts"},
		{machine: "docker-in-lxc-in-kvm", exit: 12, refuses: "HOST_CONTAINER_NESTING", outer: "Docker", why: "1.4 virtualization: a stack"},
		{machine: "docker-container-with-socket", chosen: K3d, refuses: "HOST_CONTAINER_NESTING", quiet: "k3d:HOST_CONTAINER_NESTING", why: "1.7 Docker container: the mounted socket is that of an engine outside, use k3d"},
		{machine: "docker-container-privileged", exit: 12, refuses: "HOST_NO_SYSTEMD", quiet: "HOST_CONTAINER_NESTING", why: "1.7 Docker container: privileged, but nothing that runs services"},
		{machine: "podman-container", exit: 12, refuses: "HOST_CONTAINER_NESTING", why: "1.7 Docker container"},
		{machine: "kubernetes-pod", exit: 12, refuses: "HOST_CONTAINER_NESTING", why: "1.7 Docker container, of a cluster"},
		{machine: "gitpod-container", exit: 12, refuses: "HOST_CONTAINER_NESTING", why: "1.7 Docker container with shifted ids"},
		{machine: "codespaces-container", chosen: K3d, refuses: "HOST_NO_SYSTEMD", quiet: "k3d:HOST_CONTAINER_NESTING", why: "1.6.4: live Docker, no systemd; nesting holds for the engine inside"},
		{machine: "podman-host-no-systemd", chosen: Kind, refuses: "HOST_NO_SYSTEMD k3d:DOCKER_UNREACHABLE", why: "1.6.4: kind with Docker or Podman"},
		{machine: "lab-nspawn", chosen: K3s, quiet: "HOST_CONTAINER_NESTING", remedies: RemedyOOMScore, why: "1.7 nspawn: judged by trials; issue 3: still installs"},
		{machine: "nspawn-restricted", exit: 12, refuses: "HOST_CONTAINER_NESTING", why: "1.7 nspawn"},
		{machine: "openvz", exit: 10, refuses: "HOST_OPENVZ", why: "1.7 OpenVZ: refuse"},
		{machine: "wsl1", exit: 10, refuses: "HOST_WSL1", why: "1.7 WSL1: refuse"},
		{machine: "wsl2-plain", exit: 12, refuses: "HOST_NO_SYSTEMD", outer: "PowerShell", why: "1.7 WSL2: systemd=true, then a line for PowerShell"},
		{machine: "wsl2-no-systemd", chosen: K3d, refuses: "HOST_NO_SYSTEMD", why: "1.7 WSL2: Docker Desktop, k3d"},
		{machine: "wsl2-docker-desktop", chosen: K3d, refuses: "HOST_NO_SYSTEMD", why: "1.7 WSL2: Docker Desktop, k3d"},
		{machine: "wsl2-systemd", chosen: K3s, remedies: RemedySharedRoot, quiet: "HOST_WSL_DOCKER HOST_VXLAN", why: "1.7 WSL2: / is made shared"},
		{machine: "wsl2-systemd-docker-desktop", chosen: K3d, refuses: "HOST_WSL_DOCKER", why: "1.7 WSL2, 6: prefer Docker Desktop with k3d"},
		{machine: "wsl2-systemd-no-vxlan", chosen: K3s, remedies: RemedySharedRoot + " " + RemedyFlannelBackend, why: "1.6.5: host-gw costs nothing (the row of WSL2 in 1.7 only says if the trials pass)"},
	}
}

// corpusHardware are sizes, disks and boards.
func corpusHardware() []expectation {
	return []expectation{
		{machine: "vps-1gb", chosen: K3s, shows: "HOST_MEMORY_LOW", quiet: "HOST_CONTAINER_NESTING", why: "1.3: 900 MB with slack, warned below 1900 MB"},
		{machine: "vps-1gb-docker", chosen: K3s, shows: "HOST_MEMORY_LOW", refuses: "k3d:HOST_MEMORY_LOW kind:HOST_MEMORY_LOW minikube:HOST_MEMORY_LOW", why: "1.6.4: below 1.9 GB only k3s"},
		{machine: "vps-512mb", exit: 10, refuses: "HOST_MEMORY_LOW", why: "1.3: refused below 900 MB"},
		{machine: "vps-512mb-docker", exit: 10, refuses: "HOST_MEMORY_LOW k3d:HOST_MEMORY_LOW", why: "1.3"},
		{machine: "baremetal-32gb", chosen: K3s, quiet: noFirewall + " HOST_MEMORY_LOW HOST_CPU", why: "1.6.4"},
		{machine: "baremetal-aws", chosen: K3s, quiet: noFirewall, remedies: RemedyResolvConf, why: "1.4 virtualization: the vendor alone makes no virtual machine"},
		{machine: "laptop-battery", chosen: K3s, shows: "HOST_PORTABLE", quiet: "NET_FIREWALL", remedies: RemedyNetManager + " " + RemedyResolvConf, why: "1.7 laptop: warn, re-check on resume"},
		{machine: "x86-64-v1", chosen: K3s, shows: "HOST_CPU_LEVEL", why: "1.4 architecture: some images want x86-64-v2; no gate in 1.3"},
		{machine: "arm64-64k-pages", chosen: K3s, shows: "HOST_PAGE_SIZE", quiet: "HOST_ARCH", why: "1.4 architecture: 64 K pages break some images, no gate"},
		{machine: "pi5-bookworm-ok", chosen: K3s, shows: "HOST_PAGE_SIZE", quiet: "HOST_CGROUP_CONTROLLER HOST_CONTAINER_NESTING HOST_DISK_SLOW", why: "1.7 Raspberry Pi: with the words on the command line it is fine"},
		{machine: "pi3-1gb", chosen: K3s, shows: "HOST_MEMORY_LOW", quiet: "HOST_CGROUP_CONTROLLER HOST_PAGE_SIZE", why: "1.3: 900 MB with slack"},
		{machine: "pi4-no-memory-cgroup", exit: 10, refuses: "HOST_CGROUP_CONTROLLER", consent: RemedyKernelCmdline, why: "1.7 Raspberry Pi: cmdline.txt, reboot"},
		{machine: "pi4-bullseye-no-memory-cgroup", exit: 10, refuses: "HOST_CGROUP_CONTROLLER", consent: RemedyKernelCmdline, why: "1.7 Raspberry Pi: Debian 11 has /boot/cmdline.txt"},
		{machine: "pi4-32bit-userland", exit: 10, refuses: "HOST_ARCH", why: "1.4 architecture: 32-bit programs on a 64-bit kernel"},
		{machine: "pi-ubuntu2204-no-vxlan", chosen: K3s, shows: "HOST_VXLAN", remedies: RemedyFlannelBackend, quiet: "HOST_MODULES", why: "1.6.5: host-gw costs nothing, linux-modules-extra-raspi (1.7) is a package"},
		{machine: "slow-sdcard", chosen: K3s, shows: "HOST_DISK_SLOW", why: "1.8 disk: measured and said; sqlite, no gate in 1.3"},
		{machine: "clock-2021", exit: 10, refuses: "HOST_CLOCK", why: "1.8 clock: no certificate before the clock is right"},
		{machine: "zfs-root-overlay-fails", chosen: K3s, remedies: RemedySnapshotter, shows: "HOST_OVERLAY", quiet: "HOST_DISK_TYPE", why: "1.7 ZFS root: another snapshotter; 1.3: or a fallback works"},
		{machine: "xfs-ftype0-overlay-fails", chosen: K3s, remedies: RemedySnapshotter + " " + RemedyBundledTools, shows: "HOST_OVERLAY", quiet: "HOST_DISK_TYPE", why: "1.4 overlay: XFS ftype=0; 1.3: or a fallback works"},
		{machine: "tmpfs-root", exit: 10, refuses: "HOST_DISK_TYPE", why: "1.7 tmpfs root: refuse for the data"},
		{machine: "nfs-data-dir", exit: 10, refuses: "HOST_DISK_TYPE", why: "1.7 NFS: refuse for the data"},
		{machine: "nfs-root", exit: 10, refuses: "HOST_DISK_TYPE", why: "1.7 NFS root: refuse for the data"},
		{machine: "pi4-overlayroot", exit: 10, refuses: "HOST_DISK_LOW|HOST_DISK_TYPE", quiet: "HOST_CONTAINER_NESTING", why: "1.4 virtualization: an overlay as root makes no container; 1.7 tmpfs root, and 1.8 GB free"},
		{machine: "disk-full", exit: 10, refuses: "HOST_DISK_LOW", why: "1.3: 4 GiB"},
		{machine: "disk-inodes-full", exit: 10, refuses: "HOST_DISK_LOW", why: "1.4 disk: bytes and inodes"},
		{machine: "readonly-usr-local", chosen: K3s, remedies: RemedyBinaryDir, quiet: "HOST_DISK_LOW", why: "1.4 read-only roots: /opt"},
		{machine: "kernel-upgraded-no-reboot", exit: 10, refuses: "HOST_REBOOT_PENDING", quiet: "HOST_DISK_TYPE", why: "1.4 modules: say reboot first"},
		{machine: "half-cpu-vm", exit: 10, refuses: "HOST_CPU", why: "1.4 CPU: cpu.max of 0.5; 1.3: 1 CPU"},
		{machine: "cgroup-hybrid", chosen: K3s, remedies: RemedyBundledTools, quiet: "HOST_CGROUP_CONTROLLER", why: "1.4 cgroup version; 1.4 iptables: 1.8.0 to 1.8.3 are broken"},
		{machine: "keyring-small", chosen: K3s, shows: "HOST_KEYRING", remedies: RemedySysctl, why: "1.4 keyring: k3s wants more than 10000 keys"},
		{machine: "inotify-raised", chosen: K3s, quiet: noFirewall + " HOST_INOTIFY", why: "1.8 inotify: raise only"},
		{machine: "zram-swap", chosen: K3s, quiet: noFirewall, why: "1.8 swap: tolerated, zram is fine"},
		{machine: "selinux-custom", chosen: K3s, shows: "HOST_SELINUX", quiet: "HOST_DISK_LOW HOST_DISK_TYPE", remedies: RemedyNetManager, why: "1.7 RHEL 9: the policy does not know another data folder: warn"},
	}
}

// corpusNetworks are names, firewalls, routes and neighbours.
func corpusNetworks() []expectation {
	return []expectation{
		{machine: "hostname-invalid", chosen: K3s, shows: "HOST_NODE_NAME", remedies: RemedyNodeName, why: "1.4 node identity: another name for the node"},
		{machine: "hostname-uppercase", chosen: K3s, quiet: noFirewall, why: "1.4 node identity: in lower case it is a name"},
		{machine: "ubuntu2404-ufw", chosen: K3s, shows: "NET_FIREWALL", remedies: RemedyUFW + " " + RemedyResolvConf, quiet: plain, why: "1.7 ufw: networks of pods and services are let in"},
		{machine: "dns-stub-127.0.0.53", chosen: K3s, shows: "NET_DNS_LOOP", remedies: RemedyResolvConf, quiet: noFirewall, why: "1.8 DNS loop: a file of our own"},
		{machine: "dnsmasq-loopback", chosen: anything, shows: "NET_DNS_LOOP", why: "1.8 DNS loop: there is no server for pods, and public ones are not forced on anybody"},
		{machine: "vpn-10.0.0.0-8-routes", chosen: K3s, shows: "NET_CIDR_OVERLAP", remedies: RemedyCIDR, why: "1.4 routes: VPNs own 10.0.0.0/8"},
		{machine: "ipv6-only", chosen: K3s, shows: "NET_IPV6_ONLY", remedies: RemedyCIDR, quiet: "NET_NO_ROUTE", why: "1.8 IPv6-only: dual-stack sources; k3s needs IPv6 networks there"},
		{machine: "no-default-route", exit: 10, refuses: "NET_NO_ROUTE", why: "1.8 IPv6-only: a default route is needed even without a network"},
		{machine: "proxy-environment", chosen: K3s, quiet: noFirewall, why: "1.8 proxy: a setting, not a fault"},
		{machine: "haproxy-443", chosen: K3s, shows: "NET_WEB_PORTS", quiet: "NET_PORT_TAKEN", why: "1.5: 80 and 443"},
		{machine: "cpanel-server", chosen: K3s, shows: "NEIGHBOUR_PANEL NET_WEB_PORTS", quiet: "NET_PORT_TAKEN", why: "4.14: panels stay as they are; 1.5"},
		{machine: "coolify-server", chosen: K3s, shows: "NEIGHBOUR_PANEL NET_WEB_PORTS", quiet: "NET_PORT_TAKEN", why: "4.14; 1.6.4: k3s comes before k3d"},
		{machine: "swarm-manager", chosen: K3s, quiet: "NET_PORT_TAKEN CLUSTER_FOREIGN CLUSTER_DEBRIS", why: "4.14: a swarm is a neighbour, not a cluster of ours"},
	}
}

// corpusClusters are machines with Kubernetes or an engine.
func corpusClusters() []expectation {
	return []expectation{
		{machine: "k3s-foreign-running", chosen: Existing, refuses: "CLUSTER_FOREIGN", why: "1.6.1: adopt"},
		{machine: "kubeadm-running", chosen: Existing, refuses: "CLUSTER_FOREIGN", why: "1.6.1"},
		{machine: "rke2-running", chosen: Existing, refuses: "CLUSTER_FOREIGN", why: "1.6.1"},
		{machine: "microk8s-running", chosen: Existing, refuses: "CLUSTER_FOREIGN", why: "1.6.1"},
		{machine: "k0s-running", chosen: Existing, refuses: "CLUSTER_FOREIGN", why: "1.6.1"},
		{machine: "k3d-running", chosen: Existing, refuses: "CLUSTER_FOREIGN", why: "1.6.1; 1.4 clusters: labels of containers"},
		{machine: "k3s-ours-undone", chosen: Existing, refuses: "CLUSTER_FOREIGN", why: "1.6.1: what we undid is not ours"},
		{machine: "k3s-ours-running", chosen: K3s, quiet: "CLUSTER_FOREIGN CLUSTER_DEBRIS NET_PORT_TAKEN", why: "3.33: the ledger knows what is ours"},
		{machine: "k3s-preloaded-images", chosen: K3s, quiet: "CLUSTER_DEBRIS CLUSTER_FOREIGN", why: "1.4 clusters: a folder is not a cluster"},
		{machine: "two-clusters", exit: 10, refuses: "existing:CLUSTER_SEVERAL CLUSTER_FOREIGN|CLUSTER_SEVERAL", why: "1.6.1: several, no guess"},
		{machine: "three-clusters", exit: 10, refuses: "existing:CLUSTER_SEVERAL CLUSTER_FOREIGN|CLUSTER_SEVERAL", why: "1.6.1: several, no guess"},
		{machine: "k3s-foreign-stopped", exit: 10, refuses: "CLUSTER_FOREIGN", why: "1.4 clusters: stopped is neither healthy nor debris"},
		{machine: "k3s-agent-foreign", exit: 10, refuses: "CLUSTER_FOREIGN existing:CLUSTER_NONE", why: "1.6.1: a worker has no rights on its cluster"},
		{machine: "kind-stopped", exit: 10, refuses: "CLUSTER_FOREIGN", why: "1.4 clusters: stopped"},
		{machine: "k3s-debris", exit: 10, refuses: "CLUSTER_DEBRIS", why: "1.6.2"},
		{machine: "kubeadm-debris", exit: 10, refuses: "CLUSTER_DEBRIS", why: "1.6.2"},
		{machine: "minikube-debris", exit: 10, refuses: "CLUSTER_DEBRIS k3d:CLUSTER_DEBRIS", why: "1.6.2: debris stops everything"},
		{machine: "port-6443-taken", exit: 10, refuses: "NET_PORT_TAKEN", why: "1.3: 6443 and 10250 are free; no Docker here"},
		{machine: "port-10250-taken-docker-up", chosen: K3d, refuses: "NET_PORT_TAKEN", why: "1.6.4: a container has ports of its own"},
		{machine: "docker-engine-29", chosen: K3s, quiet: noFirewall + " k3d:DOCKER_TOO_OLD k3d:DOCKER_UNREACHABLE", why: "1.6.4; 1.8 Docker API"},
		{machine: "containerd-standalone", chosen: K3s, quiet: noFirewall, why: "1.1 sealos, 3.33: a containerd of somebody else is no reason to refuse"},
		{machine: "docker-old-19", chosen: Minikube, refuses: "HOST_NOT_ROOT k3d:DOCKER_TOO_OLD kind:DOCKER_TOO_OLD", why: "1.3: k3d 20.10.5, kind 20.10, minikube 18.09"},
		{machine: "docker-rootless-nonroot", chosen: Kind, refuses: "HOST_NOT_ROOT k3d:DOCKER_ROOTLESS", why: "1.3: only kind names a rootless engine, with delegated control groups"},
		{machine: "nonroot-user-with-docker", chosen: K3d, refuses: "HOST_NOT_ROOT", why: "1.6.4: live Docker, k3s needs root"},
		{machine: "nonroot-user", exit: 10, refuses: "HOST_NOT_ROOT k3d:DOCKER_UNREACHABLE", why: "1.3 k3s: root"},
	}
}

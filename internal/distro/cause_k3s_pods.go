package distro

import (
	"github.com/pipeopshq/pipeops-agent/internal/host"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

// containerdCauses: containerd, which k3s starts and waits for, does not come.
func containerdCauses() []Cause {
	return []Cause{
		{Name: "containerd-database", Says: []string{"panic: freepages", "panic: page ... already freed", "panic: invalid page type", "panic: assertion failed: Page expected to be", "panic: page ... invalid", "meta.db: invalid database", "failed to open database ... invalid", "metadata.v1.bolt ... invalid database", "metadata.v1.bolt ... checksum error", "freelist ... page", "bbolt.(*"},
			Code: reason.K3sContainerd, Fix: "its database was damaged, as by a power cut: systemctl stop k3s, mv /var/lib/rancher/k3s/agent/containerd /var/lib/rancher/k3s/agent/containerd.damaged, systemctl start k3s; images and pods are made anew, volumes stay"},
		{Name: "containerd-template", Says: []string{"fatal: ... template: ", "Failure unmarshaling TOML", "failed to load TOML"},
			Code: reason.K3sContainerd, Fix: "mend or take away the template below /var/lib/rancher/k3s/agent/etc/containerd, then systemctl restart k3s"},
		{Name: "containerd-in-the-way", Says: []string{"containerd.sock: bind: address already in use", "remove ... containerd.sock: directory not empty", "containerd.sock ... is a directory", "failed to get listener for ... containerd.sock"},
			Code: reason.K3sContainerd, Fix: "something of an earlier k3s is in the way: systemctl stop k3s, end what still holds /run/k3s/containerd, rm -r /run/k3s, systemctl start k3s"},
		{Name: "snapshotter-fuse", Says: []string{"fuse-overlayfs ... executable file not found", `"fuse-overlayfs" snapshotter cannot be enabled`, "fuse-overlayfs not functional"},
			Code: reason.HostOverlay, Fix: "install fuse-overlayfs and load the module fuse, or set snapshotter to native in the configuration of k3s"},
		{Name: "snapshotter-nested", Says: []string{`"overlayfs" snapshotter cannot be enabled`, "failed to mount overlay"}, When: contained(),
			Code: reason.HostOverlay, Fix: "overlays cannot be mounted in this container: put the data directory on a file system of its own (a volume), or set snapshotter to fuse-overlayfs or native in the configuration of k3s"},
		{Name: "snapshotter", Says: []string{`"overlayfs" snapshotter cannot be enabled`, "failed to mount overlay", "does not support d_type"}, Code: reason.HostOverlay,
			Fix: "the file system of the data directory carries no overlays: choose ext4, or XFS made with ftype=1, by --data-dir, or set snapshotter to native in the configuration of k3s"},
		{Name: "snapshotter-other", Says: []string{"snapshotter cannot be enabled", "snapshotter ... was not found", "failed to find snapshotter", "snapshotter ... not found", `must be a zfs filesystem to be used with the zfs snapshotter`},
			Code: reason.HostOverlay, Fix: "take snapshotter out of the configuration of k3s, or set it to overlayfs or native"},
		{Name: "runc-missing", Says: []string{`exec: "runc": executable file not found`, "unable to retrieve OCI runtime error", `"runc": executable file not found`}, Code: reason.K3sPrograms, Stuck: true},
		{Name: "nsenter-missing", Says: []string{`exec: "nsenter": executable file not found`, "nsenter: not found"}, Code: reason.K3sPrograms,
			Fix: "install util-linux, which has nsenter", Stuck: true},
		{Name: "mount-missing", Says: []string{`exec: "mount": executable file not found`, `exec: "umount": executable file not found`, `exec: "losetup"`}, Code: reason.K3sPrograms,
			Fix: "install util-linux, which has mount and losetup", Stuck: true},
	}
}

// networkCauses: addresses, routes, packet filters.
func networkCauses() []Cause {
	return []Cause{
		{Name: "no-default-route", Says: []string{"no default routes found", "unable to select an IP from default routes", "failed to get default interface", "Unable to find default route", "unable to find default route", "no route to host ... default"},
			Code: reason.NetNoRoute},
		{Name: "interface-missing", Says: []string{"unable to find interface", "no such network interface", "interface ... not found", "Link not found", "failed to find the interface", "failed to get interface"},
			Code: reason.K3sAddress},
		{Name: "address-not-here", Says: []string{"failed to validate nodeIP", "not found in the host's network interfaces", "node IP ... not found"}, Code: reason.K3sAddress},
		{Name: "wireguard", Says: []string{"could not create wireguard interface"},
			Code: reason.HostVxlan, Fix: "the kernel has no WireGuard: install its module, or set flannel-backend to vxlan or host-gw in the configuration of k3s"},
		{Name: "vxlan", Says: []string{"failed to create vxlan", "vxlan ... operation not supported", "failed to add vxlan", "failed to ensure address of interface flannel.1", "flannel exited: operation not supported"},
			Code: reason.HostVxlan, Fix: "load the module vxlan (on Ubuntu for the Raspberry Pi install linux-modules-extra-raspi), or set flannel-backend to host-gw in the configuration of k3s"},
		{Name: "iptables-rules-el8", Says: iptablesWrong(), When: el8(), Code: reason.HostIPTables,
			Fix: "the iptables of EL 8 damages rules when it saves and restores them: set prefer-bundled-bin: true in the configuration of k3s, then restart it"},
		{Name: "iptables-modules", Says: iptablesModules(), When: contained(), Code: reason.HostNetfilter,
			Fix: "a container cannot load the modules of the packet filter: load ip_tables, nf_nat, nft_compat, xt_comment, xt_conntrack, xt_MASQUERADE on its host"},
		{Name: "iptables-modules-here", Says: iptablesModules(), Code: reason.HostNetfilter},
		{Name: "iptables-missing", Says: []string{`exec: "iptables": executable file not found`, `exec: "iptables-save": executable file not found`, `exec: "iptables-restore": executable file not found`, "iptables ... not found in $PATH", "iptables is not available"},
			Code: reason.HostIPTables, Fix: "install iptables, or set prefer-bundled-bin: true in the configuration of k3s"},
		{Name: "iptables-broken", Says: iptablesWrong(), Code: reason.HostIPTables,
			Fix: "the iptables of the machine and the kernel do not understand each other: set prefer-bundled-bin: true in the configuration of k3s, or choose the other back end (update-alternatives --config iptables)"},
		{Name: "br-netfilter", Says: []string{"/proc/sys/net/bridge ... no such file or directory", "bridge-nf-call-iptables: no such file or directory"}, Code: reason.HostModulesIdle,
			Fix: "modprobe br_netfilter, and write its name to /etc/modules-load.d/k3s.conf; in a container load it on the host", Stuck: true},
	}
}

func iptablesWrong() []string {
	return []string{"No iptables support for family", "Could not fetch rule set generation id", "iptables ... is incompatible, use 'nft' tool", "iptables-restore ... failed", "iptables-restore: line", "iptables-save ... failed", "iptables ... unknown option", "iptables: Index of insertion too big", "table ... is incompatible"}
}

func iptablesModules() []string {
	return []string{"can't initialize iptables table", "Couldn't load match", "Couldn't load target", "iptables ... missing kernel module", "iptables ... RULE_APPEND failed", "iptables ... CHAIN_ADD failed", "iptables ... Table does not exist (do you need to insmod?)", "No chain/target/match by that name"}
}

// podCauses: k3s runs, and its pods do not. All of this is said in passing too, while a healthy cluster starts.
func podCauses() []Cause {
	return []Cause{
		{Name: "cni-plugin-missing", Says: []string{"failed to find plugin", "failed to find host-local", "no such file or directory ... /cni/ ... flannel"}, Code: reason.K3sCNI, Stuck: true,
			Fix: "the programs of the pod network are gone: systemctl stop k3s, rm -r /var/lib/rancher/k3s/data, systemctl start k3s, which unpacks them anew"},
		{Name: "import-failed", Says: []string{"failed to import images from", "Error encountered while importing", "failed to ingest"}, Code: reason.K3sImages, Stuck: true,
			Fix: "remove what lies in /var/lib/rancher/k3s/agent/images, then run pipeops-agent install again: it puts the archive back and checks its digest"},
		{Name: "proxy", Says: []string{"proxyconnect tcp"}, Code: reason.NetProxy, Stuck: true,
			Fix: "the proxy in the environment of k3s (/etc/default/k3s, /etc/environment) does not answer: correct it, and let NO_PROXY hold 127.0.0.0/8, localhost, 10.42.0.0/16, 10.43.0.0/16, .svc, .cluster.local and the addresses of this machine"},
		{Name: "dns-loop", Says: []string{"[FATAL] plugin/loop: Loop", "plugin/loop: Loop"}, Code: reason.NetDNSLoop, Stuck: true,
			Fix: "the name server of the machine is the machine itself: let resolv-conf in the configuration of k3s name a file with name servers that pods can reach"},
		{Name: "firewall", Says: []string{"dial tcp 10.43.0.1:443: i/o timeout", "dial tcp 10.43.0.1:443: connect: no route to host", "10.43.0.1:443 ... i/o timeout", "https://10.43.0.1:443/ ... context deadline exceeded", "10.43.0.1:443 ... connect: connection timed out", "kubernetes.default ... i/o timeout"}, Code: reason.NetFirewall, Stuck: true,
			Fix: "pods do not reach the API server: let the networks of pods and services in (ufw: ufw allow from 10.42.0.0/16; ufw allow from 10.43.0.0/16; firewalld: firewall-cmd --permanent --zone=trusted --add-source=10.42.0.0/16 --add-source=10.43.0.0/16, then --reload)",
			Adds: func(_ string, f host.Facts) string {
				switch {
				case f.Firewall.UFW.Value:
					return "ufw is active"
				case f.Firewall.Firewalld.Value:
					return "firewalld is active"
				case len(f.Firewall.Rejects) > 0:
					return "a rule of this machine is " + f.Firewall.Rejects[0]
				case f.Firewall.Forward == "drop":
					return "the policy of FORWARD is DROP"
				}
				return ""
			}},
		{Name: "image-pull", Says: []string{"failed to pull image", "failed to get sandbox image", "ErrImagePull", "ImagePullBackOff", "failed to pull and unpack"}, Code: reason.K3sImages, Stuck: true},
		{Name: "runc-denied", Says: []string{"runc create failed ... operation not permitted", "runc create failed ... permission denied", "failed to create shim task ... operation not permitted", "failed to create shim task ... permission denied"}, When: contained(), Code: reason.HostContainerNesting, Stuck: true},
		{Name: "runc-denied-here", Says: []string{"runc create failed ... operation not permitted", "runc create failed ... permission denied", "failed to create shim task ... permission denied"}, Code: reason.K3sDenied, Stuck: true},
		{Name: "runc-failed", Says: []string{"runc create failed", "failed to create shim task", "failed to start sandbox"}, Code: reason.K3sContainerd, Stuck: true,
			Fix: "runc does not start the containers of pods: what the line says is the cause; pipeops-agent probe --try tries what they need, one by one"},
	}
}

// lastCauses are what is left where nothing tells more: they name what failed, and not why.
func lastCauses() []Cause {
	return []Cause{
		{Name: "containerd-silent", Says: []string{"containerd exited", "validate CRI v1 runtime API for endpoint"},
			Code: reason.K3sContainerd},
		{Name: "containerd-not-up", Says: []string{"Waiting for containerd startup"}, Code: reason.K3sContainerd, Stuck: true},
		{Name: "denied", Says: []string{"fatal: ... permission denied", "fatal: ... operation not permitted", "exited: ... permission denied", "exited: ... operation not permitted", "Failed to run kubelet ... permission denied", "Failed to run kubelet ... operation not permitted"}, Code: reason.K3sDenied},
		{Name: "cni-uninitialized", Says: []string{"cni plugin not initialized", "cni config uninitialized", "no network config found in"}, Code: reason.K3sCNI, Stuck: true},
		{Name: "crashed", Says: []string{"panic: ", "fatal error: ", "unexpected fault address", "status=6/ABRT"}, Code: reason.K3sCrashed},
		{Name: "memory-fault", Says: []string{"status=11/SEGV", "status=7/BUS"}, Code: reason.K3sPrograms,
			Fix: "the file of k3s is damaged, or the memory of the machine is: run pipeops-agent install again, which puts the file back; if it stays so, test the memory"},
		{Name: "not-in-time", Says: []string{"fatal: ... context deadline exceeded", "fatal: ... timed out"}, Code: reason.K3sSlow},
	}
}

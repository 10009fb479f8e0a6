package reason

// explainK3s explains why k3s does not come up, as its own words tell it: see docs/causes.md.
func explainK3s(code Code) string {
	switch code {
	case "K3S_CONFIG":
		return "A file of the configuration is no YAML, or a value or argument in it is one that this version does not know. k3s itself names the line or the argument."
	case "K3S_TOKEN":
		return "The datastore holds the certificates of the cluster, encrypted with the token of its first start; with another token they cannot be read. A token setting was added or changed, or /var/lib/rancher/k3s/server/token was."
	case "K3S_CERTIFICATE":
		return "A certificate of the cluster is not valid now, or is not the one that the rest was made with. Most often the clock is wrong; else a file below /var/lib/rancher/k3s/server/tls was changed."
	case "K3S_DATASTORE":
		return "The database of the cluster, SQLite or etcd, is damaged or locked, or the external one that is configured does not answer. A power cut, a full disk or a copy of a running database can damage it."
	case "K3S_NODE_PASSWORD":
		return "Each node proves by a password in /etc/rancher/node/password that it is the one that first had its name. The file is gone or another, or two machines have the same name."
	case "K3S_PROGRAMS":
		return "The kernel cannot run a program of k3s, or it is not where it belongs. The file was cut, removed, or built for another architecture."
	case "K3S_NOEXEC":
		return "k3s unpacks its programs into its data directory and runs them there. The file system is mounted noexec, as some security profiles want it for /var."
	case "K3S_CONTAINERD":
		return "containerd did not start, or ended. Its own log tells why; its database may be damaged after a power cut, its configuration template may not be valid, or another containerd may be in its place."
	case "K3S_CNI":
		return "The plugins that give pods their addresses are missing, or their configuration is. The node stays NotReady, and pods stay at ContainerCreating."
	case "K3S_IMAGES":
		return "k3s imports the images below its data directory at its start and pulls the others. The archive is damaged, or no registry is reached."
	case "K3S_ADDRESS":
		return "The configuration names an address or an interface that this machine does not have. Machines that get their address by DHCP lose it at times."
	case "K3S_NETWORKS":
		return "Pods, services and the node must all have IPv4, all IPv6, or all both, and the networks must be written as ranges."
	case "K3S_FILES":
		return "A process of k3s has as many files open as it may. The limit is that of its service, or of all processes together."
	case "K3S_KILLED":
		return "The process got a signal that it cannot refuse, and the kernel's killer for want of memory was not it. Somebody or something on the machine did it."
	case "K3S_SWAP":
		return "The kubelet was told to refuse swap. By itself k3s does not tell it so."
	case "K3S_SYSCTL":
		return "With protect-kernel-defaults the kubelet does not change the kernel's settings, and refuses others than its own. Without it, it could not write them."
	case "K3S_DENIED":
		return "The kernel refused a call of k3s with 'permission denied' or 'operation not permitted'. Root is not enough where SELinux, AppArmor or a container forbid it."
	case "K3S_SLOW":
		return "A part of k3s waited for another one until its patience ended, and nothing in the log says why that one did not come. Disks that take seconds for a write, and machines with one busy CPU, do this."
	case "K3S_CRASHED":
		return "k3s, or a part of it, ended by a panic: a fault of its own that nothing here explains."
	}
	return ""
}

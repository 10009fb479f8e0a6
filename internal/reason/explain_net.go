package reason

// explainNet explains what concerns the network.
func explainNet(code Code) string {
	switch code {
	case "NET_PORT_TAKEN":
		return "Another program listens on a port that the cluster needs for its API, the kubelet or the control plane, and the first to come keeps it. /proc/net names the ports, /proc/PID/fd the program."
	case "NET_DNS_LOOP":
		return "The machine asks a name server on itself (such as 127.0.0.53); a pod that took over that address would ask itself, and the cluster's DNS ends with \"Loop detected\". /etc/resolv.conf is read, and the file in which systemd-resolved keeps the name servers behind it."
	case "NET_CIDR_OVERLAP":
		return "The networks of pods and services (10.42.0.0/16 and 10.43.0.0/16 by default) overlap with one that this machine reaches already, which would then be cut off. They are compared with the routes and addresses in /proc/net."
	case "NET_FIREWALL":
		return "A firewall on this machine would drop what pods and services send each other: pods would start and hang. ufw, firewalld and rules that reject are looked for; only the networks of pods and services need to be let in."
	case "NET_MTU":
		return "The interfaces carry smaller packets than usual, or different ones each; the pod network takes 50 bytes of each packet for itself, and if the sizes do not fit, large answers hang while small ones pass. The MTU of each interface is read from /sys/class/net; with --network the kernel is asked for that of the path to the servers that an install needs."
	case "NET_IPV6_ONLY":
		return "The machine has no way out by IPv4, so that pods and services need networks of IPv6 and registries that answer there. Addresses and default routes of both families are looked at; with --network the servers that an install needs are asked over both. NAT64 will do."
	case "NET_NO_ROUTE":
		return "The machine has no default route: k3s does not find its own address without one, and nothing can be downloaded. The routing tables in /proc/net are read."
	case "NET_PROXY":
		return "apt or dnf reach others through a proxy, and nothing else is told to: if the machine has no other way out, downloads and images fail. A proxy in the environment, in that of the caller of sudo, in /etc/environment or in the settings of systemd is used for downloads, k3s and images, past everything that belongs to the cluster (NO_PROXY). All these places are read, without user names and passwords."
	case "NET_WEB_PORTS":
		return "A web server holds port 80 or 443, which the ingress of k3s would take. It is left out by default, since projects are reached through the tunnel; the owner is found as for NET_PORT_TAKEN."
	case "NET_MANAGER":
		return "NetworkManager, or a cloud's helper for it, takes interfaces and routes over that the pod network makes, and breaks it. Its state and settings are looked for; it is told to leave those interfaces alone."
	}
	return ""
}

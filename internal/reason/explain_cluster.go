package reason

// explainCluster explains what concerns clusters, container engines and whatever else lives on the machine.
func explainCluster(code Code) string {
	switch code {
	case "DOCKER_UNREACHABLE":
		return "k3d, kind and minikube run their nodes as containers, and no engine answers at /run/docker.sock. The engine is asked for its version; where systemd would start it for the question, it is not asked."
	case "DOCKER_TOO_OLD":
		return "The Docker engine speaks an older API than the tools that make clusters in it. The engine is asked for its version and the oldest and newest API that it speaks."
	case "DOCKER_ROOTLESS":
		return "The Docker engine runs without root: nodes in it need cgroup v2 with delegated controllers, and cannot do everything that others can. The engine itself says so."
	case "CLUSTER_DEBRIS":
		return "Data of an earlier cluster is here, but nothing that would start it. A new cluster would take it up or stumble over it, and we delete nothing that we did not install: remove it yourself, after a look at what it is."
	case "CLUSTER_FOREIGN":
		return "A cluster that pipeops-agent did not install is on this machine. Two on one machine fight over ports, networks and packet filters; units, data, kubeconfigs and processes are looked at, and our own ledger tells which are ours."
	case "CLUSTER_NONE":
		return "Adoption takes over a running cluster, and none was found: neither its units, data and processes, nor a kubeconfig that was named. A cluster on another machine is adopted by its kubeconfig."
	case "CLUSTER_SEVERAL":
		return "More than one running cluster is here, and which of them is meant is not guessed."
	case "CLUSTER_UNHEALTHY":
		return "The cluster is installed, but its API does not answer, its node is not ready, or it is not running at all. The agent asks the API every few seconds and says what it saw last."
	case "CLUSTER_NAME_TAKEN":
		return "The gateway has a cluster of this name already, with another identity. Names are those by which people reach a cluster, so that each can be given only once."
	case "CLUSTER_NOT_CONNECTED":
		return "The gateway knows the cluster, but its agent holds no tunnel now: the machine is off, its agent is not running, or the network between them is cut."
	case "CLUSTER_UNKNOWN":
		return "No cluster of this name has ever been enrolled at this gateway, or it has been removed."
	case "DISTRO_NOT_AVAILABLE":
		return "The distribution would have its place in the order, but this version has no steps that install it."
	case "DISTRO_NONE_FITS":
		return "For each distribution there is a reason against it; nothing was changed."
	case "NEIGHBOUR_PANEL":
		return "A control panel (cPanel, Plesk and others) manages this machine: it owns ports, firewall and packages, and undoes what it does not know. It is told by the folders and units that such panels have; take a machine of its own for the cluster."
	case "CONSENT_NEEDED":
		return "The machine could be made to fit, but by a change that has a cost: a package or a reboot. Such changes are made only if you agree to the cost, by --consent."
	}
	return ""
}

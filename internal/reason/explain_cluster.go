package reason

// explainCluster explains what concerns clusters, container engines and whatever else lives on the machine.
func explainCluster(code Code) string {
	switch code {
	case "DOCKER_UNREACHABLE":
		return "k3d, kind and minikube run their nodes as containers, and no engine answers at /run/docker.sock. The engine is asked for its version; where systemd would start it for the question, it is not asked."
	case "ENGINE_STOPPED":
		return "Docker is installed here: its unit or its program was found, and no process of it. An install starts it and has it started at every boot, where it runs as root under systemd or OpenRC; otherwise start it yourself."
	case "MINIKUBE_ROOT":
		return "With the docker driver minikube does not let root run it, since files that it writes would be root's (minikube #8257, #11383). An install makes a user for it that is in the group of the engine, which is as much as root; to go without one, --force has to be asked for."
	case "MINIKUBE_NONE":
		return "With the driver none, which must be asked for by name, minikube makes the machine itself a node by kubeadm. It brings kubelet and kubeadm, and needs Docker with cri-dockerd and its units, crictl, conntrack, iptables, sudo and the CNI plugins in /opt/cni/bin, none of which is installed by us. A kubelet of somebody else's, networks of CNI and Docker's daemon.json it would write over, so that a machine with any of these is refused."
	case "ENGINE_SWARM":
		return "The engine says that it is a member of a swarm. Nodes of a cluster are ordinary containers, which a swarm neither moves nor starts; they work beside it."
	case "ENGINE_NAME_TAKEN":
		return "The containers of a node are called after the cluster, and the engine has a cluster, or a container, of that name which pipeops-agent did not make: the labels of containers are compared with the ledger. It is left as it is."
	case "ENGINE_IMAGE_MISSING":
		return "Nodes in containers are made from an image, named by its digest. It is taken from the signed list of releases if that has it, and else pulled by the engine, which must reach the registry or hold the image already: one that docker load has given it by that name is used. A bundle holds no image of nodes, but a whole k3s, which needs no registry: install --distro k3s --bundle FILE."
	case "DOCKER_TOO_NEW":
		return "An engine speaks a range of API versions, and so does each tool. Docker 29 has dropped all before 1.44, so that older tools can no longer talk to it. The engine is asked for the oldest version that it speaks."
	case "DOCKER_TOO_OLD":
		return "The Docker engine speaks an older API than the tools that make clusters in it. The engine is asked for its version and the oldest and newest API that it speaks."
	case "DOCKER_ROOTLESS":
		return "The Docker engine runs without root: nodes in it need cgroup v2 with delegated controllers, cannot do everything that others can, and are gone when the user's services end. The engine itself says so. An install asks only the engine at /run/docker.sock, which is there when the machine boots; that of a user stays as it is."
	case "CLUSTER_OURS":
		return "One agent looks after one cluster, and another one of its own is here already, which the ledger tells. What runs in it would not move by itself: keep it, or uninstall it first."
	case "CLUSTER_UNFINISHED":
		return "The containers of a k3d, kind or minikube cluster are here, but none that serves its API has ever run: whoever made it was stopped in the middle. One that pipeops-agent began is removed and made anew by the next install; any other is left as it is."
	case "CLUSTER_DEBRIS":
		return "Data of an earlier cluster is here, but nothing that would start it. A new cluster would take it up or stumble over it, and we delete nothing that we did not install: remove it yourself, after a look at what it is."
	case "CLUSTER_FOREIGN":
		return "A cluster that pipeops-agent did not install is on this machine. Two on one machine fight over ports, networks and packet filters; units, data, kubeconfigs and processes are looked at, and our own ledger tells which are ours."
	case "CLUSTER_NONE":
		return "Adoption takes over a running cluster, and none was found: neither its units, data and processes, nor a kubeconfig that was named. A cluster on another machine is adopted by its kubeconfig."
	case "CLUSTER_SEVERAL":
		return "More than one running cluster is here, and which of them is meant is not guessed. Each is asked what it is, and listed with what to give to choose it."
	case "CLUSTER_FIXED":
		return "The nodes of k3d, kind and minikube are containers, which are made once: their image, arguments and ports cannot be changed, and a node that is removed takes its data with it. Workers of k3d can be added. The evidence names the lines of the cluster's file that would be others; nothing was changed."
	case "CLUSTER_GONE":
		return "The agent has made a cluster in the engine, and the engine has no node of it any more: somebody has removed the containers, or the engine has lost its data. A start cannot bring back what is gone."
	case "CLUSTER_OBJECT_TAKEN":
		return "The agent has an account of its own in the cluster: the service account pipeops-agent in pipeops-system, with roles and bindings of the same name. One of these is there already without our label, so that somebody else made it: it is neither changed nor used."
	case "CLUSTER_ACCESS":
		return "The resident agent works with a token of its own account, which it renews after two thirds of its life. The token is not taken any more, or is not there: the machine was off for long, somebody deleted the account, or the cluster was restored. The agent asks pipeops-agent-credential.service for a new one, which makes it with the administrator's kubeconfig; where that fails, its journal says why."
	case "CLUSTER_RIGHTS":
		return "Before anything is changed the API server is asked, by SelfSubjectAccessReview, for each thing that an install does in a cluster that it adopts. What is not allowed is listed; pipeops-agent access manifest prints all of it as a role."
	case "KUBECONFIG_INVALID":
		return "The file is not there, is no kubeconfig, or has no context of that name with a cluster and a user."
	case "KUBECONFIG_EXEC":
		return "The kubeconfigs of EKS, GKE and AKS run a program of the user's (aws, gke-gcloud-plugin, kubelogin) with the user's login. A service of root's runs no such program; it takes a kubeconfig with a token or a certificate in it."
	case "KUBECONFIG_DEAD":
		return "Nobody answers where the kubeconfig leads: nothing listens on that port of this machine, which can be seen without asking; or the connection is refused, the name does not resolve, or time ran out. The evidence says which. The kubeconfig is not changed."
	case "KUBECONFIG_REFUSED":
		return "An API server answers there, and says 401: it does not know who asks. The client certificate or the token in the kubeconfig has ended, or the cluster is another one by now."
	case "KUBECONFIG_UNTRUSTED":
		return "An API server answers there with a certificate that has ended, is for other names, or is signed by an authority that the kubeconfig does not have, as after a cluster was made anew at the same address."
	case "CLUSTER_UNHEALTHY":
		return "The cluster is installed, but its API does not answer, its node is not ready, or it is not running at all. The agent asks the API every few seconds and says what it saw last."
	case "LAYER_API":
		return "The first layer: /readyz of the API server must answer. The install waits five minutes for it, the agent asks every few seconds."
	case "LAYER_NODE":
		return "The second layer: a node must report that it is ready. It is not while the kubelet waits for containerd, the network plugin or its certificates."
	case "LAYER_DNS":
		return "A name of the cluster is looked up at the service address of its DNS, from this machine; for a cluster that was adopted the DNS pods must be ready. The agent asks every few seconds and believes only the second failure in a row."
	case "LAYER_POD":
		return "A pod named pipeops-proof is made in kube-system from an image that the node already has, must run, and is removed again. What it waits for is the evidence."
	case "LAYER_POD_NETWORK":
		return "The proof pod is asked from this machine, and itself connects to the API server at its own address and asks a DNS pod. A firewall that accepts only established connections, or drops what comes from cni0, stops one of the three; which one is in the evidence."
	case "LAYER_SERVICE":
		return "The service address of the proof pod must lead to it from this machine and from the pod itself (hairpin), and that of the API server from the pod. Rules of kube-proxy that are missing or overruled, or a bridge without hairpin, stop it."
	case "LAYER_LARGE_PACKET":
		return "1 KiB, 64 KiB and 256 KiB go from the proof pod to this machine and back, and are compared. Small packets that pass where large ones vanish mean a wrong MTU, or a checksum that a network card or the kernel gets wrong (vxlan offload)."
	case "LAYER_STORAGE":
		return "A volume of 8 MiB of the default StorageClass is claimed; a pod writes 1 MiB to it, syncs it to the disk and reads it back; both are removed again. Without a default StorageClass nothing is written, and the condition says so."
	case "CLUSTER_NAME_TAKEN":
		return "The gateway has a cluster of this name already, with another identity. Names are those by which people reach a cluster, so that each can be given only once."
	case "CLUSTER_NOT_CONNECTED":
		return "The gateway knows the cluster, but its agent holds no tunnel now: the machine is off, its agent is not running, or the network between them is cut."
	case "CLUSTER_UNKNOWN":
		return "No cluster of this name has ever been enrolled at this gateway, or it has been removed."
	case "DISTRO_NOT_AVAILABLE":
		return "The distribution would have its place in the order, but this version cannot install it on such a machine."
	case "DISTRO_NONE_FITS":
		return "For each distribution there is a reason against it; nothing was changed."
	case "NEIGHBOUR_PANEL":
		return "A control panel (cPanel, Plesk and others) manages this machine: it owns ports, firewall and packages, and undoes what it does not know. It is told by the folders and units that such panels have; take a machine of its own for the cluster."
	case "CONSENT_NEEDED":
		return "The machine could be made to fit, but by a change that has a cost: a package or a reboot. Such changes are made only if you agree to the cost, by --consent."
	}
	return ""
}

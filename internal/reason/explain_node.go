package reason

// explainNode explains what concerns the machines of a cluster: how they join, and how they are drained and removed.
func explainNode(code Code) string {
	switch code {
	case "JOIN_FORBIDDEN":
		return "The owner of the cluster's servers has set join: false in /etc/pipeops-agent/config.yaml there. The gateway cannot set that aside."
	case "JOIN_NAME_TAKEN":
		return "A Node of this name is in the cluster, and it is not the one that this machine became. Two machines of one name would take each other's pods."
	case "JOIN_NO_ETCD":
		return "A second server needs the cluster's state in embedded etcd, which every server has a copy of. This cluster keeps it in SQLite, a file of its only server, which is what k3s does unless it is told otherwise."
	case "JOIN_NOT_K3S":
		return "The agent of the cluster looked at its Nodes, and their version is not one of k3s, or the cluster was adopted and is not managed by it."
	case "JOIN_ROLE":
		return "A node token is bound to one cluster and one role when it is made, so that a worker's token lets nobody become a server."
	case "JOIN_VERSION":
		return "A server must run the minor version of its cluster, and a worker none that is newer or more than three minor versions older. The machine named the versions of k3s that its release can install, and none of them is so."
	case "JOIN_UNAVAILABLE":
		return "The agent of the cluster was asked and could not answer: its API server does not, no server is ready, or a file of k3s cannot be read. Nothing was changed."
	case "NODE_UNKNOWN":
		return "The Kubernetes API of the cluster has no Node of this name."
	case "NODE_NEEDED":
		return "Without this node the cluster would have no server, or its etcd would lose the majority by which it decides. What is missing is in the evidence."
	case "NODE_NOT_DRAINED":
		return "Pods on the node cannot be moved without losing something, or a PodDisruptionBudget allowed none of them to end within the time limit. The node takes no new pods meanwhile; to let it take them again, use nodes uncordon."
	case "NODE_RUNS":
		return "A server that is taken out of etcd while its k3s runs starts again with an empty etcd and joins, since it has the token. The node was drained, and stayed ready until the time was over."
	case "MACHINE_UNKNOWN":
		return "The gateway knows no machine of this id, or node of this name, for the cluster."
	}
	return ""
}

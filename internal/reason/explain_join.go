package reason

// explainJoin explains what concerns clusters of several machines.
func explainJoin(code Code) string {
	switch code {
	case "CLUSTER_OWN":
		return "A node belongs to one cluster, and pipeops-agent install has made one on this machine, with its own projects. Joining would take its place without a word, so that has to be removed on purpose first. The ledger and the configuration of k3s are read."
	case "POLICY_FORBIDS":
		return "The file /etc/pipeops-agent/policy.yaml says what the gateway and its users may do in the cluster of this machine, whatever rights they have in it. It is read by the agent, which stands between the two; the evidence names the part of it that forbids."
	case "POLICY_INVALID":
		return "The policy is there to keep something out. Where it cannot be understood, or could have been written by somebody else than root, the agent lets nothing through rather than guess."
	case "CLUSTER_MEMBER":
		return "This machine has joined a cluster. Install would make it a cluster of its own, and join in another role needs other data on its disk: it has to leave first. The server setting in the configuration of k3s tells, and the identity of the machine."
	case "CLUSTER_DATASTORE":
		return "With --cluster-init k3s moves its state from SQLite to an etcd of its own, so that further servers can join. It knows no way back."
	case "CLUSTER_UNTRUSTED":
		return "Before a machine joins, each server is asked for the CA of its cluster (/cacerts), and the digest of that must be the one in the token (K10<digest>), which came sealed from the cluster itself. Another digest means another cluster, or somebody in between: no token is sent there."
	case "NET_SERVER_UNREACHABLE":
		return "Before anything is changed, a machine that joins connects to each server of the cluster on 6443/tcp, and to 2379 and 2380/tcp if it is to be a server itself. The error names each address and what came of it. A firewall on a server or between the machines is the usual cause."
	}
	return ""
}

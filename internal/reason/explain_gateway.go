package reason

// explainGateway explains what concerns the gateway, identities and projects.
func explainGateway(code Code) string {
	switch code {
	case "GATEWAY_UNREACHABLE":
		return "No connection to the gateway comes about: nobody listens, or a firewall drops the packets. The evidence tells each way that was tried, directly and through a proxy. The agent needs one outgoing TCP connection and tries again with growing pauses."
	case "GATEWAY_UNTRUSTED":
		return "The gateway showed a certificate of another authority than the one whose digest is in the join token. The address is that of another gateway, or of something before it that ends TLS, such as a load balancer with a public certificate."
	case "GATEWAY_REFUSED":
		return "The gateway answered, and said no. What it said is in the evidence."
	case "GATEWAY_NAME":
		return "The name of the gateway cannot be looked up: there is no such name, or the name servers of this machine do not answer. The agent tries again with growing pauses; through a proxy the proxy looks the name up."
	case "GATEWAY_PROXY":
		return "A proxy is set for the gateway, and makes no connection to it: it wants a user and password (407), forbids the address or the port (403), cannot be reached itself, or is no proxy. Where there is another way past it, that one is used."
	case "GATEWAY_INTERCEPTED":
		return "What answers calls itself the gateway, and shows a certificate of another issuer: a proxy or firewall opens TLS to look into it. The agent trusts the CA of its gateway alone, whatever CAs the machine trusts, so nothing was sent. The evidence names the issuer."
	case "GATEWAY_PROTOCOL":
		return "A program answers at the address of the gateway, and speaks neither the protocol of a tunnel nor that of a gateway: no TLS 1.3, another application protocol, or no WebSocket at /v1/tunnel, as with a gateway that is much older or a web server."
	case "GATEWAY_STOPPING":
		return "The gateway announced that it is stopping, so that the agent connects again elsewhere or later."
	case "GATEWAY_NOT_RUNNING":
		return "The command speaks to the gateway of this machine by a socket in its data folder, and nobody answers there."
	case "TOKEN_MALFORMED":
		return "A token has three parts, pat_<id>.<secret>.<digest>, or pjt_ for one by which a machine joins a cluster; what was given lacks some of it, as it does after a copy that missed the end."
	case "TOKEN_UNKNOWN":
		return "The gateway has no join token with this id, or the secret does not belong to it."
	case "TOKEN_USED":
		return "A token enrols one machine or lets one join, once. If you did not use it, somebody else did: look at the gateway's clusters."
	case "TOKEN_EXPIRED":
		return "A join token is valid for a limited time, by the clock of the gateway."
	case "IDENTITY_MISSING":
		return "There is no key and certificate of this machine below /var/lib/pipeops-agent/identity: it has never been enrolled, or the folder was removed."
	case "IDENTITY_REVOKED":
		return "The gateway has revoked this machine, has removed its cluster, or another machine has enrolled under its name. A new enrolment is needed."
	case "ALREADY_ENROLLED":
		return "This machine has an identity at a gateway, and install was told of another gateway or another name. One machine is one cluster at one gateway."
	case "CERTIFICATE_EXPIRED":
		return "The certificate of this machine is valid for 24 hours and renewed long before they end; the machine was off or cut off for longer, or its clock is wrong. The gateway accepts it for a renewal, and for nothing else."
	case "SESSION_REPLACED":
		return "The gateway holds one tunnel for each identity, and another one with the same identity was opened. If it comes again and again, two machines share one identity: one is a copy of the other."
	case "SESSION_LOST":
		return "The connection to the gateway broke, or did not answer pings in time."
	case "PROJECT_UNKNOWN":
		return "The gateway holds no document of this name for this cluster."
	case "PROJECT_UNREACHABLE":
		return "The cluster was reached, but no pod of the project's service answers on the port that it names."
	case "CONNECT_FORBIDDEN":
		return "Whoever connects to a service needs the right to create services/proxy for it, to a pod that to create pods/portforward, as with kubectl. The agent asks the cluster, as that user (SelfSubjectAccessReview), and takes the answer for ten seconds at most."
	case "CONNECT_UNKNOWN":
		return "The agent asked the Kubernetes API for the service or the pod, and it is not there, or has no port of this number or name for TCP or UDP, whichever was asked for."
	case "CONNECT_ADDRESS":
		return "The agent connects to pods only, by the address that the Kubernetes API gives for them, which it checks at each connection: never to loopback, link-local and metadata addresses, to nodes (pods with hostNetwork have the address of theirs), to the API server, or to names and addresses outside of the cluster (ExternalName, endpoints without a pod)."
	case "CONNECT_UNREACHABLE":
		return "The address is that of a pod, and it did not take the connection within five seconds; or no pod behind the service is ready. UDP cannot be reached where this machine is no node of its cluster (k3d, kind, minikube, adopted clusters): the way by the API server carries TCP only."
	case "CONNECT_BUSY":
		return "The agent carries 384 connections at a time, and 200 of one user; 64 are made at a time, and others wait for 15 s at most."
	case "CONNECT_CUT":
		return "Each tunnel of a connection ends with a record of both ends that says how many bytes each has handed on. There was none, or it says that something broke: the pod went, the tunnel was lost, a program reset the connection. The program at either end sees a reset, not an end."
	case "AUDIT_UNAVAILABLE":
		return "The owner wants nothing done that is not in the audit log (audit: required), and the log could not be written in time: its disk is full, read-only or broken."
	case "AUDIT_BROKEN":
		return "Each record of the audit log holds the digest of the one before it. The first record that does not fit is named; what lies before it is as it was recorded."
	case "IDENTITY_CLONED":
		return "Two connections with the key of one machine were up at the same time, from two processes that both answered. The newer one is kept; a copied disk or a stolen key looks like this."
	case "LIMIT_USER":
		return "One user may have a number of requests open at a gateway, 200 unless it was told otherwise, of which a tenth is kept for those that do not last, as watches, logs -f, exec and connections do. What runs is not ended; the header Pipeops-Limit of every answer tells how many are open."
	case "LIMIT_AGENT":
		return "A number of requests may be on their way to one machine, 1000 unless the gateway was told otherwise, of which a tenth is kept for those that do not last. What runs is not ended."
	case "LIMIT_DIALS":
		return "A machine opens 64 connections and upgrades at a time, so that a service that does not answer holds up no others for long."
	case "GATEWAY_BUSY":
		return "The gateway lets a number of agents in each second, 500 unless it was told otherwise, and tells the others when to come. So all are back soon after a restart, and none fails half-way."
	case "FLEET_DIFFERS":
		return "Gateways that share a store share one CA and one key for tokens, else the agents and users of one would be strangers at the others. This one has others, or none."
	case "PROJECT_INVALID":
		return "The file is not a project, or lacks something; the evidence names the field. Nothing was stored."
	case "USER_MISSING":
		return "The gateway names in each request the user for whom it is made, and the agent refuses one without: it would otherwise act with its own rights."
	case "USER_REFUSED":
		return "The token in the kubeconfig is not one of this gateway, or no longer."
	}
	return ""
}

// Package wire is what the agent and the gateway share: names, paths, headers and documents. It does no I/O.
//
// The way: the agent dials the gateway by TLS 1.3 with [ALPN] and its client certificate, or by HTTPS and a WebSocket of [Subprotocol],
// and a session of internal/mux (yamux) runs on that connection. Either end opens streams; on every stream is plain HTTP/1.1. The end that accepts streams serves
// net/http on the session, which is a net.Listener; the end that opens them is an http.Transport whose DialContext opens
// a stream. The same port speaks ordinary HTTPS (ALPN h2 and http/1.1) to people, to kubectl and to machines that enrol.
package wire

import "strings"

// ALPN is the TLS application protocol of a tunnel.
const ALPN = "pipeops-tunnel/1"

// Subprotocol is the WebSocket subprotocol of a tunnel on [PathTunnel].
const Subprotocol = "pipeops-tunnel.v1"

// Version is the version of the documents below. A gateway refuses an agent with a newer one.
const Version = 1

// Paths that the gateway serves on its HTTPS port.
const (
	PathTunnel = "/v1/tunnel" // GET, upgraded to a WebSocket of [Subprotocol]: a tunnel; client certificate
	PathEnroll = "/v1/enroll" // POST EnrollRequest -> EnrollResponse; no certificate needed
	PathJoin   = "/v1/join"   // POST JoinRequest -> JoinResponse; no certificate needed
	PathEvents = "/v1/events" // POST lines of Event; client certificate
	// PathLeave is POST -> 204: the machine is no more, and with the last one the cluster, whose name is free; client
	// certificate.
	PathLeave    = "/v1/leave"
	PathClusters = "/v1/clusters" // /v1/clusters/NAME/...: the Kubernetes API of a cluster, for kubectl; user token
	PathProjects = "/v1/projects" // /v1/projects/CLUSTER/NAME/...: a project's own pages; user token
	PathConnect  = "/v1/connect"  // /v1/connect/CLUSTER + Target.Path: TCP or UDP to a service or a pod, by an upgrade to Connect; user token
)

// Paths that the gateway serves on streams which the agent opens.
const (
	PathHello     = "/v1/hello"     // POST Hello -> Welcome
	PathHandover  = "/v1/handover"  // POST -> 204: the session takes no more requests, and ends when the last one has
	PathHeartbeat = "/v1/heartbeat" // POST Heartbeat -> 204
	PathDesired   = "/v1/desired"   // GET ?after=GENERATION&term=TERM -> lines of Document and LeadLine, endless; an empty line is a sign of life
	PathRoundTrip = "/v1/roundtrip" // POST -> 204 when a request of the gateway has reached the agent and come back
	PathStatus    = "/v1/status"    // POST Status -> 204
	PathRenew     = "/v1/renew"     // POST RenewRequest -> RenewResponse
)

// Paths that the agent serves on streams which the gateway opens.
const (
	PathAgentPing    = "/v1/ping"       // GET -> 204: a round trip through the data path
	PathAgentGoodbye = "/v1/goodbye"    // POST Goodbye -> 204: why the gateway is about to end the session
	PathAgentNews    = "/v1/news"       // POST News -> 204: gateways have come or gone
	PathAgentSecond  = "/v1/second"     // POST -> 204: the gateway has much to say on a stream, and would do so on a Second
	PathAgentKube    = "/v1/kube"       // /v1/kube/...: the Kubernetes API, as the user that the headers name
	PathAgentJoin    = "/v1/agent/join" // POST AgentJoinRequest -> AgentJoinResponse
	PathAgentProject = "/v1/project"    // /v1/project/NAME/...: the Service of a project
	PathAgentConnect = "/v1/connect"    // + Target.Path: TCP or UDP to a service or a pod, by an upgrade to Connect
)

// Headers by which the gateway names the user for whom it asks. They are meaningful on tunnel streams only: the gateway
// drops them from what users send, and the agent never passes them on.
const (
	HeaderUser  = "Pipeops-User"
	HeaderGroup = "Pipeops-Group" // repeated
)

// Names that both ends put on Kubernetes objects.
const (
	UserPrefix   = "pipeops:"               // before every user and group that is impersonated
	UserPublic   = "pipeops:public:anybody" // who asks for the pages of a project that is public; no name of a user has a colon
	GroupAdmins  = "pipeops:admins"         // bound to cluster-admin when the agent installs or adopts a cluster
	FieldManager = "pipeops-agent"          // of server-side apply
)

// Names in certificates.
const (
	// GatewayName is the DNS name that the CA certifies for every gateway of its own. Agents ask for it, whatever address
	// they dial, so that an address can change and a public name proves nothing.
	GatewayName = "gateway.pipeops.internal"
	// AuthorityName is what the CA of a gateway calls itself. It proves nothing; it tells a gateway from what stands in its place.
	AuthorityName = "pipeops-gateway CA"
	// ClusterURI precedes the id of a cluster in the URI of a certificate; MachineURI reads the whole.
	ClusterURI = "pipeops://cluster/"
	// machineURI stands between the ids of cluster and machine.
	machineURI = "/machine/"
)

// MachineURI is the URI in the certificate of a machine. Certificates of gateways that knew one machine per cluster name
// no machine.
func MachineURI(cluster, machine string) string {
	if machine == "" {
		return ClusterURI + cluster
	}
	return ClusterURI + cluster + machineURI + machine
}

// ParseMachineURI returns the ids of cluster and machine in the URI of a certificate; machine is "" if it names none.
func ParseMachineURI(uri string) (cluster, machine string, ok bool) {
	rest, ok := strings.CutPrefix(uri, ClusterURI)
	cluster, machine, named := strings.Cut(rest, machineURI)
	if !ok || !ValidID(cluster) || named && !ValidID(machine) {
		return "", "", false
	}
	return cluster, machine, true
}

// ValidID reports whether s is an id of a cluster or a machine: 16 hexadecimal digits in lower case.
func ValidID(s string) bool {
	return len(s) == 16 && strings.Trim(s, "0123456789abcdef") == ""
}

// Limits on what either end reads.
const (
	MaxDocument = 1 << 20 // bytes of one document or one line of a stream of documents
	MaxHeader   = 64 << 10
)

package metric

import (
	"github.com/pipeopshq/pipeops-agent/internal/reason"
	"github.com/pipeopshq/pipeops-agent/internal/version"
)

// Names of the families of both ends; prefix is pipeops_agent or pipeops_gateway.
const (
	Requests      = "_requests_total"
	RequestTime   = "_request_duration_seconds"
	RequestsOpen  = "_requests_open"
	Bytes         = "_request_bytes_total"
	Refused       = "_requests_refused_total"
	Streams       = "_streams_open"
	Buffered      = "_buffered_bytes"
	BufferBudget  = "_buffer_budget_bytes"
	Expiry        = "_certificate_expiry_timestamp_seconds"
	AuditRecords  = "_audit_records_total"
	AuditLost     = "_audit_records_lost_total"
	AuditRefused  = "_audit_refused_total"
	AuditFailures = "_audit_write_failures_total"
	AuditUp       = "_audit_up"
	Build         = "_build_info"
	SessionsEnded = "_sessions_ended_total"
	SessionsBegan = "_sessions_began_total"
	Sessions      = "_sessions"
	SecondBegan   = "_second_connections_began_total"
	AgentsRefused = "_agents_refused_total"
	Alarms        = "_alarms_total"
	RoundTrip     = "_tunnel_round_trip_seconds"
	Through       = "_tunnel_round_trips_total"
	Memory        = "_resident_memory_bytes"
	Delayed       = "_delayed_bytes_total"
)

// Prefixes of the names.
const (
	AgentPrefix   = "pipeops_agent"
	GatewayPrefix = "pipeops_gateway"
)

// Kinds of requests.
const (
	KindKube    = "kube"    // of the Kubernetes API, but those below
	KindWatch   = "watch"   // that last: watches and logs -f
	KindUpgrade = "upgrade" // exec, attach, port-forward
	KindConnect = "connect" // connections to services and pods
	KindPage    = "page"    // pages of projects
	KindAdmin   = "admin"   // between agent and gateway, and of administrators
)

// Transports of sessions.
const (
	WayTLS       = "tls"
	WayWebSocket = "websocket"
)

// Directions of bytes, as seen by who asks.
const (
	In  = "in"
	Out = "out"
)

func kinds() Label {
	return Label{"kind", []string{KindKube, KindWatch, KindUpgrade, KindConnect, KindPage, KindAdmin}}
}

func classes() Label {
	return Label{"status", []string{"1xx", "2xx", "3xx", "4xx", "5xx", "none"}}
}

func codes() Label {
	l := Label{Name: "code"}
	for _, e := range reason.All() {
		l.Values = append(l.Values, string(e.Code))
	}
	return l
}

// both returns the families that both ends have.
func both(prefix string) []Family {
	return []Family{
		{prefix + Build, Gauge, "Always 1; the version of the program is in the label.", []Label{{"version", []string{version.String()}}}},
		{prefix + Requests, Counter, "Requests that came through the tunnel and are over, by kind and class of the answer's status; none is one that was never answered.", []Label{kinds(), classes()}},
		{prefix + RequestsOpen, Gauge, "Requests that are being carried out.", nil},
		{prefix + RequestTime, Histogram, "How long requests took, from the header to the end of the answer; without those that last (watch, upgrade, connect).", []Label{kinds()}},
		{prefix + Bytes, Counter, "Bytes of bodies and of upgraded connections, from who asks (in) and to them (out).", []Label{{"direction", []string{In, Out}}, kinds()}},
		{prefix + Refused, Counter, "Requests that were refused, by reason: one of docs/reasons.md, or that of Kubernetes as other.", []Label{codes()}},
		{prefix + Streams, Gauge, "Streams that are open on the sessions of this end.", nil},
		{prefix + Buffered, Gauge, "Bytes that came by tunnels and wait for who reads them.", nil},
		{prefix + BufferBudget, Gauge, "How many such bytes the sessions may hold at most; above it streams are reset.", nil},
		{prefix + SessionsBegan, Counter, "Sessions that came up.", nil},
		{prefix + SessionsEnded, Counter, "Sessions that ended, or could not be made, by reason.", []Label{codes()}},
		{prefix + AuditRecords, Counter, "Records that the audit log has taken since the start.", nil},
		{prefix + AuditLost, Counter, "Records that are in no audit log, since the disk took none.", nil},
		{prefix + AuditRefused, Counter, "Requests that could not be recorded in time; with audit: required they were refused.", nil},
		{prefix + AuditFailures, Counter, "Attempts to write the audit log that failed.", nil},
		{prefix + AuditUp, Gauge, "1 while the audit log is kept, or none is wanted; 0 while it cannot be.", nil},
	}
}

// Agent returns what an agent counts.
func Agent() []Family {
	return append(both(AgentPrefix),
		Family{AgentPrefix + Sessions, Gauge, "1 while the tunnel to the gateway is up.", nil},
		Family{AgentPrefix + RoundTrip, Gauge, "How long the newest ping took, there and back.", nil},
		Family{AgentPrefix + Through, Counter, "Round trips to the gateway and back to this agent, through the path that requests take.", []Label{{"outcome", []string{"good", "failed"}}}},
		Family{AgentPrefix + Expiry, Gauge, "When the certificate of this machine ends, in Unix seconds.", nil},
		Family{AgentPrefix + Memory, Gauge, "Resident memory of the agent.", nil},
	)
}

// Gateway returns what a gateway counts.
func Gateway() []Family {
	return append(both(GatewayPrefix),
		Family{GatewayPrefix + Sessions, Gauge, "Machines whose tunnel is up, by transport.", []Label{{"transport", []string{WayTLS, WayWebSocket}}}},
		Family{GatewayPrefix + SecondBegan, Counter, "Second connections of sessions that came up, for streams that say much.", nil},
		Family{GatewayPrefix + AgentsRefused, Counter, "Machines that were not let in, by reason.", []Label{codes()}},
		Family{GatewayPrefix + Alarms, Counter, "Alarms that were raised, by reason; pipeops-gateway alarms lists them.", []Label{codes()}},
		Family{GatewayPrefix + Delayed, Counter, "Bytes of requests that waited for a limit on bytes per second: that of their user, or that of the machine.", []Label{{"limit", []string{"user", "agent"}}}},
		Family{GatewayPrefix + Expiry, Gauge, "When a certificate ends, in Unix seconds: that of the CA, and the one that the gateway shows.", []Label{{"of", []string{"ca", "gateway"}}}},
	)
}

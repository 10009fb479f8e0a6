package wire

import (
	"encoding/json"
	"time"
)

// Error is the body of every answer of a gateway or an agent that is not a success.
type Error struct {
	Code    string `json:"code"` // of package reason
	Message string `json:"message"`
}

// EnrollRequest exchanges a join token for a certificate.
type EnrollRequest struct {
	Version int    `json:"version"`
	Token   string `json:"token"`
	Cluster string `json:"cluster"` // DNS label; the name under which users will see the cluster
	CSR     string `json:"csr"`     // PEM; subject and names are ignored, only the key is used
	Agent   string `json:"agent"`   // version of the agent
}

// EnrollResponse is the identity of an agent. The same token with the same key and cluster gets an equivalent answer
// again until the token expires, so that a machine that lost the first answer can go on.
type EnrollResponse struct {
	ClusterID   string `json:"cluster_id"`
	Cluster     string `json:"cluster"`
	Certificate string `json:"certificate"` // PEM, leaf first
	CA          string `json:"ca"`          // PEM of the gateway's CA; the agent checks it against the token's digest
}

// RenewRequest asks for a new certificate; the session proves who asks.
type RenewRequest struct {
	CSR string `json:"csr"`
}

// RenewResponse is the new certificate.
type RenewResponse struct {
	Certificate string `json:"certificate"`
}

// Condition is the state of one aspect of an agent, a cluster or a document.
type Condition struct {
	Type    string    `json:"type"`   // "Tunnel", "ClusterReachable", "NodeReady", "Available", ...
	Status  string    `json:"status"` // "True", "False", "Unknown"
	Reason  string    `json:"reason,omitempty"`
	Message string    `json:"message,omitempty"`
	Since   time.Time `json:"since"` // of the last change of Status
	// Checked is when the condition was looked at last, for one that is looked at rarely; zero for one that always is.
	Checked time.Time `json:"checked,omitzero"`
}

// Heartbeat is sent when a session starts and at every interval.
type Heartbeat struct {
	Version    int             `json:"version"`
	Agent      string          `json:"agent"`
	Time       time.Time       `json:"time"`
	Conditions []Condition     `json:"conditions"`
	Facts      json.RawMessage `json:"facts,omitempty"` // host.Facts; sent with the first heartbeat of a session and when changed
	Kubernetes string          `json:"kubernetes,omitempty"`
	Distro     string          `json:"distro,omitempty"`
	Nodes      int             `json:"nodes,omitempty"`
	Node       string          `json:"node,omitempty"`     // name of the Node that the machine is, if it is one and knows it
	Provider   string          `json:"provider,omitempty"` // who runs the cluster: "eks", "gke", "aks", "k3s", ...
	Audit      *AuditHead      `json:"audit,omitempty"`    // of the agent's audit log
}

// AuditHead is how far the audit log of an end is. Each end keeps that of the other, so that neither can drop records unseen.
type AuditHead struct {
	Chain string `json:"chain"` // 32 hexadecimal digits
	Seq   uint64 `json:"seq"`   // of its last record
	Sum   string `json:"sum"`   // SHA-256 of the line of that, in hexadecimal
	Own   uint64 `json:"own"`   // records that are not about the other end's log
}

// HeartbeatAnswer is what the gateway says to a heartbeat, with status 200; with 204 it says nothing.
type HeartbeatAnswer struct {
	Audit *AuditHead `json:"audit,omitempty"` // of the gateway's audit log
}

// Event is one line of the progress of an install, as it is shown on the machine.
type Event struct {
	Time  time.Time `json:"time"`
	Kind  string    `json:"kind"` // "facts", "decision", "notice", "settings", "waiting", "adopt", "enrolled", "step", "suspicion", "layer", "resumed", "yielded", "done", "error"; of an uninstall also "uninstall", "left", "proof", "remains", "changed", "removed"
	Step  string    `json:"step,omitempty"`
	Title string    `json:"title,omitempty"`
	// State is started, progress, applied, proved, done, unchanged, failed, rolled-back, waiting-reboot, waiting-user.
	State      string          `json:"state,omitempty"`
	Bytes      int64           `json:"bytes,omitempty"`
	Total      int64           `json:"total,omitempty"`
	DurationMS int64           `json:"duration_ms,omitempty"`
	Code       string          `json:"code,omitempty"`
	Message    string          `json:"message,omitempty"`
	Detail     json.RawMessage `json:"detail,omitempty"`
}

// Document is one desired state for a cluster. A higher generation of the same kind and name replaces a lower one;
// Deleted asks for removal.
type Document struct {
	Kind       string          `json:"kind"` // "Project"
	Name       string          `json:"name"`
	Generation int64           `json:"generation"` // unique and rising per cluster, over all documents
	Deleted    bool            `json:"deleted,omitempty"`
	Spec       json.RawMessage `json:"spec,omitempty"`
}

// Lead tells a machine, between the documents, whether it is the one of its cluster that makes them true.
type Lead struct {
	Term    int64 `json:"term"` // rises with each change of that machine
	Primary bool  `json:"primary"`
	// Complete says that the machine has all documents of this term. Until then it makes none of them true; those that it
	// held before and was not sent since the term began are no more.
	Complete bool `json:"complete,omitempty"`
}

// LeadLine is a line of the stream of documents that is no document.
type LeadLine struct {
	Lead *Lead `json:"lead"`
}

// Status is what the agent reports on a document.
type Status struct {
	Kind               string      `json:"kind"`
	Name               string      `json:"name"`
	ObservedGeneration int64       `json:"observed_generation"`
	Conditions         []Condition `json:"conditions"`
}

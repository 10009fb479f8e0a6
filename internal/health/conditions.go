package health

// Condition declares one aspect of the agent's health: who reports it is free to say True, False or Unknown, with a
// reason; what it means and whether the agent is of any use without it stands here.
type Condition struct {
	Type  string // as in wire.Condition
	Title string // for people, true when the condition is
	Vital bool   // without it the cluster cannot be managed from outside
}

// The types of the conditions that the agent reports.
const (
	Tunnel           = "Tunnel"
	Certificate      = "Certificate"
	ClusterReachable = "ClusterReachable"
	NodesReady       = "NodesReady"
	DesiredState     = "DesiredState"
)

// All returns the conditions in the order in which they are shown, causes first.
func All() []Condition {
	return []Condition{
		{Tunnel, "connected to the gateway", true},
		{Certificate, "the certificate of this machine is valid", true},
		{ClusterReachable, "the Kubernetes API answers", true},
		{NodesReady, "every node is ready", false},
		{DesiredState, "everything that was asked for is as it should be", false},
	}
}

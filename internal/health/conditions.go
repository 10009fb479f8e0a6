package health

import "github.com/pipeopshq/pipeops-agent/internal/wire"

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
	ClusterAccess    = "ClusterAccess"
	NodesReady       = "NodesReady"
	DNS              = "DNS"
	PodsRun          = "PodsRun"
	PodNetwork       = "PodNetwork"
	ServiceAddress   = "ServiceAddress"
	LargePacket      = "LargePacket"
	Storage          = "Storage"
	DesiredState     = "DesiredState"
	Audit            = "Audit"
)

// All returns the conditions in the order in which they are shown, causes first.
func All() []Condition {
	return []Condition{
		{Tunnel, "connected to the gateway", true},
		{Certificate, "the certificate of this machine is valid", true},
		{ClusterReachable, "the Kubernetes API answers", true},
		{ClusterAccess, "the cluster knows the account of the agent", false},
		{NodesReady, "every node is ready", false},
		{DNS, "names resolve inside the cluster", false},
		{PodsRun, "a new pod runs", false},
		{PodNetwork, "packets go between pods and this machine", false},
		{ServiceAddress, "service addresses lead to their pods", false},
		{LargePacket, "large packets pass the pod network", false},
		{Storage, "what a pod writes to a volume can be read back", false},
		{DesiredState, "everything that was asked for is as it should be", false},
		{Audit, "what is asked through the tunnel is recorded", false},
	}
}

// Broken returns the first vital condition that is not True; one that is not reported is Unknown. ok is true if there is
// none: the cluster can be managed from outside.
func Broken(conditions []wire.Condition) (broken wire.Condition, ok bool) {
	for _, declared := range All() {
		if !declared.Vital {
			continue
		}
		found := wire.Condition{Type: declared.Type, Status: Unknown, Reason: notReported}
		for _, c := range conditions {
			if c.Type == declared.Type {
				found = c
			}
		}
		if found.Status != True {
			return found, false
		}
	}
	return wire.Condition{}, true
}

package host

import (
	"context"
	"strings"
)

// Identity is by what the machine would be known as a node.
type Identity struct {
	Hostname  string      `json:"hostname"`   // "" is unknown
	NodeName  Known[bool] `json:"node_name"`  // whether the host name, in lower case, can name a Kubernetes node
	MachineID Known[bool] `json:"machine_id"` // whether there is one; the id itself is not kept
}

func identityProbe() Probe {
	return Probe{Name: "identity", Run: func(_ context.Context, s *System) (Part, error) {
		var i Identity
		if i.Hostname = s.line("/proc/sys/kernel/hostname"); i.Hostname == "" {
			i.Hostname = s.line("/etc/hostname")
		}
		if i.Hostname != "" {
			i.NodeName = Is(ValidNodeName(strings.ToLower(i.Hostname)))
		}
		if id := s.line("/etc/machine-id"); id != "" || s.Live() {
			i.MachineID = Is(len(id) == 32 && strings.Trim(id, "0123456789abcdef") == "")
		}
		return func(f *Facts) { f.Identity = i }, nil
	}}
}

// ValidNodeName reports whether a name is a DNS subdomain as Kubernetes demands of a node's (RFC 1123, at most 253 bytes).
func ValidNodeName(name string) bool {
	if name == "" || len(name) > 253 {
		return false
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' ||
			strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
			return false
		}
	}
	return true
}

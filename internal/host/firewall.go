package host

import "context"

// Firewall is what filters packets on the machine.
type Firewall struct {
	UFW       Known[bool] `json:"ufw"`       // active
	Firewalld Known[bool] `json:"firewalld"` // active
	Rejects   []string    `json:"rejects"`   // rules of neither that reject or drop what comes in: where they were seen; null: unknown
	Forward   string      `json:"forward"`   // policy of the FORWARD chain: "accept", "drop"; "" is unknown
}

func firewallProbe() Probe {
	return Probe{Name: "firewall", Run: func(_ context.Context, s *System) (Part, error) {
		return nil, nil
	}}
}

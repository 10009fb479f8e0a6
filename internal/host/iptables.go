package host

import "context"

// IPTables is the iptables program that is installed.
type IPTables struct {
	Path    string      `json:"path"`    // "" with Known none, see Commands
	Backend string      `json:"backend"` // "nft" or "legacy"; "" is unknown
	Version string      `json:"version"` // "1.8.9"; "" is unknown
	Legacy  Known[bool] `json:"legacy"`  // whether rules of the legacy back end are in force
}

func iptablesProbe() Probe {
	return Probe{Name: "iptables", Run: func(_ context.Context, s *System) (Part, error) {
		return nil, nil
	}}
}

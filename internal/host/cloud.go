package host

import "context"

// Cloud is the provider whose machine this is.
type Cloud struct {
	Name   string `json:"name"`   // "aws", "gcp", "azure", "hetzner", ...; "none": none of those we know; "" is unknown
	Source string `json:"source"` // "dmi", "cloud-init", "metadata"; ""
}

func cloudProbe() Probe {
	return Probe{Name: "cloud", Run: func(_ context.Context, s *System) (Part, error) {
		return nil, nil
	}}
}

package host

import "context"

// Proxy is the proxy settings that were found. User names and passwords in them are left out.
type Proxy struct {
	HTTP    string `json:"http,omitzero"`
	HTTPS   string `json:"https,omitzero"`
	NoProxy string `json:"no_proxy,omitzero"`
	Source  string `json:"source,omitzero"` // where: "environment", "/etc/environment", ...; "" is none found
}

func proxyProbe() Probe {
	return Probe{Name: "proxy", Run: func(_ context.Context, s *System) (Part, error) {
		return nil, nil
	}}
}

package host

import "context"

// DNS is how the machine resolves names.
type DNS struct {
	Nameservers []string    `json:"nameservers"` // of /etc/resolv.conf; null: unknown
	Search      []string    `json:"search"`
	Loopback    Known[bool] `json:"loopback"` // whether a name server is on this machine only, such as 127.0.0.53: pods cannot reach it
	Upstream    string      `json:"upstream"` // file with the name servers behind it: "/run/systemd/resolve/resolv.conf"; ""
	Servers     []string    `json:"servers"`  // that pods can use: those of Upstream, or of /etc/resolv.conf, without loopback; null: unknown
	Wildcard    []string    `json:"wildcard"` // search domains in which every name exists; null: unknown
}

func dnsProbe() Probe {
	return Probe{Name: "dns", Run: func(_ context.Context, s *System) (Part, error) {
		return nil, nil
	}}
}

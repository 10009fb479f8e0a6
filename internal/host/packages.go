package host

import "context"

// Packages is how software is installed, and whether somebody is doing it now.
type Packages struct {
	Manager   string      `json:"manager"`    // "apt", "dnf", "yum", "zypper", "apk", "pacman", "transactional-update", "rpm-ostree", "none"; "" is unknown
	Busy      Known[bool] `json:"busy"`       // whether a lock of it is held
	BusyBy    string      `json:"busy_by"`    // name of the holder; "" is unknown
	CloudInit string      `json:"cloud_init"` // "running", "done", "error", "disabled", "absent"; "" is unknown
}

func packagesProbe() Probe {
	return Probe{Name: "packages", Run: func(_ context.Context, s *System) (Part, error) {
		return nil, nil
	}}
}

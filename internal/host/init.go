package host

import "context"

// Init is the program that runs as pid 1.
type Init struct {
	Name    string      `json:"name"`    // its comm: "systemd", "init", "bash"; "" is unknown
	Systemd Known[bool] `json:"systemd"` // whether systemd is in charge
	OpenRC  Known[bool] `json:"openrc"`
}

func initProbe() Probe {
	return Probe{Name: "init", Run: func(_ context.Context, s *System) (Part, error) {
		i := Init{Name: s.line("/proc/1/comm"), OpenRC: s.Exists("/run/openrc")}
		// the folder is what sd_booted(3) looks for; that systemctl is installed says nothing
		booted := s.Exists("/run/systemd/system")
		switch {
		case booted.Value, i.Name == "systemd":
			i.Systemd = Is(true)
		case i.Name != "", s.Live():
			i.Systemd = Is(false)
		}
		if !s.Live() && !i.OpenRC.Value {
			i.OpenRC = Known[bool]{OK: i.Systemd.OK}
		}
		return func(f *Facts) { f.Init = i }, nil
	}}
}

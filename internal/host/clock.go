package host

import (
	"context"
	"slices"
	"time"
)

// Clock is the machine's idea of time.
type Clock struct {
	Year         Known[int]  `json:"year"`
	Synchronized Known[bool] `json:"synchronized"` // by NTP
	RTC          Known[bool] `json:"rtc"`          // whether there is a battery-backed clock
	Service      string      `json:"service"`      // what keeps it: "systemd-timesyncd", "chronyd", "ntpd"; "" is unknown or none
}

func clockProbe() Probe {
	return Probe{Name: "clock", Run: func(ctx context.Context, s *System) (Part, error) {
		c := s.Snapshot().Clock
		if s.Live() {
			c.Year, c.Synchronized = Is(time.Now().Year()), liveSynchronized()
		}
		if s.has("/run/systemd/timesync/synchronized") {
			c.Synchronized = Is(true)
		}
		if !c.RTC.OK {
			c.RTC = s.sought("/sys/class/rtc/rtc0")
		}
		var err error
		if c.Service == "" {
			var names []string
			names, err = processNames(ctx, s)
			enabled := s.has
			if s.Live() { // what is enabled but does not run keeps no clock
				enabled = func(string) bool { return false }
			}
			c.Service = timeService(names, enabled)
		}
		return func(f *Facts) { f.Clock = c }, err
	}}
}

// timeService finds what keeps the clock: a running program, or one that is enabled. A process shows at most 15
// bytes of its name.
func timeService(names []string, has func(path string) bool) string {
	const wants = "/etc/systemd/system/multi-user.target.wants/"
	services := []struct {
		name, comm string
		units      []string
	}{
		{"systemd-timesyncd", "systemd-timesyn", []string{"/etc/systemd/system/sysinit.target.wants/systemd-timesyncd.service"}},
		{"chronyd", "chronyd", []string{wants + "chronyd.service", wants + "chrony.service"}},
		{"ntpd", "ntpd", []string{wants + "ntpd.service", wants + "ntp.service", wants + "ntpsec.service", "/etc/runlevels/default/ntpd"}},
	}
	for _, v := range services {
		if slices.Contains(names, v.comm) {
			return v.name
		}
	}
	for _, v := range services {
		if slices.ContainsFunc(v.units, has) {
			return v.name
		}
	}
	return ""
}

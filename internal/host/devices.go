package host

import (
	"bytes"
	"context"
	"strings"
)

// Devices are the character devices that a node uses.
type Devices struct {
	Kmsg Device `json:"kmsg"` // /dev/kmsg: the kubelet watches it
	Fuse Device `json:"fuse"` // /dev/fuse: fuse-overlayfs needs it
	Tun  Device `json:"tun"`  // /dev/net/tun: VPNs and wireguard in userspace
}

// Device is one character device.
type Device struct {
	Present Known[bool] `json:"present"` // as the device of this number, rather than a link to another or another's file
	Usable  Known[bool] `json:"usable"`  // whether it could be opened; unknown if that would load its module
}

// The numbers of the devices (admin-guide/devices.txt of the kernel).
const (
	majorMem, minorKmsg            = 1, 11
	majorMisc, minorFuse, minorTun = 10, 229, 200
)

func devicesProbe() Probe {
	return Probe{Name: "devices", Run: func(_ context.Context, s *System) (Part, error) {
		d := s.Snapshot().Devices
		if s.Live() {
			b, _ := s.ReadFile("/proc/misc") // without it nothing is opened that could load a module
			misc := ParseMisc(b)
			d = Devices{
				Kmsg: liveDevice("/dev/kmsg", majorMem, minorKmsg, true),
				Fuse: liveDevice("/dev/fuse", majorMisc, minorFuse, misc["fuse"]),
				Tun:  liveDevice("/dev/net/tun", majorMisc, minorTun, misc["tun"]),
			}
		}
		return func(f *Facts) { f.Devices = d }, nil
	}}
}

// ParseMisc returns the drivers in /proc/misc, which lists those that are in the kernel: "229 fuse".
func ParseMisc(b []byte) map[string]bool {
	drivers := map[string]bool{}
	for line := range bytes.Lines(b) {
		if f := strings.Fields(string(line[:min(len(line), maxText)])); len(f) == 2 && len(drivers) < 4*maxWords {
			drivers[f[1]] = true
		}
	}
	return drivers
}

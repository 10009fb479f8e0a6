package host

import "context"

// Devices are the character devices that a node uses.
type Devices struct {
	Kmsg Device `json:"kmsg"` // /dev/kmsg: the kubelet watches it
	Fuse Device `json:"fuse"` // /dev/fuse: fuse-overlayfs needs it
	Tun  Device `json:"tun"`  // /dev/net/tun: VPNs and wireguard in userspace
}

// Device is one character device.
type Device struct {
	Present Known[bool] `json:"present"` // as a character device, rather than a link to something else
	Usable  Known[bool] `json:"usable"`  // whether it could be opened
}

func devicesProbe() Probe {
	return Probe{Name: "devices", Run: func(_ context.Context, s *System) (Part, error) {
		return nil, nil
	}}
}

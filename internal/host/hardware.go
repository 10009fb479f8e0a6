package host

import "context"

// Hardware is what the firmware says of itself. Serial numbers are not read.
type Hardware struct {
	Vendor  string `json:"vendor"`          // DMI sys_vendor: "QEMU"
	Product string `json:"product"`         // DMI product_name
	Model   string `json:"model,omitempty"` // device tree: "Raspberry Pi 4 Model B Rev 1.4"

	Board    string      `json:"board,omitzero"`     // DMI board_vendor
	AssetTag string      `json:"asset_tag,omitzero"` // DMI chassis_asset_tag, if it is one that a cloud gives to all its machines
	Portable Known[bool] `json:"portable"`           // has a battery: it sleeps, and its addresses change
}

func hardwareProbe() Probe {
	return Probe{Name: "hardware", Run: func(_ context.Context, s *System) (Part, error) {
		h := readHardware(s)
		return func(f *Facts) { f.Hardware = h }, nil
	}}
}

func readHardware(s *System) Hardware {
	return Hardware{
		Vendor:   s.line("/sys/class/dmi/id/sys_vendor"),
		Product:  s.line("/sys/class/dmi/id/product_name"),
		Model:    s.line("/proc/device-tree/model"),
		Board:    s.line("/sys/class/dmi/id/board_vendor"),
		AssetTag: sharedTag(s.line(assetTag)),
		Portable: readPortable(s),
	}
}

const assetTag = "/sys/class/dmi/id/chassis_asset_tag"

// sharedTag keeps an asset tag only if a cloud gives it to all its machines: others are as good as a serial number. The
// number is Azure's (documentation of cloud-init).
func sharedTag(tag string) string {
	switch tag {
	case "OracleCloud.com", "7783-7084-3265-9085-8269-3286-77", "Amazon EC2", "HUAWEICLOUD", "OpenTelekomCloud", "SAP CCloud VM":
		return tag
	}
	return ""
}

// readPortable looks for a battery of the machine's own: that of a mouse or a keyboard says that it is of a device.
func readPortable(s *System) Known[bool] {
	const dir = "/sys/class/power_supply"
	if !s.has(dir) {
		return Known[bool]{}
	}
	entries, err := s.readDir(dir)
	if err != nil {
		return Known[bool]{}
	}
	for _, e := range entries[:min(len(entries), maxWords)] {
		at := dir + "/" + e.Name()
		if s.line(at+"/type") == "Battery" && s.line(at+"/scope") != "Device" {
			return Is(true)
		}
	}
	return Is(false)
}

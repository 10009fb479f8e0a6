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
		Vendor:  s.line("/sys/class/dmi/id/sys_vendor"),
		Product: s.line("/sys/class/dmi/id/product_name"),
		Model:   s.line("/proc/device-tree/model"),
	}
}

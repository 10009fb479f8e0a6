package host

import (
	"bytes"
	"slices"
	"strings"
)

// vendors names the hypervisor by words of DMI's vendor and product. An empty word fits all.
func vendors() []struct{ vendor, product, name string } {
	return []struct{ vendor, product, name string }{
		{"", "KVM", "kvm"},
		{"QEMU", "", "kvm"},
		{"Red Hat", "", "kvm"},
		{"", "OpenStack", "kvm"},
		{"Amazon EC2", "", "amazon"},
		{"Google", "Google Compute Engine", "google"},
		{"Microsoft Corporation", "Virtual Machine", "hyperv"},
		{"VMware", "", "vmware"},
		{"innotek", "VirtualBox", "virtualbox"},
		{"Xen", "", "xen"},
		{"Parallels", "", "parallels"},
		{"BHYVE", "", "bhyve"},
		{"Apple", "Virtualization", "apple"},
		{"DigitalOcean", "Droplet", "kvm"},
		{"Hetzner", "vServer", "kvm"},
		{"Scaleway", "SCW-", "kvm"},
		{"Alibaba Cloud", "", "kvm"},
	}
}

// readVMs returns the virtual machine that we are in. The second result says whether its absence was seen.
func readVMs(s *System, wsl int) ([]Layer, bool) {
	if wsl != 0 {
		if wsl == 1 {
			return nil, true
		}
		return []Layer{{LayerVM, "wsl2"}}, true
	}
	flag := Known[bool]{}
	if b, err := s.ReadFile("/proc/cpuinfo"); err == nil {
		flag = ParseHypervisorFlag(b)
	}
	hw := readHardware(s)
	if name := hypervisor(hw, flag); name != "" {
		return []Layer{{LayerVM, name}}, true
	}
	if strings.HasPrefix(s.line("/proc/device-tree/hypervisor/compatible"), "linux,kvm") {
		return []Layer{{LayerVM, "kvm"}}, true
	}
	if s.line("/sys/hypervisor/type") == "xen" && !strings.Contains(s.line("/proc/xen/capabilities"), "control_d") {
		return []Layer{{LayerVM, "xen"}}, true
	}
	if flag.Value {
		return []Layer{{LayerVM, "other"}}, true
	}
	return nil, flag.OK || hw.Model != "" || hw.Vendor != ""
}

// hypervisor judges DMI. Clouds rent out real machines under the same vendor: there, the CPU has no hypervisor flag.
func hypervisor(hw Hardware, flag Known[bool]) string {
	if flag.OK && !flag.Value {
		return ""
	}
	for _, v := range vendors() {
		if strings.Contains(hw.Vendor, v.vendor) && strings.Contains(hw.Product, v.product) && (v.vendor == "" || hw.Vendor != "") {
			return v.name
		}
	}
	return ""
}

// ParseHypervisorFlag tells whether an x86 CPU says that it is virtual; other architectures do not say.
func ParseHypervisorFlag(cpuinfo []byte) Known[bool] {
	for line := range bytes.Lines(cpuinfo) {
		key, value, ok := bytes.Cut(line, []byte(":"))
		if ok && string(bytes.TrimSpace(key)) == "flags" {
			return Is(slices.Contains(strings.Fields(string(value)), "hypervisor"))
		}
	}
	return Known[bool]{}
}

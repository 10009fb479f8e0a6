package host

import (
	"path"
	"strings"
)

// blockDevice fills in on what a mount lies. A device mapper or a RAID is judged as the kernel presents it; of a network
// file system, and one in memory, nothing is known.
func blockDevice(s *System, m mount, d *Disk) {
	name := ""
	if m.Device != "" && strings.Trim(m.Device, "0123456789:") == "" {
		if b, err := s.ReadFile("/sys/dev/block/" + m.Device + "/uevent"); err == nil {
			name = ParseDevName(b)
		}
	}
	source, local := strings.CutPrefix(m.Source, "/dev/")
	switch {
	case local && source != "root": // the name that the kernel gives to what it was started from
		d.Device = m.Source
	case name != "":
		d.Device = "/dev/" + name
	}
	if name == "" && local && !strings.Contains(source, "/") { // btrfs has device numbers of its own
		name = source
	}
	if name == "" || strings.Contains(name, "..") {
		return
	}
	whole := wholeDisk(s, name)
	if whole == "" {
		return
	}
	at := "/sys/block/" + strings.ReplaceAll(whole, "/", "!") // "cciss!c0d0"
	switch s.line(at + "/queue/rotational") {
	case "0":
		d.Rotational = Is(false)
	case "1":
		// what a hypervisor presents counts as rotating until it says otherwise, and few do
		if vms, _ := readVMs(s, readWSL(s).Value); len(vms) == 0 && !strings.HasPrefix(whole, "vd") && !strings.HasPrefix(whole, "xvd") {
			d.Rotational = Is(true)
		}
	}
	switch s.line(at + "/removable") {
	case "0":
		// what reads a card counts as built in, but the card does not
		d.Removable = Is(s.line(at+"/device/type") == "SD")
	case "1":
		d.Removable = Is(true)
	}
}

// wholeDisk returns the disk of which a device is a partition, or the device itself; "" is unknown.
func wholeDisk(s *System, name string) string {
	entries, err := s.readDir("/sys/block")
	if err != nil {
		return ""
	}
	dir := strings.ReplaceAll(name, "/", "!")
	for _, e := range entries {
		if e.Name() == dir {
			return name
		}
	}
	for _, e := range entries {
		if strings.HasPrefix(dir, e.Name()) && s.line(path.Join("/sys/block", e.Name(), dir, "partition")) != "" {
			return e.Name()
		}
	}
	return ""
}

// ParseDevName returns the name below /dev in a uevent file.
func ParseDevName(b []byte) string {
	for line := range strings.Lines(string(b[:min(len(b), 16*maxText)])) {
		if name, ok := strings.CutPrefix(strings.TrimSpace(line), "DEVNAME="); ok {
			return clean(name)
		}
	}
	return ""
}

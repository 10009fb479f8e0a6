package host

import "strings"

// kind says in words on what the programs run: "an LXC container in a KVM virtual machine"; "" is unknown.
func (f Facts) kind() string {
	switch {
	case f.Virtualization.Stack == nil:
		return ""
	case len(f.Virtualization.Stack) == 0 && f.Hardware.Model != "":
		return article(f.Hardware.Model)
	case len(f.Virtualization.Stack) == 0:
		return "real hardware"
	}
	var layers []string
	for _, l := range f.Virtualization.Stack {
		layers = append(layers, article(l.title()))
	}
	s := strings.Join(layers, " in ")
	if _, inside := f.Virtualization.Container(); inside && f.Virtualization.UserNamespace.Value {
		s += " with shifted user ids"
	}
	return s
}

// title is the name of a layer for people.
func (l Layer) title() string {
	switch l.Name {
	case "wsl1":
		return "WSL 1 system"
	case "wsl2":
		return "WSL 2 system"
	}
	noun := "virtual machine"
	if l.Kind == LayerContainer {
		noun = "container"
	}
	if l.Name == "other" {
		return noun
	}
	return layerName(l.Name) + " " + noun
}

// layerName writes a name as its makers do; one that is not here stays as it is.
func layerName(name string) string {
	switch name {
	case "kvm":
		return "KVM"
	case "xen":
		return "Xen"
	case "lxc":
		return "LXC"
	case "docker":
		return "Docker"
	case "podman":
		return "Podman"
	case "openvz":
		return "OpenVZ"
	case "vmware":
		return "VMware"
	case "hyperv":
		return "Hyper-V"
	case "virtualbox":
		return "VirtualBox"
	case "amazon":
		return "Amazon EC2"
	case "google":
		return "Google Compute Engine"
	case "apple":
		return "Apple"
	case "parallels":
		return "Parallels"
	}
	return name
}

// cloudTitle writes the name of a provider for people; "" if there is none.
func cloudTitle(name string) string {
	switch name {
	case "", "none":
		return ""
	case "aws":
		return "Amazon Web Services"
	case "gcp":
		return "Google Cloud"
	case "digitalocean":
		return "DigitalOcean"
	case "ovh":
		return "OVHcloud"
	case "ibm":
		return "IBM Cloud"
	case "upcloud":
		return "UpCloud"
	}
	return strings.ToUpper(name[:1]) + name[1:]
}

// article puts "a" or "an" before a noun.
func article(noun string) string {
	// letters whose names begin with a vowel, where the noun is spelled: an LXC container
	if strings.HasPrefix(noun, "LXC") || noun != "" && strings.Contains("AEIOaeio", noun[:1]) {
		return "an " + noun
	}
	return "a " + noun
}

func (f Facts) platform() string {
	s := f.kind()
	if s == "" {
		return unknownText
	}
	var firmware []string
	if len(f.Virtualization.Stack) == 0 || f.Virtualization.Stack[0].Kind == LayerVM { // what a container sees is its host's
		for _, part := range []string{f.Hardware.Vendor, f.Hardware.Product} {
			if part != "" && !strings.Contains(strings.Join(firmware, " "), part) {
				firmware = append(firmware, part)
			}
		}
	}
	if len(firmware) > 0 {
		s += " (" + strings.Join(firmware, " ") + ")"
	}
	if f.Hardware.Portable.Value {
		s += ", with a battery"
	}
	return s
}

package host

import (
	"bytes"
	"context"
	"maps"
	"path"
	"slices"
	"strings"
)

// Modules is what the running kernel can load. A container sees its host's kernel but seldom its modules.
type Modules struct {
	// Present tells whether the modules of the running kernel are on disk. They are gone after an upgrade of the kernel
	// until the machine is restarted.
	Present Known[bool] `json:"present"`
	// States gives each module of interest "loaded", "builtin", "loadable" or "missing"; null: unknown. A name that could not
	// be judged is not in it.
	States map[string]string `json:"states"`
}

// module is a module of interest, and the option of the kernel's configuration that builds it.
type module struct{ name, option string }

// modules lists what container networks and images need of the kernel.
func modules() []module {
	return []module{
		{"overlay", "CONFIG_OVERLAY_FS"},
		{"br_netfilter", "CONFIG_BRIDGE_NETFILTER"},
		{"nf_conntrack", "CONFIG_NF_CONNTRACK"},
		{"vxlan", "CONFIG_VXLAN"},
		{"ip_tables", "CONFIG_IP_NF_IPTABLES"},
		{"nf_tables", "CONFIG_NF_TABLES"},
		{"nft_compat", "CONFIG_NFT_COMPAT"},
		{"xt_comment", "CONFIG_NETFILTER_XT_MATCH_COMMENT"},
		{"xt_MASQUERADE", "CONFIG_NETFILTER_XT_TARGET_MASQUERADE"},
		{"iptable_nat", "CONFIG_IP_NF_NAT"},
		{"wireguard", "CONFIG_WIREGUARD"},
	}
}

func modulesProbe() Probe {
	return Probe{Name: "modules", Run: func(_ context.Context, s *System) (Part, error) {
		release, err := readRelease(s)
		m := readModules(s, release)
		return func(f *Facts) { f.Modules = m }, err
	}}
}

func readModules(s *System, release string) Modules {
	m := Modules{}
	dir := ""
	if releasePath(release) {
		m.Present = Is(false)
		for _, parent := range []string{"/lib/modules", "/usr/lib/modules"} {
			there := s.sought(path.Join(parent, release))
			if there.Value {
				m.Present, dir = there, path.Join(parent, release)
				break
			}
			m.Present.OK = m.Present.OK && there.OK
		}
	}
	loaded, _ := s.ReadFile("/proc/modules") // a kernel without modules has no such file
	var builtin, loadable []byte
	judged := false // whether what is in neither list is missing
	if dir != "" {
		var err1, err2 error
		builtin, err1 = s.ReadFile(dir + "/modules.builtin")
		loadable, err2 = s.ReadFile(dir + "/modules.dep")
		judged = err1 == nil && err2 == nil
	}
	inKernel, inBuiltin, inFiles := ParseModules(loaded), ParseModuleFiles(builtin), ParseModuleFiles(loadable)
	built := map[string]string{}
	if c := readKernelConfig(s, release); c.Source == configGz { // the word of the running kernel itself
		built = c.Options
	}
	states := map[string]string{}
	for _, wanted := range modules() {
		name, key := wanted.name, moduleKey(wanted.name)
		// of what is built in only that with parameters has a folder, without the state of a module
		folder := s.has("/sys/module/" + name)
		switch {
		case inKernel[key], folder && s.line("/sys/module/"+name+"/initstate") == "live":
			states[name] = "loaded"
		case inBuiltin[key], folder, built[wanted.option] == "y":
			states[name] = "builtin"
		case inFiles[key]:
			states[name] = "loadable"
		case judged:
			states[name] = "missing"
		}
	}
	if len(states) > 0 {
		m.States = states
	}
	return m
}

// moduleKey is the form in which modules are compared: the kernel takes "-" and "_" for the same, and had two modules for
// masquerading before 5.2.
func moduleKey(name string) string {
	name = strings.ReplaceAll(name, "-", "_")
	if name == "ipt_MASQUERADE" {
		return "xt_MASQUERADE"
	}
	return name
}

// ParseModules returns which modules of interest /proc/modules lists, by their keys.
func ParseModules(b []byte) map[string]bool {
	return modulesOf(b, func(line string) string {
		name, _, _ := strings.Cut(line, " ")
		return name
	})
}

// ParseModuleFiles does the same for modules.dep ("kernel/net/bridge/br_netfilter.ko.xz: kernel/...") and
// modules.builtin, which has the part before the colon alone.
func ParseModuleFiles(b []byte) map[string]bool {
	return modulesOf(b, func(line string) string {
		file, _, _ := strings.Cut(line, ":")
		name, _, ok := strings.Cut(path.Base(file), ".ko")
		if !ok {
			return ""
		}
		return name
	})
}

func modulesOf(b []byte, name func(line string) string) map[string]bool {
	wanted := map[string]bool{}
	for _, m := range modules() {
		wanted[moduleKey(m.name)] = true
	}
	found := map[string]bool{}
	for line := range bytes.Lines(b) {
		line = line[:min(len(line), 4*maxText)] // what a module depends on may be long
		if key := moduleKey(name(strings.TrimSpace(string(line)))); wanted[key] {
			found[key] = true
		}
	}
	return found
}

// keepModules writes a list anew, with nothing but the modules of interest that are in it.
func keepModules(found map[string]bool, ending string) []byte {
	var out []byte
	for _, name := range slices.Sorted(maps.Keys(found)) {
		out = append(out, name+ending+"\n"...)
	}
	return out
}

package host

import (
	"bytes"
	"fmt"
	"path"
	"strings"
)

// keep takes out of a file that is long or private all but what the probes want of it. The second result is false for
// files that stay as they are.
func keep(name string, b []byte) ([]byte, bool) {
	below := strings.HasPrefix(name, "/lib/modules/") || strings.HasPrefix(name, "/usr/lib/modules/")
	switch {
	case name == cmdline:
		return []byte(strings.Join(ParseCgroupWords(b), " ") + "\n"), true
	case name == "/proc/cpuinfo": // of a Raspberry Pi
		return keepCPU(b), true
	case name == cloudStatus, name == cloudResult:
		return keepCloud(name, b), true
	case name == cloudFinished, name == "/proc/locks":
		return nil, true
	case name == assetTag:
		return []byte(sharedTag(clean(strings.TrimSpace(string(b)))) + "\n"), true
	case name == dockerConfig: // addresses of proxies may hold passwords
		if root := ParseDockerRoot(b); root != "" {
			return fmt.Appendf(nil, "{\"data-root\":%q}\n", root), true
		}
		return []byte("{}\n"), true
	case name == "/proc/modules":
		return keepModules(ParseModules(b), ""), true
	case below && (path.Base(name) == "modules.dep" || path.Base(name) == "modules.builtin"):
		return keepModules(ParseModuleFiles(b), ".ko"), true
	case name == configGz:
		return keepConfigGz(b), true
	case below, strings.HasPrefix(name, "/boot/config-"), strings.HasPrefix(name, "/usr/lib/ostree-boot/"), strings.HasPrefix(name, "/usr/lib/kernel/config-"):
		return keepKernelConfig(b), true
	}
	return nil, false
}

// keepCPU takes the serial number out of /proc/cpuinfo.
func keepCPU(b []byte) []byte {
	var out []byte
	for line := range bytes.Lines(b) {
		if !bytes.HasPrefix(line, []byte("Serial")) {
			out = append(out, line...)
		}
	}
	return out
}

package nodes

import (
	"os"
	"strings"
)

// Own returns the name of the Node that this machine is, "" if that is not known: the one that started with the kernel that runs
// here, and among several of those, as containers have it, the one that is called like this machine.
func Own(list []Node) string {
	raw, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	host, err := os.Hostname()
	if err != nil {
		return ""
	}
	return own(list, strings.TrimSpace(string(raw)), host)
}

func own(list []Node, bootID, host string) string {
	var here []string
	for _, n := range list {
		if n.BootID != "" && n.BootID == bootID {
			if here = append(here, n.Name); strings.EqualFold(n.Name, host) {
				return n.Name
			}
		}
	}
	if len(here) == 1 {
		return here[0]
	}
	return ""
}

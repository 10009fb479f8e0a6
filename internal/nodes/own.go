package nodes

import (
	"net"
	"os"
	"slices"
	"strings"
)

// Own returns the name of the Node that this machine is, "" if that is not known: the one that started with the kernel that runs
// here. Where none has, since a container may give its processes more than one id of a boot, it is the one that has an address of
// this machine. Among several, as containers have them, it is the one that is called like this machine.
func Own(list []Node) string {
	raw, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	host, err := os.Hostname()
	if err != nil {
		return ""
	}
	return own(list, strings.TrimSpace(string(raw)), ownAddresses(), host)
}

// ownAddresses returns those of this machine by which others reach it.
func ownAddresses() (all []string) {
	held, err := net.InterfaceAddrs()
	if err != nil {
		return nil
	}
	for _, a := range held {
		if n, ok := a.(*net.IPNet); ok && n.IP.IsGlobalUnicast() {
			all = append(all, n.IP.String())
		}
	}
	return all
}

func own(list []Node, bootID string, addresses []string, host string) string {
	here := slices.DeleteFunc(slices.Clone(list), func(n Node) bool { return n.BootID == "" || n.BootID != bootID })
	if len(here) == 0 {
		here = slices.DeleteFunc(slices.Clone(list), func(n Node) bool {
			return !slices.ContainsFunc(n.Internal, func(a string) bool { return slices.Contains(addresses, a) })
		})
	}
	for _, n := range here {
		if len(here) == 1 || strings.EqualFold(n.Name, host) {
			return n.Name
		}
	}
	return ""
}

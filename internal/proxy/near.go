package proxy

import (
	"net"
	"net/netip"
	"strings"
)

// Near returns the host of HOST:PORT if no proxy would lead to it: a private address, or a name of a local network; else "".
func Near(address string) string {
	name, _, err := net.SplitHostPort(address)
	if err != nil {
		name = strings.Trim(address, "[]")
	}
	if ip, err := netip.ParseAddr(name); err == nil {
		if ip = ip.Unmap().WithZone(""); ip.IsPrivate() || ip.IsLoopback() || ip.IsLinkLocalUnicast() || netip.MustParsePrefix("100.64.0.0/10").Contains(ip) {
			return ip.String()
		}
		return ""
	}
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	if name != "" && !strings.Contains(name, ".") {
		return name
	}
	for _, local := range []string{".local", ".internal", ".lan", ".home.arpa", ".test"} { // RFC 6762, 8375, 6761; .internal by ICANN
		if strings.HasSuffix(name, local) {
			return name
		}
	}
	return ""
}

package reason

import (
	"slices"
	"strings"
	"testing"
)

// coming are codes whose entries come with the requirements that give them.
func coming() []Code {
	return []Code{
		"HOST_NODE_NAME", "HOST_MODULES", "HOST_REBOOT_PENDING", "HOST_NETFILTER", "HOST_VXLAN", "HOST_NAMESPACES", "HOST_OVERLAY",
		"HOST_KEYRING", "HOST_INOTIFY", "HOST_SYSCTL", "HOST_SELINUX", "HOST_DISK_SLOW", "HOST_CLOCK", "HOST_IMMUTABLE",
		"HOST_PAGE_SIZE", "HOST_CPU_LEVEL", "HOST_UNTESTED", "HOST_SWAP", "HOST_ENTROPY", "HOST_PACKAGES_BUSY", "HOST_WSL_DOCKER",
		"HOST_USER_NAMESPACE", "HOST_PORTABLE", "HOST_CLOUD_INIT", "NET_DNS_LOOP", "NET_DNS_WILDCARD", "NET_CIDR_OVERLAP",
		"NET_FIREWALL", "NET_FORWARD_POLICY", "NET_MTU", "NET_IPV6_ONLY", "NET_NO_ROUTE", "NET_PROXY", "NET_WEB_PORTS", "NET_MANAGER",
		"DOCKER_TOO_OLD", "DOCKER_ROOTLESS", "DOCKER_OUTSIDE", "NEIGHBOUR_PANEL", "CONSENT_NEEDED",
	}
}

// TestExplanations: what a machine may be refused for is explained, in one to three sentences.
func TestExplanations(t *testing.T) {
	codes := coming()
	for _, e := range All() {
		codes = append(codes, e.Code)
	}
	for _, code := range codes {
		text := Explain(code)
		must := slices.ContainsFunc([]string{"HOST_", "NET_", "DOCKER_", "CLUSTER_"}, func(prefix string) bool { return strings.HasPrefix(string(code), prefix) })
		switch n := strings.Count(text+" ", ". "); {
		case text == "" && must:
			t.Errorf("%s is not explained", code)
		case text == "":
			t.Logf("%s is not explained", code)
		case n < 1 || n > 3 || !strings.HasSuffix(text, ".") || strings.Contains(text, "\n"):
			t.Errorf("%s is explained in %d sentences: %s", code, n, text)
		}
	}
	if Explain("NO_SUCH_CODE") != "" {
		t.Error("something is explained that is not there")
	}
}

func TestFindAndNear(t *testing.T) {
	if e, ok := Find(" host-memory-low"); !ok || e.Code != HostMemoryLow {
		t.Errorf("got %v, %v", e, ok)
	}
	if _, ok := Find("HOST_MEMORY"); ok {
		t.Error("half a code is found")
	}
	tests := []struct{ typed, first string }{
		{"HOST_MEMORY", "HOST_MEMORY_LOW"},
		{"hots_memory_low", "HOST_MEMORY_LOW"},
		{"PORT_TAKEN", "NET_PORT_TAKEN"},
		{"CLUSTER_FORIGN", "CLUSTER_FOREIGN"},
		{"", ""},
		{"Q", ""},
		{"COMPLETELY_DIFFERENT", ""},
		{strings.Repeat("HOST_", 1000), ""},
	}
	for _, tt := range tests {
		near := Near(tt.typed)
		if len(near) > maxNear || tt.first == "" && len(near) > 0 || tt.first != "" && (len(near) == 0 || near[0] != tt.first) {
			t.Errorf("%q: got %v, want %q first", tt.typed, near, tt.first)
		}
	}
}

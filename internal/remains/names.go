package remains

import (
	"cmp"
	"strings"
)

// ownChain reports whether a chain is one of kube-proxy, the kubelet, flannel, kube-router or the plugins of CNI, by the
// names that they give.
func ownChain(name string) bool {
	for _, prefix := range []string{"KUBE-", "FLANNEL-", "CNI-"} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}

// ofAnotherNetwork reports whether the comment of a rule names another network of CNI than that of k3s, which is "cbr0".
func ofAnotherNetwork(comment string) bool {
	return strings.Contains(comment, `name: "`) && !strings.Contains(comment, `name: "cbr0"`)
}

// sharedChain says which of the chains of CNI are also those of another runtime that uses the same plugins, such as podman,
// from those whose rules name another network.
func sharedChain(foreign map[string]bool) func(name string) bool {
	shared := false
	for name, is := range foreign {
		shared = shared || is && strings.HasPrefix(name, "CNI-")
	}
	return func(name string) bool {
		return strings.HasPrefix(name, "CNI-") && foreign[name] || shared && (strings.HasPrefix(name, "CNI-HOSTPORT-") || name == "CNI-FORWARD" || name == "CNI-ADMIN")
	}
}

// acceptedByRouter is in the comment of a rule that kube-router puts into chains of the system.
const acceptedByRouter = "KUBE-ROUTER rule to explicitly ACCEPT"

// podBridge is where the links of pods end in k3s.
const podBridge = "cni0"

// bridge is where the links of pods end.
func (e Env) bridge() string { return cmp.Or(e.Bridge, podBridge) }

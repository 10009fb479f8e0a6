package remains

import "strings"

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

// acceptedByRouter is in the comment of a rule that kube-router puts into chains of the system.
const acceptedByRouter = "KUBE-ROUTER rule to explicitly ACCEPT"

// podBridge is where the links of pods end.
const podBridge = "cni0"

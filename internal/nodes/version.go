package nodes

import (
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/util/version"

	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

// oldest is by how many minor versions a kubelet may be older than the API server:
// https://kubernetes.io/releases/version-skew-policy/
const oldest = 3

// release is a version of k3s that can be compared: "v1.33.2+k3s1" is 1.33.2, and then 1.
type release struct {
	text       string
	kubernetes *version.Version
	k3s        int
}

func parseRelease(text string) (release, bool) {
	if !wire.ValidK3sVersion(text) {
		return release{}, false
	}
	v, err := version.ParseSemantic(text)
	if err != nil {
		return release{}, false
	}
	_, number, _ := strings.Cut(text, "+k3s")
	n, err := strconv.Atoi(number)
	return release{text, v, n}, err == nil
}

func (r release) compare(other release) int {
	switch {
	case r.kubernetes.LessThan(other.kubernetes):
		return -1
	case other.kubernetes.LessThan(r.kubernetes):
		return 1
	}
	return r.k3s - other.k3s
}

// fits reports whether a machine with version r may join servers of which the oldest has version cluster.
func (r release) fits(cluster release, role wire.Role) bool {
	mine, theirs := r.kubernetes, cluster.kubernetes
	if mine.Major() != theirs.Major() {
		return false
	}
	if role == wire.RoleServer {
		return mine.Minor() == theirs.Minor()
	}
	return r.compare(cluster) <= 0 && mine.Minor()+oldest >= theirs.Minor()
}

// choose returns the version that a machine is to install: the cluster's own if it can, else the newest that fits; ok is
// false if none does. No offers mean that it can install any.
func choose(cluster string, offers []string, role wire.Role) (chosen string, ok bool) {
	if len(offers) == 0 || slices.Contains(offers, cluster) {
		return cluster, wire.ValidK3sVersion(cluster)
	}
	own, ok := parseRelease(cluster)
	if !ok {
		return "", false
	}
	var best release
	for _, offer := range offers {
		if r, ok := parseRelease(offer); ok && r.fits(own, role) && (best.text == "" || best.compare(r) < 0) {
			best = r
		}
	}
	return best.text, best.text != ""
}

// eldest returns the oldest of the versions that servers run, "" if one of them is no version of k3s.
func eldest(servers []Node) string {
	var low release
	for _, n := range servers {
		r, ok := parseRelease(n.Version)
		if !ok {
			return ""
		}
		if low.text == "" || r.compare(low) < 0 {
			low = r
		}
	}
	return low.text
}

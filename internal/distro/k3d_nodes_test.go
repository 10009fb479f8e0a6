package distro

import (
	"slices"
	"strings"
	"testing"

	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

// TestK3dServers wants several servers to have the balancer before them, whose image must be had before anything is changed.
func TestK3dServers(t *testing.T) {
	b := newK3dBench(t)
	b.in.Nodes = 3
	b.refused(reason.ManifestLacks, "proxy-image")
	if got := b.engine.holds(); !slices.Equal(got, theirs()) {
		t.Errorf("the engine holds %v", got)
	}
	b.listed("proxy-image", K3dVersion, "proxy.tar", "archive of ghcr.io/k3d-io/k3d-proxy:5.6.0")
	b.publish()
	b.mustChange("k3d-images", "k3d-binary", "sysctl", "k3d-config", "k3d-cluster", "cluster-unit")
	if got := b.read("/etc/pipeops-agent/k3d/cluster.yaml"); !strings.Contains(got, "\nservers: 3\n") || !strings.Contains(got, "disableLoadbalancer: false\n") {
		t.Error(got)
	}
	b.mustChange()
}

// TestK3dNodeWithoutAnAddress wants a worker whose address could be another one's after a power cut, as an install leaves it that has
// added it and then failed, to get one for good at the next install.
func TestK3dNodeWithoutAnAddress(t *testing.T) {
	b := newK3dBench(t)
	b.in.Workers = 1
	b.mustChange("k3d-images", "k3d-binary", "sysctl", "k3d-config", "k3d-cluster", "cluster-unit")
	worker := b.engine.containers["k3d-pipeops-agent-0"]
	worker.pinned = false
	b.mustChange("k3d-cluster")
	if !worker.pinned || worker.state != "running" {
		t.Errorf("the worker is %s, with an address of its own: %t", worker.state, worker.pinned)
	}
	b.mustChange()
}

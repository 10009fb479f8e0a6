//go:build e2e

package e2e

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/pipeopshq/pipeops-agent/internal/distro"
	"github.com/pipeopshq/pipeops-agent/test/lab"
	"github.com/pipeopshq/pipeops-agent/test/lab/rig"
)

// inKind is kind with the only node image that the lab has, of a Kubernetes whose kubelet still starts on cgroup v1.
var inKind = inDocker{
	name: "kind", version: distro.KindVersion, server: "pipeops-control-plane", label: "io.x-k8s.kind.cluster",
	more: []string{"--k3s-version", "v1.33.2"},
}

// previousKind is the version of kind that an earlier agent has brought.
const previousKind = "v0.32.0"

// kindMachine is a machine with Docker and clutter in it, and a mirror with kind.
func (w *world) kindMachine(t *testing.T) *lab.Machine {
	t.Helper()
	if os.Getenv("E2E_KIND") == "" {
		t.Skip("E2E_KIND is not set: make e2e-kind runs this, and builds kind and the image of its nodes, which takes an hour and more the first time")
	}
	if err := w.AddKind(t.Context()); err != nil {
		t.Fatal(err)
	}
	return w.dockerWithClutter(t)
}

// TestKind goes from a machine with Docker, and with much of somebody else's in it, to an answering project, by a real kind whose node
// image the lab has built; installs again; and uninstalls.
func TestKind(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	m := w.kindMachine(t)
	w.comesAndGoes(t, m, inKind, "crates")
}

// TestRebootsKind reboots a machine with kind, and cuts its power.
func TestRebootsKind(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	m := w.kindMachine(t)
	w.survivesIn(t, m, inKind, "crates-again")
}

// TestKindUpgrade makes a cluster by an agent that brings the kind before ours, and installs again by ours: kind is replaced, and the
// cluster goes on as it is. An uninstall takes all of it away.
func TestKindUpgrade(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	m := w.kindMachine(t)
	before, spaces := withDocker(t, m), shell(t, m, netNamespaces)
	pushAgent(t, m, agentWith(t, inKind, previousKind))
	w.installedIn(t, m, inKind, "older-crates")
	upgradedIn(t, m, inKind, previousKind, inKind.version, filepath.Join(rig.Dist, "pipeops-agent-linux-"+rig.Arch()))
	w.pageAgain(t, "older-crates")
	uninstalledFrom(t, m, before, spaces, withDocker)
}

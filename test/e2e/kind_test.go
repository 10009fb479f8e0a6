//go:build e2e

package e2e

import (
	"os"
	"testing"

	"github.com/pipeopshq/pipeops-agent/test/lab"
)

// inKind is kind with the only node image that the lab has, of a Kubernetes whose kubelet still starts on cgroup v1.
var inKind = inDocker{name: "kind", server: "pipeops-control-plane", more: []string{"--k3s-version", "v1.33.2"}}

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

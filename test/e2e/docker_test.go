//go:build e2e

package e2e

import (
	"regexp"
	"slices"
	"testing"

	"github.com/pipeopshq/pipeops-agent/test/lab"
	"github.com/pipeopshq/pipeops-agent/test/lab/rig"
)

// nextK3d is the version of k3d that a later agent would bring.
const nextK3d = "v5.6.3"

// TestDockerInstalled goes from a machine without Docker to a project on k3d, by an install that may install packages; brings
// a newer k3d; and uninstalls: Docker goes too, with all that it has made.
func TestDockerInstalled(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	if err := w.AddK3d(t.Context()); err != nil {
		t.Fatal(err)
	}
	m := w.machine(t, lab.Options{})
	archive, err := w.Lab.ServeDebian(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := archive.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := archive.Use(m); err != nil {
		t.Fatal(err)
	}
	before := withoutPackages(t, m)
	w.withAgent(t, m)
	d := inK3d
	d.more = []string{"--consent", "package"}
	w.installedIn(t, m, d, "from-nothing")
	t.Run("upgrade", func(t *testing.T) {
		if err := w.AddK3dProgram(t.Context(), nextK3d); err != nil {
			t.Fatal(err)
		}
		upgradedIn(t, m, inK3d, inK3d.version, nextK3d, agentWith(t, inK3d, nextK3d))
	})
	w.pageAgain(t, "from-nothing")
	uninstall(t, m, 0)
	shell(t, m, "rm -f "+rig.TokenFile)
	asBeforeWith(t, m, before, withoutPackages)
}

// packageKeeps is what the package manager and its scripts keep for themselves when packages come and go: copies of earlier
// states, and a lock. Units that have gone are remembered where something in the lab names them.
const packageKeeps = `^tree /etc/(group|gshadow|passwd|shadow)- |^tree /var/lib/(dpkg|apt)/|^run /run/adduser|^loaded (docker|containerd)\.[a-z]+ not-found`

// withoutPackages returns the machine line by line, without the files of the package manager: the packages are in it by name.
func withoutPackages(t *testing.T, m *lab.Machine) []string {
	t.Helper()
	own := regexp.MustCompile(packageKeeps)
	return slices.DeleteFunc(oracle(t, m), own.MatchString)
}

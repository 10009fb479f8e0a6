package distro

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/bootstrap/plan"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

// TestPackagesOfAnEngineAreRemoved wants the packages of an engine that we installed to stay as long as the engine holds what is
// somebody else's, running or not, and else to go with their settings, unless somebody has changed these.
func TestPackagesOfAnEngineAreRemoved(t *testing.T) {
	const nuke = "/var/lib/docker/nuke-graph-directory.sh"
	const removed, purged = "dpkg --remove containerd docker.io", "dpkg --purge containerd docker.io"
	for name, tt := range map[string]struct {
		holds   func(b *k3dBench)
		verify  string
		needs   string // says the package manager
		busy    bool
		left    string // is said
		changes []string
	}{
		"nothing of others":             {changes: []string{removed, purged}},
		"a network":                     {holds: func(b *k3dBench) { b.engine.networks["theirs"] = true }, left: "Docker has network theirs, which are not ours"},
		"a volume":                      {holds: func(b *k3dBench) { b.engine.volumes["data"] = true }, left: "volume data"},
		"an image":                      {holds: func(b *k3dBench) { b.engine.images["theirs:1"] = "sha256:1" }, left: "image theirs:1"},
		"a container":                   {holds: func(b *k3dBench) { b.engine.make("other", "server", 0, "") }, left: "container k3d-other-server-0"},
		"a volume, and no engine":       {holds: func(b *k3dBench) { b.in.EngineSocket = "/nothing"; b.write("/var/lib/docker/volumes/data/_data/x", "") }, left: "volume data"},
		"no volume, and no engine":      {holds: func(b *k3dBench) { b.in.EngineSocket = "/nothing"; b.write("/var/lib/docker/volumes/metadata.db", "") }, changes: []string{removed, purged}},
		"settings that were changed":    {verify: "??5??????   c /etc/default/docker\n", left: "somebody has changed its settings /etc/default/docker", changes: []string{removed}},
		"somebody else removes another": {needs: "dpkg: error: dpkg frontend lock was locked by another process with pid 812", busy: true, changes: []string{removed}},
		"something else depends on it":  {needs: "dependency problems prevent removal", left: "somebody else needs it", changes: []string{removed}},
	} {
		t.Run(name, func(t *testing.T) {
			b := newK3dBench(t)
			clear(b.engine.networks)
			clear(b.engine.volumes)
			b.engine.networks["bridge"], b.engine.networks["host"] = true, true
			if tt.holds != nil {
				tt.holds(b)
			}
			b.write(nuke, "rm -rf")
			var changes []string
			b.in.Run = func(_ context.Context, _ time.Duration, argv ...string) ([]byte, error) {
				line := strings.Join(argv, " ")
				switch {
				case argv[0] == "dpkg-query":
					return []byte("ii "), nil
				case strings.HasPrefix(line, "dpkg --verify "):
					return []byte(tt.verify), errors.New("exit status 1")
				}
				changes = append(changes, line)
				if line == purged {
					if _, err := os.Stat(b.in.path(nuke)); err == nil {
						t.Error("a purge would have deleted what is in the folder")
					}
				}
				if tt.needs != "" {
					return nil, errors.New(tt.needs)
				}
				return nil, nil
			}
			left, err := b.in.removePackages(t.Context(), plan.Record{Target: "containerd docker.io", Reversal: &plan.Reversal{
				Check: []string{"dpkg-query", "--show", "docker.io"}, Undo: []string{"dpkg", "--purge", "containerd", "docker.io"}, Lax: true}})
			if tt.busy != reason.Is(err, reason.HostPackagesBusy) || !tt.busy && err != nil || !slices.Equal(changes, tt.changes) {
				t.Errorf("%q, %v", changes, err)
			}
			if said := strings.Join(left, ", "); !strings.Contains(said, tt.left) || (said == "") != (tt.left == "") {
				t.Errorf("it says %q", said)
			}
		})
	}
}

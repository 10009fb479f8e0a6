package distro

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/pipeopshq/pipeops-agent/internal/bootstrap/plan"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
	"github.com/pipeopshq/pipeops-agent/internal/unit"
)

// TestEngineThatIsSlowIsNotRestarted: an engine that runs, and is slow to answer, is waited for. A restart would end all containers of others.
func TestEngineThatIsSlowIsNotRestarted(t *testing.T) {
	restarted := []string{"reset docker.service", "restart docker.service"}
	for state, want := range map[unit.State][]string{
		{File: "enabled", Active: "active", Sub: "running"}:               nil,
		{File: "enabled", Active: "activating", Sub: "start"}:             nil,
		{File: "enabled", Active: "inactive", Sub: "dead"}:                restarted,
		{File: "enabled", Active: "failed", Sub: "failed"}:                restarted,
		{File: "enabled", Active: "activating", Sub: "auto-restart"}:      restarted,
		{File: "disabled", Active: "active", Sub: "running", MainPID: 17}: {"enable docker.service"},
	} {
		t.Run(state.File+" "+state.Active+" "+state.Sub, func(t *testing.T) {
			b := newK3dBench(t)
			b.write("/usr/lib/systemd/system/docker.service", "")
			b.units.states[dockerUnit] = state
			steps := b.steps()
			at := slices.IndexFunc(steps, func(s plan.Step) bool { return s.ID == "engine" })
			b.engine.busy = 3
			if _, err := b.runSteps(steps[at:at+1], nil); err != nil {
				t.Fatal(err)
			}
			if got := b.units.since(); !slices.Equal(got, want) {
				t.Errorf("%v, want %v", got, want)
			}
			noted := slices.ContainsFunc(b.changes(), func(c plan.Record) bool { return c.Kind == unitStarted })
			if noted != slices.Contains(want, "restart docker.service") {
				t.Errorf("that we have started it is in the ledger: %v", noted)
			}
		})
	}
}

// TestEngineThatOthersUseRunsOn: an engine that an install has started is stopped by the uninstall, unless containers of others run in it.
func TestEngineThatOthersUseRunsOn(t *testing.T) {
	for _, unitName := range []string{dockerUnit, snapUnit} {
		for state, stays := range map[string]bool{"": false, "exited": false, "created": false, "running": true, "paused": true, "restarting": true} {
			t.Run(fmt.Sprintf("%s %q", unitName, state), func(t *testing.T) {
				b := newK3dBench(t)
				if state != "" {
					b.engine.make("other", "server", 0, "")
					b.engine.containers["k3d-other-server-0"].state = state
				}
				want := []string{"stop " + unitName, "reset " + unitName, "disable " + unitName}
				if stays {
					want = nil
				}
				for _, kind := range []plan.Kind{unitStarted, unitEnabled} {
					left, err := b.in.Undo()[kind](t.Context(), plan.Record{Kind: kind, Target: unitName})
					if err != nil || (len(left) > 0) != stays || stays && !strings.Contains(left[0], "container k3d-other-server-0") {
						t.Errorf("%s: left %q, %v", kind, left, err)
					}
				}
				if got := b.units.since(); !slices.Equal(got, want) {
					t.Errorf("%v, want %v", got, want)
				}
			})
		}
	}
	b := newK3dBench(t) // a unit that is no engine's goes, whatever runs in the engine
	b.engine.make("other", "server", 0, "")
	if left, err := b.in.Undo()[unitStarted](t.Context(), plan.Record{Target: "k3s.service"}); err != nil || len(left) > 0 || len(b.units.since()) != 2 {
		t.Errorf("left %q, %v", left, err)
	}
}

// TestClusterOfAnEngineThatStands: a snap has no dockerd where commands are, and when it stands its socket is gone. What it holds is not.
func TestClusterOfAnEngineThatStands(t *testing.T) {
	b := newK3dBench(t)
	b.write("/etc/systemd/system/"+snapUnit, "")
	b.mustChange("k3d-images", "k3d-binary", "sysctl", "k3d-config", "k3d-cluster", "cluster-unit")
	if err := os.Remove(b.engine.socket); err != nil {
		t.Fatal(err)
	}
	for kind, target := range map[plan.Kind]string{containerCluster: k3dNodes().target(), containerImage: "rancher/k3s:v1.33.2-k3s1"} {
		left, err := b.in.Undo()[kind](t.Context(), plan.Record{Target: target, Before: &plan.Image{}})
		var known *reason.Error
		if !errors.As(err, &known) || known.Code != reason.EngineStopped || !strings.Contains(known.Fix, snapUnit) {
			t.Errorf("%s: left %q, %v", kind, left, err)
		}
	}
}

package bootstrap

import (
	"context"
	"errors"
	"io/fs"
	"strings"
	"testing"

	"github.com/pipeopshq/pipeops-agent/internal/bootstrap/plan"
	"github.com/pipeopshq/pipeops-agent/internal/distro"
	"github.com/pipeopshq/pipeops-agent/internal/host"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

func TestLookAt(t *testing.T) {
	says := func(done bool, err error) plan.Step {
		return plan.Step{Done: func(context.Context) (bool, error) { return done, err }}
	}
	for _, tt := range []struct {
		name             string
		step             plan.Step
		unfinished, sure bool
		state            string
	}{
		{"done", says(true, nil), false, true, IsUnchanged},
		{"done, seen by others", says(true, nil), false, false, IsUnchanged},
		{"not done", says(false, nil), false, true, WouldRun},
		{"not done, or not seen", says(false, nil), false, false, StateUnknown},
		{"stopped in its middle", says(true, nil), true, true, WouldRun},
		{"for root's eyes", says(false, fs.ErrPermission), false, true, StateUnknown},
		{"broken", says(false, errors.New("x")), false, true, StateUnknown},
		{"never done", plan.Step{}, false, true, WouldRun},
	} {
		if state, note := lookAt(t.Context(), tt.step, tt.unfinished, tt.sure); state != tt.state || (state == StateUnknown) != (note != "") {
			t.Errorf("%s: %s, %q", tt.name, state, note)
		}
	}
}

func TestStopsForReboot(t *testing.T) {
	cmdline, packages := distro.Remedy{ID: distro.RemedyKernelCmdline, Title: "a word"}, distro.Remedy{ID: distro.RemedyPackage, Title: "a package"}
	steps := func(states ...string) []PlannedStep {
		return []PlannedStep{{ID: "packages", State: states[0]}, {ID: "reboot", State: states[1]}}
	}
	for _, tt := range []struct {
		name    string
		remedy  distro.Remedy
		manager string
		steps   []PlannedStep
		live    bool
		want    bool
	}{
		{"the kernel was not started so", cmdline, "apt", steps(IsUnchanged, WouldRun), true, true},
		{"it was", cmdline, "apt", steps(IsUnchanged, IsUnchanged), true, false},
		{"captured", cmdline, "apt", steps(StateUnknown, StateUnknown), false, true},
		{"packages at once", packages, "apt", steps(WouldRun, IsUnchanged), true, false},
		{"packages at the next boot", packages, "transactional-update", steps(WouldRun, IsUnchanged), true, true},
		{"packages that wait for it", packages, "rpm-ostree", steps(IsUnchanged, WouldRun), true, true},
		{"packages that are there", packages, "rpm-ostree", steps(IsUnchanged, IsUnchanged), true, false},
	} {
		p := Plan{Steps: tt.steps, Decision: distro.Decision{Remedies: []distro.Remedy{tt.remedy}}}
		p.Facts.Packages.Manager = tt.manager
		if err := stopsForReboot(p, tt.live); (err != nil) != tt.want || err != nil && reason.Exit(err) != reason.ExitReboot {
			t.Errorf("%s: %v", tt.name, err)
		} else if e := (*reason.Error)(nil); errors.As(err, &e) && !strings.Contains(e.Fix, "by itself") {
			t.Errorf("%s: nobody has to run it again, but the fix is %q", tt.name, e.Fix)
		}
	}
}

func TestAsRoot(t *testing.T) {
	var f host.Facts
	f.UID, f.Devices.Kmsg.Usable, f.Devices.Fuse.Usable = host.Is(1000), host.Is(false), host.Is(true)
	got := asRoot(f)
	if got.UID != host.Is(0) || got.Devices.Kmsg.Usable.OK || got.Devices.Fuse.Usable != host.Is(true) {
		t.Errorf("%+v, %+v", got.UID, got.Devices)
	}
}

package bootstrap

import (
	"context"
	"errors"
	"os"
	"slices"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/bootstrap/plan"
	"github.com/pipeopshq/pipeops-agent/internal/distro"
	"github.com/pipeopshq/pipeops-agent/internal/host"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
	"github.com/pipeopshq/pipeops-agent/internal/trial"
	"github.com/pipeopshq/pipeops-agent/internal/unit"
)

// What a dry run says of a step.
const (
	WouldRun     = "would run"
	WouldProve   = "would be proved" // it changes nothing
	IsUnchanged  = "unchanged"       // the machine is already as the step wants it
	StateUnknown = "unknown"         // only root, or the machine itself, can tell
)

// lookTimeout bounds the look at one step: it reads some 300 MB at most, or asks an API server that may not answer.
const lookTimeout = 30 * time.Second

// DryRun is MakePlan with what an install would find of each step: it looks, as the install does before it changes something,
// and changes nothing itself, the state folder and its lock included. Who is not root gets the plan of root's, as far as it can
// be known. The error is what an install would be refused with, or would stop with: [reason.RebootNeeded]; the plan is as
// complete as it can be then.
func DryRun(ctx context.Context, o Options, trials trial.Results) (Plan, error) {
	root := os.Geteuid() == 0
	o.asRoot = !root && o.Host.Live()
	closeUnits := func() {}
	p, steps, err := o.plan(ctx, trials, func(f host.Facts) distro.Units {
		if !o.Host.Live() {
			return nil
		}
		units, done, err := connect(ctx, distro.Install{Dir: o.StateDir}.On(f))
		if err != nil {
			return unreachable{err: err}
		}
		closeUnits = done
		return units
	})
	defer func() { closeUnits() }()
	p.DryRun, p.WithoutRoot = true, o.asRoot
	if err != nil {
		return p, err
	}
	if err := seenEnough(p.Facts); err != nil && o.Host.Live() {
		return p, err
	}
	if err := Refusal(p.Decision); err != nil {
		return p, err
	}
	if err := available(p.Facts, p.Decision); err != nil {
		return p, err
	}
	if root && o.Host.Live() {
		if err := o.adoptable(ctx, p.Decision); err != nil {
			return p, err
		}
	}
	command := installCommand
	if o.Node != nil {
		command = joinCommand
	}
	unfinished, err := plan.Unfinished(o.StateDir, command)
	if err != nil && root {
		return p, err
	}
	fresh := err == nil && !exists(o.StateDir) && !exists(o.ConfigPath) // nothing of ours is here: whatever is not done is to be done
	for i, s := range steps {
		planned := &p.Steps[i]
		switch {
		case planned.Proof:
			planned.State = WouldProve
		case !o.Host.Live():
			planned.State = StateUnknown
		default:
			planned.State, planned.Note = lookAt(ctx, s, unfinished[s.ID], root || fresh)
		}
	}
	return p, stopsForReboot(p, o.Host.Live())
}

// asRoot is what another user has seen, without what only that user may not.
func asRoot(f host.Facts) host.Facts {
	f.UID = host.Is(0)
	for _, d := range []*host.Device{&f.Devices.Kmsg, &f.Devices.Fuse, &f.Devices.Tun} {
		if !d.Usable.Value {
			d.Usable = host.Known[bool]{}
		}
	}
	return f
}

// lookAt asks one step. sure says that what is not found done is not done.
func lookAt(ctx context.Context, s plan.Step, unfinished, sure bool) (state, note string) {
	if s.Done == nil || unfinished {
		return WouldRun, ""
	}
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	done, err := s.Done(ctx)
	switch {
	case err == nil && done:
		return IsUnchanged, ""
	case err == nil && sure:
		return WouldRun, ""
	case err == nil, errors.Is(err, os.ErrPermission):
		return StateUnknown, "root can tell"
	}
	return StateUnknown, err.Error()
}

// stopsForReboot returns [reason.RebootNeeded] where an install would stop in its middle for a reboot.
func stopsForReboot(p Plan, live bool) error {
	state := func(id string) string {
		i := slices.IndexFunc(p.Steps, func(s PlannedStep) bool { return s.ID == id })
		if i < 0 {
			return ""
		}
		return p.Steps[i].State
	}
	snapshots := slices.Contains([]string{"transactional-update", "rpm-ostree"}, p.Facts.Packages.Manager)
	var why string
	for _, r := range p.Decision.Remedies {
		switch {
		case r.ID == distro.RemedyKernelCmdline && (!live || state("reboot") == WouldRun):
			why = r.Title
		case r.ID == distro.RemedyPackage && snapshots && (!live || state("packages") == WouldRun || state("reboot") == WouldRun):
			why = r.Title
		}
	}
	if why == "" {
		return nil
	}
	return reason.Newf(reason.RebootNeeded, "an install would stop in its middle, since: %s", why).
		WithFix("run install; reboot when it asks for it, or let --reboot do so: it goes on by itself after it")
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// unreachable stands for a systemd or OpenRC that does not answer.
type unreachable struct {
	distro.Units
	err error
}

// State returns why nobody answers.
func (u unreachable) State(context.Context, string) (unit.State, error) { return unit.State{}, u.err }

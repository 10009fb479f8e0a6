package bootstrap

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/bootstrap/plan"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
	units "github.com/pipeopshq/pipeops-agent/systemd"
)

// installCommand is the name of an install in the journal, and in what is unfinished.
const installCommand = "install"

// yieldLimit is how long what goes on by itself may take to yield: it does not kill a package manager in the middle.
const yieldLimit = 5 * time.Minute

// takeOver opens the store. What goes on by itself yields; another install that a user has started is [reason.Busy].
func (o Options) takeOver(ctx context.Context) (store *plan.Store, took bool, err error) {
	if err := ownFolder(o.StateDir); err != nil {
		return nil, false, err
	}
	limited, cancel := context.WithTimeout(ctx, yieldLimit)
	defer cancel()
	store, took, err = plan.TakeOver(limited, o.StateDir, "")
	if took && err != nil && ctx.Err() == nil && limited.Err() != nil {
		err = reason.New(reason.Busy, "what goes on by itself does not yield", err)
	}
	if took && err == nil {
		o.Events(event("yielded", "What was going on by itself has stopped for this install", nil))
	}
	return store, took, err
}

// protect gives the guard what it needs to begin.
func (o *Options) protect(g *Guard) {
	g.Log = o.Log
	if g.alone || o.Remember == nil {
		return
	}
	g.Settings = func() (json.RawMessage, error) { return o.Remember(slices.Clone(o.Request.Consent)) }
	g.Start = func(ctx context.Context) error { return startResume(ctx, o.StateDir) }
}

// startResume starts the unit that resumes, if it is there. It waits for the lock.
func startResume(ctx context.Context, dir string) error {
	manager, closeManager, err := connect(ctx, live(ctx, dir))
	if err != nil {
		return err
	}
	defer closeManager()
	state, err := manager.State(ctx, units.Resume)
	if err != nil || state.Load != "loaded" {
		return err
	}
	return manager.RestartNoWait(ctx, units.Resume)
}

// InstallOperation returns how an install is gone on with. options makes its options of the settings that Remember has encoded.
func InstallOperation(options func(settings json.RawMessage) (Options, error)) Operation {
	return operation(installCommand, options, Options.install)
}

// operation is how a command is gone on with by itself.
func operation(command string, options func(json.RawMessage) (Options, error), run func(Options, context.Context, *Guard) (int, error)) Operation {
	return func(ctx context.Context, g *Guard, settings json.RawMessage) error {
		o, err := options(settings)
		if err != nil {
			return g.End(ctx, reason.New(reason.NotResumed, "the settings of the "+command, err))
		}
		o.alone, o.Agree = true, nil
		_, err = run(o, ctx, g)
		return err
	}
}

// Repeats reports whether an install that ended so should be repeated after a reboot by nobody's hand.
func Repeats(err error) bool {
	wait := (*plan.WaitingError)(nil)
	return errors.As(err, &wait) && wait.For == plan.WaitingReboot
}

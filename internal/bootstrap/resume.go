package bootstrap

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/backoff"
	"github.com/pipeopshq/pipeops-agent/internal/bootstrap/plan"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

const (
	// MaxAttempts is how often an operation is gone on with by itself without getting any further, over all boots. With the
	// pauses between attempts in one boot that is some 20 minutes, which outlasts most outages of a network.
	MaxAttempts = 10

	// firstPause and longestPause are those between attempts in one boot.
	firstPause   = 10 * time.Second
	longestPause = 5 * time.Minute
)

// Operation goes on with what is unfinished, below the guard.
type Operation func(ctx context.Context, g *Guard, settings json.RawMessage) error

// Resumer goes on with what is unfinished on this machine.
type Resumer struct {
	Dir        string               // the state folder
	Operations map[string]Operation // by the name of the command

	Idle func(why string) // told where there is nothing to do; nil: nobody is

	Root  string                                           // of /proc and /run; "" is this machine
	Log   *slog.Logger                                     // nil: none
	Pause func(ctx context.Context, d time.Duration) error // nil: backoff.Sleep
	Now   func() time.Time                                 // nil: time.Now
}

// Run waits until nobody else changes the machine, and then goes on with what is unfinished, if anything still is. What
// waits for a reboot or for a user is left alone until the next boot. It returns what the operation ends with, and
// [reason.NotResumed] where it does not get on.
func (r Resumer) Run(ctx context.Context) (err error) {
	if _, err := os.Stat(r.Dir); errors.Is(err, fs.ErrNotExist) { // it is not made for nothing
		r.idle("Nothing is installed here by pipeops-agent: there is no " + r.Dir)
		return nil
	}
	store, err := plan.OpenWait(ctx, r.Dir, "")
	if errors.Is(err, fs.ErrNotExist) { // there is nothing here, or nothing any more
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	pause := r.Pause
	if pause == nil {
		pause = backoff.Sleep
	}
	pauses := backoff.Backoff{Base: firstPause, Cap: longestPause}
	for last := error(nil); ; {
		u, err := ReadUnfinished(r.Dir)
		if err != nil {
			return reason.New(reason.NotResumed, "the note of what was to be done", err)
		}
		switch {
		case u == nil && last == nil:
			r.idle("Nothing to go on with: nothing was interrupted")
			return nil
		case u == nil:
			return nil
		case u.Waits != "" && u.WaitBoot == Boot(r.Root):
			r.idle("Nothing to go on with yet: the " + u.Command + " waits; pipeops-agent status says for what")
			return nil
		}
		if last, err = r.attempt(ctx, store, u, last); last == nil {
			return err
		}
		if err := pause(ctx, pauses.Next()); err != nil {
			return err
		}
	}
}

func (r Resumer) idle(why string) {
	if r.Idle != nil {
		r.Idle(why)
	}
}

// attempt goes on once. again is what makes another attempt worth while; without it err is the end.
func (r Resumer) attempt(ctx context.Context, store *plan.Store, u *Unfinished, last error) (again, err error) {
	if entries := store.Journal.Entries(); len(entries) > u.Journal {
		if name, state, open := store.Journal.Open(); !open && name == u.Command && (state == plan.RolledBack || state == plan.Stuck) {
			return nil, removeNote(r.Dir) // it had come to rest, and was killed before the note was gone
		}
	}
	operation, known := r.Operations[u.Command]
	if !known {
		return nil, reason.Newf(reason.NotResumed, "this version cannot go on with the command %q", u.Command)
	}
	if reached := store.Reached(); reached > u.Reached {
		u.Reached, u.Attempts = reached, 0
	}
	g := newGuard(store, r.Dir, u.Command)
	g.Root, g.Log, g.Now, g.alone, g.again = r.Root, r.Log, r.Now, true, last
	if u.Attempts >= MaxAttempts {
		err := reason.New(reason.NotResumed, fmt.Sprintf("it was tried %d times and got no further", u.Attempts), last)
		return nil, errors.Join(err, g.giveUp(err))
	}
	u.Attempts++
	if err := u.write(r.Dir); err != nil {
		return nil, err
	}
	g.found = u
	g.Settings = func() (json.RawMessage, error) { return u.Settings, nil }
	g.tellLogins(fmt.Sprintf("pipeops-agent: the %s of this machine is going on by itself; see pipeops-agent status.\n", u.Command))
	err = operation(ctx, g, u.Settings)
	if err != nil && ctx.Err() == nil && Transient(err) {
		return err, nil
	}
	return nil, err
}

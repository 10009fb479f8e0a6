package plan

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"
)

// UninstallPlan is the name under which the journal knows an uninstall.
const UninstallPlan = "uninstall"

// Uninstaller walks the ledger backwards. The zero values of Log, Now, OnEvent and Keep work.
type Uninstaller struct {
	Store   *Store
	Keep    func(path string) bool // what of a tree stays; nil keeps nothing
	Log     *slog.Logger           // nil: none
	Now     func() time.Time       // nil: time.Now
	OnEvent func(Event)            // one Started and one Done or Failed for each step, newest first
}

// Run undoes every change that is in force, the newest first, and returns what became of each. Files and folders that
// cannot be restored do not keep the others from it. A change that [Store.Undo] cannot undo does: what comes before it may
// still be in use. Stopped anywhere, the next Run goes on.
func (u *Uninstaller) Run(ctx context.Context) ([]Reversed, error) {
	now := u.Now
	if now == nil {
		now = time.Now
	}
	log := u.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	changes := u.Store.Ledger.Changes()
	if name, _, open := u.Store.Journal.Open(); len(changes) > 0 && (!open || name != UninstallPlan) {
		if err := u.Store.Journal.add(Entry{Time: now(), Plan: UninstallPlan, State: Planned}); err != nil {
			return nil, err
		}
	}
	var all []Reversed
	var errs []error
	slices.Reverse(changes)
	for len(changes) > 0 {
		step := changes[0].Step
		n := slices.IndexFunc(changes, func(c Record) bool { return c.Step != step })
		if n < 0 {
			n = len(changes)
		}
		start := now()
		u.tell(changes[0], Event{State: Started})
		reversed, fatal, err := u.step(ctx, now, changes[:n])
		all = append(all, reversed...)
		errs = append(errs, err)
		state := Done
		if err != nil {
			state = Failed
		}
		u.tell(changes[0], Event{State: state, Duration: now().Sub(start), Err: err})
		log.Info("step undone", "step", step, "duration", now().Sub(start), "err", err)
		if fatal {
			return all, errors.Join(errs...)
		}
		changes = changes[n:]
	}
	if err := errors.Join(errs...); err != nil {
		return all, err
	}
	if name, _, open := u.Store.Journal.Open(); open && name == UninstallPlan {
		return all, u.Store.Journal.add(Entry{Time: now(), Plan: UninstallPlan, State: Done})
	}
	return all, nil
}

// step undoes changes of one step. fatal says that nothing further may be undone.
func (u *Uninstaller) step(ctx context.Context, now func() time.Time, changes []Record) (all []Reversed, fatal bool, err error) {
	var errs []error
	for _, c := range changes {
		reversed, err := u.Store.reverse(ctx, now, c, u.Keep)
		if damaged := (*damagedError)(nil); errors.As(err, &damaged) { // no later call could do better
			reversed, err = u.Store.leave(now, c, damaged.Error())
		}
		if err != nil {
			errs = append(errs, err)
			if _, known := u.Store.Undo[c.Kind]; known || ctx.Err() != nil {
				return all, true, errors.Join(errs...)
			}
			continue
		}
		all = append(all, reversed)
	}
	return all, false, errors.Join(errs...)
}

func (u *Uninstaller) tell(c Record, e Event) {
	if u.OnEvent == nil {
		return
	}
	e.Step, e.Title = c.Step, c.Title
	u.OnEvent(e)
}

package plan

import (
	"context"
	"errors"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

// undoTimeout is what a step gets to be rolled back in: the longest part is the stop of a unit, 90 s by systemd's default.
const undoTimeout = 2 * time.Minute

// fail rolls the step back and returns what the run ends with: the cause, or [reason.StepNotRolledBack].
func (r *run) fail(ctx context.Context, s Step, start time.Time, cause error) error {
	ctx, cancel := context.WithTimeout(ctx, undoTimeout)
	defer cancel()
	r.tell(s, Event{State: Failed, Duration: r.now().Sub(start), Err: cause})
	r.log.Error("step failed", "step", s.ID, "duration", r.now().Sub(start), "err", cause)
	r.remember(s, Failed, start, cause)
	var err error
	if s.Undo != nil {
		err = s.Undo(ctx)
	}
	for _, c := range r.Store.Ledger.open(r.Store.Journal, s.ID) {
		reversed, undoErr := r.Store.reverse(ctx, r.now, c, nil)
		if behind := (*behindError)(nil); errors.As(undoErr, &behind) { // the machine is as before: whoever looks at it next sees so
			r.log.Warn("the ledger is behind", "step", s.ID, "target", c.Target, "err", behind.err)
			undoErr = nil
		}
		err = errors.Join(err, undoErr)
		for _, left := range reversed.Left {
			r.log.Warn("left alone", "what", left, "step", s.ID)
		}
	}
	if err == nil && s.Revive != nil {
		err = s.Revive(ctx)
	}
	if err != nil {
		r.remember(s, Stuck, start, err)
		return reason.New(reason.StepNotRolledBack, s.where(), errors.Join(cause, err))
	}
	r.remember(s, RolledBack, start, nil)
	if s.Prepare != nil || s.Do != nil { // else there was nothing to undo
		r.tell(s, Event{State: RolledBack, Duration: r.now().Sub(start)})
	}
	r.log.Info("step rolled back", "step", s.ID, "duration", r.now().Sub(start))
	return cause
}

// remember writes to the journal where a failure to do so, on a full disk say, must not stop the roll-back: the ledger
// and the machine itself tell the next run enough.
func (r *run) remember(s Step, state State, start time.Time, cause error) {
	if s.Do == nil {
		return
	}
	if err := r.journal(s, state, start, cause); err != nil {
		r.log.Warn("the journal is behind", "step", s.ID, "state", state, "err", err)
	}
}

// Package plan runs ordered steps that change a machine, so that they survive a crash at any point and can be undone.
// It knows nothing of Kubernetes.
package plan

import (
	"context"
	"time"
)

// Step is one unit of change, in phases: Prepare, Do, Prove, Commit. It may be stopped anywhere, by a crash too, and is then
// run again from the start: Done is asked first, and all phases must be safe to repeat. What the ledger holds of a step that
// fails before its Commit is undone. A phase that can only go on after something outside returns [Wait].
type Step struct {
	ID      string // lower-kebab, unique in its plan, stable over versions: the journal refers to it
	Title   string // for people: "Install the k3s binary"
	Changes []string
	Bytes   int64         // to download; 0 means none or unknown
	About   bool          // Bytes is a guess
	Timeout time.Duration // of each phase; 0 means DefaultTimeout

	// Done reports whether the machine already is as the step wants it. nil means: never, always run.
	Done func(ctx context.Context) (bool, error)
	// Prepare gets and checks what Do needs, and changes nothing but the agent's own state folder. nil means nothing.
	// progress is told how many bytes of a total, 0 if unknown, are there; often, and by several goroutines.
	Prepare func(ctx context.Context, progress func(done, total int64)) error
	// Do makes the change. Everything that it changes goes through the Recorder. nil means nothing to do.
	Do func(ctx context.Context, r *Recorder) error
	// Prove waits until the change has its effect. nil means nothing to prove.
	Prove func(ctx context.Context) error
	// Commit drops what only an undo would have needed, once the change is proved. nil means nothing.
	Commit func(ctx context.Context) error
	// Undo reverses what neither the ledger nor [Store.Undo] can, before the ledger's records are reversed.
	Undo func(ctx context.Context) error
	// Revive starts again what ran before and was stopped for the change, once a step that failed has been undone.
	Revive func(ctx context.Context) error
}

// DefaultTimeout is the time that each phase of a step gets if it names none.
const DefaultTimeout = 5 * time.Minute

// Plan is an ordered list of steps; the order is the order of execution.
type Plan struct {
	Name  string
	Steps []Step
}

// Event tells of the progress of a plan.
type Event struct {
	Step     string
	Title    string
	State    State
	Bytes    int64 // in Progress: done so far
	Total    int64 // in Progress: of so many; 0 if unknown
	Duration time.Duration
	Err      error
}

// State is the state of a step, in events and in the journal.
type State string

// The states. Unchanged and Progress are events only, all others are in the journal too. Planned, and Done without a step,
// are states of a plan.
const (
	Planned       State = "planned"
	Started       State = "started"
	Applied       State = "applied" // Do has returned
	Proved        State = "proved"  // and Prove too
	Done          State = "done"    // and Commit
	Unchanged     State = "unchanged"
	Progress      State = "progress"
	WaitingReboot State = "waiting-reboot"
	WaitingUser   State = "waiting-user"
	Failed        State = "failed"
	RolledBack    State = "rolled-back"
	Stuck         State = "stuck" // failed, and could not be rolled back
)

// WaitingError is the end of a run that goes on, with the same plan, once something outside has happened.
type WaitingError struct {
	For State // WaitingReboot or WaitingUser
	Err error // what is waited for
}

// Wait makes the error that a phase returns to wait. The step is not rolled back; the next run asks it again.
func Wait(what State, err error) error { return &WaitingError{For: what, Err: err} }

func (w *WaitingError) Error() string { return w.Err.Error() }
func (w *WaitingError) Unwrap() error { return w.Err }

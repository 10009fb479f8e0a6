// Package plan runs ordered steps that change a machine, so that they survive a crash at any point and can be undone.
// It knows nothing of Kubernetes.
package plan

import (
	"context"
	"time"
)

// Step is one unit of change. A step may be stopped anywhere, by a crash too, and is then run again from the start: Done
// is asked first, and Do must be safe to repeat.
type Step struct {
	ID      string // lower-kebab, unique in its plan, stable over versions: the journal refers to it
	Title   string // for people: "Install the k3s binary"
	Changes []string
	Bytes   int64         // to download, about; 0 means none or unknown
	Timeout time.Duration // for Do and Prove together; 0 means DefaultTimeout

	// Done reports whether the machine already is as the step wants it. nil means: never, always run Do.
	Done func(ctx context.Context) (bool, error)
	// Do makes the change. Everything that it changes goes through the Recorder. nil means nothing to do, only Prove.
	Do func(ctx context.Context, r *Recorder) error
	// Prove waits until the change has its effect. nil means nothing to prove.
	Prove func(ctx context.Context) error
	// Undo reverses what the ledger's own undo cannot (stop a unit, say), before the ledger's records are reversed.
	Undo func(ctx context.Context) error
}

// DefaultTimeout is the time that a step gets if it names none.
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

// The states. Planned to Failed are journalled; Progress and Unchanged are events only.
const (
	Planned    State = "planned"
	Started    State = "started"
	Applied    State = "applied" // Do has returned
	Done       State = "done"    // and Prove too
	Unchanged  State = "unchanged"
	Progress   State = "progress"
	Failed     State = "failed"
	RolledBack State = "rolled-back"
)

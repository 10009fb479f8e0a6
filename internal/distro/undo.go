package distro

import (
	"context"
	"errors"
	"path/filepath"

	"github.com/pipeopshq/pipeops-agent/internal/atomicfile"
	"github.com/pipeopshq/pipeops-agent/internal/bootstrap/plan"
)

// Kinds of changes that are undone by what this package knows. Their targets are names of units.
const (
	unitsRead   plan.Kind = "units-read" // the service manager has read files that were written
	unitEnabled plan.Kind = "unit-enabled"
	unitStarted plan.Kind = "unit-started"
)

// Undo returns how changes of this package's kinds are undone, for a [plan.Store]. Units must be set.
func (in Install) Undo() map[plan.Kind]func(context.Context, plan.Record) (plan.Op, error) {
	undone := func(do func(ctx context.Context, name string) error) func(context.Context, plan.Record) (plan.Op, error) {
		return func(ctx context.Context, c plan.Record) (plan.Op, error) { return plan.Undone, do(ctx, c.Target) }
	}
	return map[plan.Kind]func(context.Context, plan.Record) (plan.Op, error){
		unitsRead:   undone(func(ctx context.Context, _ string) error { return in.Units.Reload(ctx) }),
		unitEnabled: undone(in.Units.Disable),
		unitStarted: undone(func(ctx context.Context, name string) error {
			return errors.Join(in.Units.StopAll(ctx, name), in.Units.ResetFailed(ctx, name), atomicfile.Remove(in.stamp(name)))
		}),
	}
}

// stamp is the file that says what a unit was last started with.
func (in Install) stamp(name string) string { return filepath.Join(in.Dir, name+".started") }

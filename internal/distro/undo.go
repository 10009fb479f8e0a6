package distro

import (
	"context"
	"errors"
	"maps"
	"path/filepath"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/atomicfile"
	"github.com/pipeopshq/pipeops-agent/internal/bootstrap/plan"
	"github.com/pipeopshq/pipeops-agent/internal/remains"
)

// Kinds of changes that are undone by what this package knows. Their targets are names of units; those of [remains.All] have
// the data folder of k3s.
const (
	packageKind plan.Kind = "package"
	unitsRead   plan.Kind = "units-read" // the service manager has read files that were written
	unitEnabled plan.Kind = "unit-enabled"
	unitStarted plan.Kind = "unit-started"
)

// removeLimit bounds the removal of one kind of what k3s leaves: the slowest stops the slice of pods.
const removeLimit = 5 * time.Minute

// Undo returns how changes of this package's kinds are undone, for a [plan.Store]. Units must be set.
func (in Install) Undo() map[plan.Kind]func(context.Context, plan.Record) ([]string, error) {
	undone := func(do func(ctx context.Context, name string) error) func(context.Context, plan.Record) ([]string, error) {
		return func(ctx context.Context, c plan.Record) ([]string, error) { return nil, do(ctx, c.Target) }
	}
	all := map[plan.Kind]func(context.Context, plan.Record) ([]string, error){
		packageKind:  in.removePackages,
		unitsRead:    undone(func(ctx context.Context, _ string) error { return in.Units.Reload(ctx) }),
		unitEnabled:  in.unlessUsed(undone(in.Units.Disable)),
		openrcTraces: in.removeTraces,
		serviceTraces: func(ctx context.Context, c plan.Record) ([]string, error) {
			return in.logs(c.Target).Remove(ctx, c.Before.Names)
		},
		supervisorStarted: in.finish,
		unitStarted: in.unlessUsed(undone(func(ctx context.Context, name string) error {
			return errors.Join(in.Units.StopAll(ctx, name), in.Units.ResetFailed(ctx, name), atomicfile.Remove(in.stamp(name)))
		})),
	}
	maps.Copy(all, in.undoContainers())
	for _, thing := range remains.All(in.remains("")) {
		kind := thing.Kind
		all[plan.Kind(kind)] = func(ctx context.Context, c plan.Record) ([]string, error) {
			for _, t := range remains.All(in.remains(c.Target)) {
				if t.Kind == kind {
					ctx, cancel := context.WithTimeout(ctx, removeLimit)
					defer cancel()
					return t.Remove(ctx, c.Before.Names)
				}
			}
			return nil, nil
		}
	}
	return all
}

// stamp is the file that says what a unit was last started with.
func (in Install) stamp(name string) string { return filepath.Join(in.Dir, name+".started") }

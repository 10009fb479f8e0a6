package bootstrap

import (
	"context"
	"errors"

	"github.com/pipeopshq/pipeops-agent/internal/bootstrap/plan"
)

// below runs a command below a guard of its own; what goes on by itself yields to it.
func (o Options) below(ctx context.Context, command string, run func(Options, context.Context, *Guard) (int, error)) (changed int, err error) {
	store, took, err := o.open(ctx)
	if err != nil {
		return 0, named(err)
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	guard := newGuard(store, o.StateDir, command)
	guard.took = took
	return run(o, ctx, guard)
}

// apply makes the changes of a command, which wants this configuration of the agent, below its guard. It returns how many steps
// changed something, and the runner, for the proofs that follow.
func (o Options) apply(ctx context.Context, guard *Guard, command string, changes []plan.Step, config []byte) (runner *plan.Runner, changed int, err error) {
	if err := o.want(config); err != nil {
		return nil, 0, err
	}
	runner = &plan.Runner{Store: guard.Store, Log: o.Log, OnEvent: func(e plan.Event) { o.Events(stepEvent(e)) },
		Begin: func() error { return guard.Begin(ctx) }}
	result, err := runner.Run(ctx, plan.Plan{Name: command, Steps: changes})
	if err == nil {
		err = o.settle(config)
	}
	if err != nil {
		err = errors.Join(err, guard.withdraw(ctx, runner, err))
	}
	runner.Begin = nil
	return runner, len(result.Changed), err
}

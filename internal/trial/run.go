package trial

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"
)

// How Timeout is shared out: the trials may begin and work until trialsEnd, kernel modules are unloaded in what is left, and
// what does not come back when it is told to is waited for only so long. A trial takes some 10 ms, in a slow emulator
// whose kernel has to load modules a hundred times that.
const (
	trialsEnd    = 6 * time.Second
	defaultLimit = 3 * time.Second
	patience     = 300 * time.Millisecond
)

// Run runs all trials, one after the other, within [Timeout]. It tries this machine, and needs root. The error is not nil
// only if a trial could not be undone; the results are complete then too.
func Run(ctx context.Context, e Env) (Results, error) { return run(ctx, e, All()) }

func run(ctx context.Context, e Env, trials []Trial) (Results, error) {
	began := time.Now()
	working, cancel := context.WithTimeout(ctx, trialsEnd)
	defer cancel()
	results := Results{}
	var left []error
	var shelf shelf
	for _, t := range trials {
		var r Result
		var err error
		switch {
		case working.Err() != nil:
			err = fmt.Errorf("%w: %w", errNotTried, working.Err())
		case os.Geteuid() != 0: // what is denied to others says nothing of what root may do
			err = fmt.Errorf("%w: root is needed", errNotTried)
		case t.Limit != 0: // a slow one loads no modules, but others may while it runs
			r, err = bounded(working, t.Limit, func(ctx context.Context) (Result, error) { return t.Run(ctx, e) })
		default:
			before := loadedModules()
			r, err = bounded(working, defaultLimit, func(ctx context.Context) (Result, error) { return t.Run(ctx, e) })
			shelf.add(before, loadedModules())
		}
		results[t.Name] = result(r, err)
		if errors.Is(err, errNotUndone) {
			left = append(left, fmt.Errorf("cannot undo the trial %s: %w", t.Name, err))
		}
	}
	if shelf.empty() {
		return results, errors.Join(left...)
	}
	// also after a signal
	stuck, err := bounded(context.WithoutCancel(ctx), Timeout-patience-time.Since(began), func(ctx context.Context) (Result, error) {
		return Result{Detail: shelf.putAway(ctx)}, nil
	})
	if err != nil {
		left = append(left, fmt.Errorf("cannot unload kernel modules: %w", err))
	}
	if r, ok := results[ModuleLoad]; ok {
		r.Detail = join(r.Detail, stuck.Detail)
		results[ModuleLoad] = r
	}
	return results, errors.Join(left...)
}

// bounded runs one trial. A system call that hangs cannot be cancelled: its goroutine is left to it then, and since nobody
// knows what it will still do, the trial counts as not undone.
func bounded(ctx context.Context, limit time.Duration, do func(context.Context) (Result, error)) (Result, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	type outcome struct {
		result Result
		err    error
	}
	done := make(chan outcome, 1)
	go func() {
		r, err := do(ctx)
		done <- outcome{r, err}
	}()
	var o outcome
	select {
	case o = <-done:
		return o.result, o.err
	case <-ctx.Done():
	}
	grace := time.NewTimer(patience)
	defer grace.Stop()
	select {
	case o = <-done:
	case <-grace.C:
		return Result{}, fmt.Errorf("%w: it has not come back", errNotUndone)
	}
	if o.err != nil && !errors.Is(o.err, errNotUndone) { // it may have failed because its time was up
		o.err = fmt.Errorf("%w: %w", errNotTried, o.err)
	}
	return o.result, o.err
}

// join puts two remarks into one.
func join(a, b string) string {
	if a == "" || b == "" {
		return a + b
	}
	return a + "; " + b
}

package trial

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"
)

// How Timeout is shared out: the trials may begin and work until trialsEnd, kernel modules are put away after that, and
// one that does not come back when it is told to is waited for only so long.
const (
	trialsEnd    = 6500 * time.Millisecond
	defaultLimit = 1500 * time.Millisecond
	cleanUpLimit = time.Second
	patience     = 300 * time.Millisecond
)

// Run runs all trials, one after the other, within [Timeout]. It tries this machine, and needs root. The error is not nil
// only if a trial could not be undone; the results are complete then too.
func Run(ctx context.Context, e Env) (Results, error) { return run(ctx, e, All()) }

func run(ctx context.Context, e Env, trials []Trial) (Results, error) {
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
		default:
			before := loadedModules()
			r, err = bounded(working, limit(t), func(ctx context.Context) (Result, error) { return t.Run(ctx, e) })
			if t.Limit == 0 { // a slow one leaves time for others to load modules, and loads none
				shelf.add(before, loadedModules())
				shelf.clear()
			}
		}
		results[t.Name] = result(r, err)
		if errors.Is(err, errNotUndone) {
			left = append(left, fmt.Errorf("cannot undo the trial %s: %w", t.Name, err))
		}
	}
	if stuck := shelf.putAway(cleanUpLimit); stuck != "" {
		if r, ok := results[ModuleLoad]; ok {
			r.Detail = join(r.Detail, stuck)
			results[ModuleLoad] = r
		}
	}
	return results, errors.Join(left...)
}

func limit(t Trial) time.Duration {
	if t.Limit != 0 {
		return t.Limit
	}
	return defaultLimit
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
	select {
	case o := <-done:
		return o.result, o.err
	case <-ctx.Done():
	}
	grace := time.NewTimer(patience)
	defer grace.Stop()
	select {
	case o := <-done:
		return o.result, o.err
	case <-grace.C:
		return Result{}, fmt.Errorf("%w: it has not come back", errNotUndone)
	}
}

// join puts two remarks into one.
func join(a, b string) string {
	if a == "" || b == "" {
		return a + b
	}
	return a + "; " + b
}

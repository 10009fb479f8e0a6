package plan

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"sync"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

// Runner runs plans on a store. The zero values of Log, Now and OnEvent work.
type Runner struct {
	Store   *Store
	Log     *slog.Logger     // nil: none
	Now     func() time.Time // nil: time.Now
	OnEvent func(Event)      // called one at a time; must not block for long

	mu sync.Mutex
}

// Result lists the ids of steps by what became of them.
type Result struct {
	Changed   []string // were run
	Unchanged []string // were so already
	Proved    []string // change nothing, only prove
}

// Run runs the steps of the plan in order. A step that is already done is passed over; one that fails is rolled back and
// ends the run with [reason.StepFailed], or with the cause itself where that is a [reason.Error], and with
// [reason.StepNotRolledBack] where the machine could not be brought back. When ctx ends, the run stops where it is: the
// next one resumes there.
func (r *Runner) Run(ctx context.Context, p Plan) (Result, error) {
	var res Result
	if err := check(p); err != nil {
		return res, err
	}
	run := &run{Runner: r, plan: p, log: r.Log, now: r.Now, res: &res}
	if run.log == nil {
		run.log = slog.New(slog.DiscardHandler)
	}
	if run.now == nil {
		run.now = time.Now
	}
	for _, s := range p.Steps {
		if err := run.step(ctx, s); err != nil {
			return res, err
		}
	}
	return res, nil
}

// check finds faults of the program, not of the machine.
func check(p Plan) error {
	kebab := regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`)
	seen := map[string]bool{}
	for _, s := range p.Steps {
		if !kebab.MatchString(s.ID) || seen[s.ID] {
			return fmt.Errorf("plan %s: step id %q is not in kebab case or not unique", p.Name, s.ID)
		}
		seen[s.ID] = true
	}
	return nil
}

type run struct {
	*Runner
	plan    Plan
	log     *slog.Logger
	now     func() time.Time
	res     *Result
	planned bool
}

func (r *run) step(ctx context.Context, s Step) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("cannot start %s: %w", s.ID, err)
	}
	start := r.now()
	limit := s.Timeout
	if limit == 0 {
		limit = DefaultTimeout
	}
	sctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("not done within %v", limit))
	defer cancel()

	done, err := r.isDone(sctx, s)
	if err != nil {
		return r.explain(ctx, sctx, s, fmt.Errorf("cannot look whether it is done: %w", err))
	}
	before := r.Store.Journal.last(r.plan.Name, s.ID)
	stopped := before == Started || before == Failed // by a crash, in the middle of Do: what Done looks at may be only half of it
	if done && !stopped && before != Applied {
		r.res.Unchanged = append(r.res.Unchanged, s.ID)
		r.tell(s, Event{State: Unchanged, Duration: r.now().Sub(start)})
		r.log.Debug("step unchanged", "step", s.ID, "duration", r.now().Sub(start))
		return nil
	}
	if err := r.change(sctx, s, start, done && !stopped); err != nil {
		err = r.explain(ctx, sctx, s, err)
		if ctx.Err() != nil { // stopped from outside: what is done stays, and the next run goes on
			r.log.Info("step interrupted", "step", s.ID, "duration", r.now().Sub(start))
			return err
		}
		return r.fail(context.WithoutCancel(ctx), s, start, err)
	}
	return nil
}

// explain names the step, the end of the run or of the step's time, and makes of a cause without a code a
// [reason.StepFailed].
func (r *run) explain(ctx, sctx context.Context, s Step, cause error) error {
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("cannot finish step %s: %w", s.ID, errors.Join(ctx.Err(), cause))
	case sctx.Err() != nil:
		cause = fmt.Errorf("%w: %w", context.Cause(sctx), cause)
	}
	if known := (*reason.Error)(nil); errors.As(cause, &known) {
		return fmt.Errorf("cannot complete step %s: %w", s.ID, cause)
	}
	return reason.New(reason.StepFailed, s.where(), cause)
}

func (r *run) isDone(ctx context.Context, s Step) (bool, error) {
	if s.Done == nil {
		return false, nil
	}
	return s.Done(ctx)
}

// change runs the step; where it has been applied already, only its proof.
func (r *run) change(ctx context.Context, s Step, start time.Time, applied bool) error {
	r.tell(s, Event{State: Started})
	r.log.Info("step started", "step", s.ID)
	if s.Do == nil { // changes nothing: the journal needs not know
		if s.Prove != nil {
			if err := s.Prove(ctx); err != nil {
				return err
			}
		}
		r.res.Proved = append(r.res.Proved, s.ID)
		return r.finish(s, start)
	}
	since := len(r.Store.Journal.entries)
	if err := r.journal(s, Started, start, nil); err != nil {
		return err
	}
	if !applied {
		rec := &Recorder{store: r.Store, step: s.ID, since: since, now: r.now, emit: func(e Event) { r.tell(s, e) }}
		if err := s.Do(ctx, rec); err != nil {
			return err
		}
	}
	if s.Prove != nil {
		if err := r.journal(s, Applied, start, nil); err != nil {
			return err
		}
		r.tell(s, Event{State: Applied, Duration: r.now().Sub(start)})
		if err := s.Prove(ctx); err != nil {
			return err
		}
	}
	if err := r.journal(s, Done, start, nil); err != nil {
		return err
	}
	r.res.Changed = append(r.res.Changed, s.ID)
	return r.finish(s, start)
}

func (r *run) finish(s Step, start time.Time) error {
	d := r.now().Sub(start)
	r.tell(s, Event{State: Done, Duration: d})
	r.log.Info("step finished", "step", s.ID, "duration", d)
	return nil
}

func (r *run) journal(s Step, state State, start time.Time, cause error) error {
	if !r.planned {
		r.planned = true
		e := Entry{Time: r.now(), Plan: r.plan.Name, State: Planned}
		for _, s := range r.plan.Steps {
			e.Steps = append(e.Steps, s.ID)
		}
		if err := r.Store.Journal.add(e); err != nil {
			return err
		}
	}
	e := Entry{Time: r.now(), Plan: r.plan.Name, Step: s.ID, State: state}
	if state != Started {
		e.Millis = e.Time.Sub(start).Milliseconds()
	}
	if cause != nil {
		e.Error = cause.Error()
	}
	return r.Store.Journal.add(e)
}

func (r *run) tell(s Step, e Event) {
	if r.OnEvent == nil {
		return
	}
	e.Step, e.Title = s.ID, s.Title
	r.mu.Lock()
	defer r.mu.Unlock()
	r.OnEvent(e)
}

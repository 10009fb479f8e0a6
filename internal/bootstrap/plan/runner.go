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
	// Begin is called once in each Run, before the first step that prepares or changes something; nil does nothing.
	Begin func() error

	mu sync.Mutex
}

// Result lists the ids of steps by what became of them.
type Result struct {
	Changed   []string // were run
	Unchanged []string // were so already
	Proved    []string // change nothing, only prepare or prove
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
	return res, run.end()
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
	begun   bool
}

func (r *run) step(ctx context.Context, s Step) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("cannot start %s: %w", s.ID, err)
	}
	start := r.now()
	done := false
	err := phase(ctx, s, func(ctx context.Context) (err error) {
		if s.Done == nil {
			return nil
		}
		if done, err = s.Done(ctx); err != nil {
			return fmt.Errorf("cannot look whether it is done: %w", err)
		}
		return nil
	})
	if err != nil {
		return err
	}
	before := r.Store.Journal.last(r.plan.Name, s.ID)
	if done && !again(before) {
		r.res.Unchanged = append(r.res.Unchanged, s.ID)
		r.tell(s, Event{State: Unchanged, Duration: r.now().Sub(start)})
		r.log.Debug("step unchanged", "step", s.ID, "duration", r.now().Sub(start))
		return nil
	}
	if err := r.begin(s); err != nil {
		return err
	}
	r.tell(s, Event{State: Started})
	r.log.Info("step started", "step", s.ID)
	err = r.phases(ctx, s, start, done && !half(before))
	wait := (*WaitingError)(nil)
	switch {
	case err == nil:
		d := r.now().Sub(start)
		r.tell(s, Event{State: Done, Duration: d})
		r.log.Info("step finished", "step", s.ID, "duration", d)
		return nil
	case ctx.Err() != nil: // stopped from outside: what is done stays, and the next run goes on
		r.log.Info("step interrupted", "step", s.ID, "duration", r.now().Sub(start))
		return err
	case errors.As(err, &wait):
		r.tell(s, Event{State: wait.For, Duration: r.now().Sub(start), Err: err})
		r.log.Info("step waits", "step", s.ID, "for", wait.For, "err", err)
		return errors.Join(err, r.journal(s, wait.For, start, err))
	}
	return r.fail(context.WithoutCancel(ctx), s, start, err)
}

func (r *run) begin(s Step) error {
	if r.Begin == nil || r.begun || s.Prepare == nil && s.Do == nil {
		return nil
	}
	r.begun = true
	err := r.Begin()
	if known := (*reason.Error)(nil); err == nil || errors.As(err, &known) {
		return err
	}
	return reason.New(reason.StepFailed, s.where(), err)
}

// phases runs the step; where it has been applied already, only what comes after Do. A step that changes nothing leaves
// nothing in the journal.
func (r *run) phases(ctx context.Context, s Step, start time.Time, applied bool) error {
	if s.Prepare != nil && !applied {
		err := phase(ctx, s, func(ctx context.Context) error {
			return s.Prepare(ctx, newMeter(r.now, func(e Event) { r.tell(s, e) }).progress)
		})
		if err != nil {
			return err
		}
	}
	since := len(r.Store.Journal.entries)
	if s.Do != nil {
		if err := r.journal(s, Started, start, nil); err != nil {
			return err
		}
	}
	if s.Do != nil && !applied {
		rec := &Recorder{store: r.Store, step: s.ID, title: s.Title, since: since, now: r.now}
		if err := phase(ctx, s, func(ctx context.Context) error { return s.Do(ctx, rec) }); err != nil {
			return err
		}
	}
	if s.Prove != nil {
		if err := r.reached(s, Applied, start); err != nil {
			return err
		}
		if err := phase(ctx, s, s.Prove); err != nil {
			return err
		}
	}
	if s.Commit != nil {
		if err := r.reached(s, Proved, start); err != nil {
			return err
		}
		if err := phase(ctx, s, s.Commit); err != nil {
			return err
		}
	}
	if s.Do == nil {
		r.res.Proved = append(r.res.Proved, s.ID)
		return nil
	}
	r.res.Changed = append(r.res.Changed, s.ID)
	return r.journal(s, Done, start, nil)
}

// reached tells and records that a step which changes something has come to a state.
func (r *run) reached(s Step, state State, start time.Time) error {
	if s.Do == nil {
		return nil
	}
	r.tell(s, Event{State: state, Duration: r.now().Sub(start)})
	return r.journal(s, state, start, nil)
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

// end records that the plan has come to its end, where the journal knows of one that has not: this one, begun now or stopped
// before, or an uninstall that it has put an end to.
func (r *run) end() error {
	if len(r.Store.Journal.entries) == 0 || r.Store.Journal.ended() {
		return nil
	}
	return r.Store.Journal.add(Entry{Time: r.now(), Plan: r.plan.Name, State: Done})
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

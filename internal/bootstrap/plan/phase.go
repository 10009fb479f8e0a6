package plan

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

// limit is the time of each phase of the step.
func (s Step) limit() time.Duration {
	if s.Timeout == 0 {
		return DefaultTimeout
	}
	return s.Timeout
}

// phase runs one phase of a step within its time. Its error names the step, the end of the run or of the phase's time, and
// has a code: that of the cause, or [reason.StepFailed].
func phase(ctx context.Context, s Step, do func(ctx context.Context) error) error {
	limited, cancel := context.WithTimeoutCause(ctx, s.limit(), fmt.Errorf("not done within %v", s.limit()))
	defer cancel()
	err := do(limited)
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return fmt.Errorf("cannot finish step %s: %w", s.ID, errors.Join(ctx.Err(), err))
	case limited.Err() != nil:
		err = fmt.Errorf("%w: %w", context.Cause(limited), err)
	}
	if known := (*reason.Error)(nil); errors.As(err, &known) {
		return fmt.Errorf("cannot complete step %s: %w", s.ID, err)
	}
	return reason.New(reason.StepFailed, s.where(), err)
}

// where names the step as evidence.
func (s Step) where() string { return fmt.Sprintf("%s (%s)", s.Title, s.ID) }

package plan

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/command"
)

// Reversal is how a command undoes a change that has no file. It is in the ledger, so that an undo needs nothing but the ledger.
type Reversal struct {
	Check []string `json:"check,omitempty"` // argv that ends with 0 while the change is there; none: it is undone in any case
	Undo  []string `json:"undo"`            // argv
	Lax   bool     `json:"lax,omitempty"`   // a failure leaves the change as it is: somebody else may need it by now
}

// reversalLimit is for one command; the slowest removes packages.
const reversalLimit = 2 * time.Minute

// Act makes a change that has no file, such as a rule of a firewall, and that a command reverses. The caller has looked
// that it is not there.
func (r *Recorder) Act(kind Kind, target string, undo Reversal, do func() error) error {
	if len(undo.Undo) == 0 {
		return fmt.Errorf("cannot change %s: nothing would undo it", target)
	}
	return r.record(Record{
		Kind: kind, Target: target, Reversal: &undo,
		Before: &Image{Type: "note", Value: "absent"}, After: &Image{Type: "note", Value: "present"},
	}, do)
}

// undo runs the commands of a reversal.
func (s *Store) undo(ctx context.Context, v Reversal) (Op, error) {
	run := s.Run
	if run == nil {
		run = command.Run
	}
	if len(v.Check) > 0 {
		switch _, err := run(ctx, reversalLimit, v.Check...); {
		case errors.Is(err, context.DeadlineExceeded): // it does not say whether the change is there
			return Undone, err
		case err != nil:
			return Undone, ctx.Err() // it is gone already, or never came
		}
	}
	_, err := run(context.WithoutCancel(ctx), reversalLimit, v.Undo...) // what changes the machine is not killed in the middle
	if err != nil && v.Lax && ctx.Err() == nil {
		return Left, nil
	}
	return Undone, err
}

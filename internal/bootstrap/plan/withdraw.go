package plan

import (
	"context"
	"errors"
	"slices"
	"time"
)

// Withdraw undoes what a step has changed, though it was done and proved. The next run does it again.
func (r *Runner) Withdraw(ctx context.Context, step string) error {
	now := r.Now
	if now == nil {
		now = time.Now
	}
	var errs []error
	for _, c := range slices.Backward(r.Store.Ledger.Changes()) {
		if c.Step == step {
			_, err := r.Store.reverse(ctx, now, c, nil)
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

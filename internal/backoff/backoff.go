// Package backoff spaces out attempts so that many machines that lost the same gateway do not come back together.
package backoff

import (
	"context"
	"math/rand/v2"
	"time"
)

// Backoff gives the waits between attempts: decorrelated jitter, each wait drawn between Base and three times the one
// before, never above Cap. (Amazon's Architecture Blog, "Exponential Backoff And Jitter", measured it to need the least
// work of the server.) The zero value waits between 0.5 s and 60 s. It is for one goroutine.
type Backoff struct {
	Base time.Duration                       // 0 means 0.5 s
	Cap  time.Duration                       // 0 means 60 s
	Rand func(n time.Duration) time.Duration // nil draws from [0, n); for tests

	last time.Duration
}

// Next returns the time to wait before the next attempt.
func (b *Backoff) Next() time.Duration {
	base, limit := b.Base, b.Cap
	if base <= 0 {
		base = 500 * time.Millisecond
	}
	if limit <= 0 {
		limit = time.Minute
	}
	draw := b.Rand
	if draw == nil {
		draw = rand.N[time.Duration]
	}
	b.last = min(limit, base+draw(max(3*max(b.last, base)-base, 1)))
	return b.last
}

// Draw returns a time from [0, n), to spread what would happen at once; 0 if n is not positive.
func Draw(n time.Duration) time.Duration {
	if n <= 0 {
		return 0
	}
	return rand.N(n)
}

// Reset starts over, after success.
func (b *Backoff) Reset() { b.last = 0 }

// Max makes the waits that follow as long as they get, for a cause that time alone will not mend.
func (b *Backoff) Max() {
	b.last = b.Cap
	if b.last <= 0 {
		b.last = time.Minute
	}
}

// Sleep waits for d or until ctx ends, whichever is first; then it returns ctx's error.
func Sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

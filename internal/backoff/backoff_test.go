package backoff

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

func TestStaysWithinItsBounds(t *testing.T) {
	b := Backoff{Base: time.Second, Cap: 20 * time.Second}
	last := time.Second
	for i := range 1000 {
		d := b.Next()
		if d < time.Second || d > 20*time.Second || d > 3*last {
			t.Fatalf("wait %d is %s after %s", i, d, last)
		}
		last = d
	}
}

func TestGrowsToTheCapAndStartsOver(t *testing.T) {
	b := Backoff{Rand: func(n time.Duration) time.Duration { return n - 1 }}
	for range 10 {
		b.Next()
	}
	if d := b.Next(); d != time.Minute {
		t.Errorf("got %s, want the cap", d)
	}
	b.Reset()
	if d := b.Next(); d > 1500*time.Millisecond {
		t.Errorf("after a reset %s", d)
	}
	b.Max()
	if d := b.Next(); d != time.Minute {
		t.Errorf("after Max %s", d)
	}
}

func TestSleepEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		if err := Sleep(ctx, time.Hour); err != context.DeadlineExceeded || time.Since(start) != time.Second {
			t.Errorf("got %v after %s", err, time.Since(start))
		}
		if err := Sleep(t.Context(), time.Minute); err != nil || time.Since(start) != 61*time.Second {
			t.Errorf("got %v after %s", err, time.Since(start))
		}
	})
}

package link

import (
	"slices"
	"testing"
	"time"
)

func TestLine(t *testing.T) {
	start := time.Unix(1000, 0)
	after := func(ms float64) time.Time { return start.Add(time.Duration(ms * float64(time.Millisecond))) }
	l := line{config: Config{Delay: 25 * time.Millisecond, Rate: 12e6, Queue: 3 * time.Millisecond}} // 1500 bytes take 1 ms
	tests := []struct {
		at   float64 // ms
		size int
		want float64 // ms; 0 means that it is dropped
	}{
		{0, 1500, 26},  // sent at once
		{0, 1500, 27},  // waits for the first
		{0, 750, 27.5}, // half as large
		{0, 1500, 28.5},
		{0, 1500, 0}, // would wait 3.5 ms
		{0.5, 1500, 29.5},
		{0.5, 40, 0},       // small ones are no better off
		{100, 1500, 126},   // the queue has drained, and time in which nothing was sent is lost
		{100.5, 1500, 127}, // the one before is still being sent
	}
	for i, tt := range tests {
		got, ok := l.take(after(tt.at), tt.size)
		if tt.want == 0 {
			if ok {
				t.Errorf("packet %d is taken, for %s", i, got.Sub(start))
			}
			continue
		}
		if want := after(tt.want); !ok || got.Sub(want).Abs() > time.Microsecond {
			t.Errorf("packet %d: %v, arrives after %s, want %s", i, ok, got.Sub(start), want.Sub(start))
		}
	}
}

func TestRateHolds(t *testing.T) {
	l := line{config: Config{Rate: 100e6, Queue: 100 * time.Millisecond}}
	now := time.Unix(1000, 0)
	end := now.Add(10 * time.Second)
	var carried, dropped int
	for now.Before(end) { // 200 Mbit/s are offered
		if _, ok := l.take(now, 1500); ok {
			carried += 1500
		} else {
			dropped++
		}
		now = now.Add(60 * time.Microsecond)
	}
	if rate := float64(carried) * 8 / 10.1; rate < 99e6 || rate > 101e6 { // the queue still holds 0.1 s
		t.Errorf("carried %.1f Mbit/s", rate/1e6)
	}
	if dropped == 0 {
		t.Error("nothing was dropped")
	}
}

// TestLoss: so many are lost, on links of the same number the same ones whatever their sizes are, and of another number others.
func TestLoss(t *testing.T) {
	losses := func(number uint64, size int) (lost []int) {
		l := newLine(Config{Rate: 1e9, Queue: time.Second, Loss: 0.002, Losses: number})
		now := time.Unix(1000, 0)
		for i := range 100_000 {
			now = now.Add(time.Millisecond)
			if _, ok := l.take(now, size); !ok {
				lost = append(lost, i)
			}
		}
		if len(lost) < 150 || len(lost) > 250 {
			t.Errorf("%d of 100,000 are lost", len(lost))
		}
		return lost
	}
	first := losses(1, 1500)
	if again := losses(1, 40); !slices.Equal(again, first) {
		t.Errorf("%v, and then %v", first, again)
	}
	if other := losses(2, 1500); slices.Equal(other, first) {
		t.Error("another link loses the same")
	}
}

package link

import (
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"
)

// source gives packets, each after a time, and then ends.
type source struct {
	every time.Duration
	left  int
}

func (s *source) Read(p []byte) (int, error) {
	if s.left == 0 {
		return 0, io.EOF
	}
	time.Sleep(s.every)
	s.left--
	p[0] = byte(s.left)
	return 1500, nil
}

// sink notes when packets come, and the first byte of each.
type sink struct {
	came  []time.Duration
	first []byte
	began time.Time
}

func (s *sink) Write(p []byte) (int, error) {
	s.came = append(s.came, time.Since(s.began))
	s.first = append(s.first, p[0])
	return len(p), nil
}

func TestPumpDelaysInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		to := &sink{began: time.Now()}
		err := pump(&source{every: 10 * time.Millisecond, left: 3}, to, Config{Delay: 25 * time.Millisecond, Rate: 12e6, Queue: time.Second})
		if !errors.Is(err, io.EOF) {
			t.Errorf("ended with %v", err)
		}
		for i, want := range []time.Duration{36 * time.Millisecond, 46 * time.Millisecond, 56 * time.Millisecond} {
			if len(to.came) != 3 || to.came[i] != want || to.first[i] != byte(2-i) {
				t.Fatalf("came after %v, %v", to.came, to.first)
			}
		}
	})
}

func TestPumpDropsWhatWaitsTooLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		to := &sink{began: time.Now()}
		_ = pump(&source{left: 100}, to, Config{Rate: 12e6, Queue: 10 * time.Millisecond})
		if len(to.came) != 11 { // one is being sent, ten wait
			t.Errorf("%d came", len(to.came))
		}
	})
}

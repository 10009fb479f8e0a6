package mux

import (
	"sync"
	"sync/atomic"
	"time"
)

// deadline is a time at which whoever waits is woken, that can be moved.
type deadline struct {
	passed atomic.Bool
	mu     sync.Mutex
	timer  *time.Timer
}

// set moves the deadline; the zero time means none. Whoever waits for the signal is woken to look at it.
func (d *deadline) set(t time.Time, wake signal) {
	d.mu.Lock()
	defer d.mu.Unlock()
	defer wake.notify()
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
	rest := time.Until(t)
	d.passed.Store(!t.IsZero() && rest <= 0)
	if t.IsZero() || rest <= 0 {
		return
	}
	var timer *time.Timer
	timer = time.AfterFunc(rest, func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		if d.timer == timer { // else it was moved while this waited
			d.timer = nil
			d.passed.Store(true)
			wake.notify()
		}
	})
	d.timer = timer
}

// stop lets go of the timer.
func (d *deadline) stop() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
}

// signal wakes one who waits, or the next who does.
type signal chan struct{}

func (s signal) notify() {
	select {
	case s <- struct{}{}:
	default:
	}
}

package plan

import (
	"sync"
	"time"
)

// progressEvery is the least time between two events of progress: a terminal shows no more.
const progressEvery = 100 * time.Millisecond

// meter makes events of the bytes that a step has done, not more often than somebody can see.
type meter struct {
	now  func() time.Time
	emit func(Event)

	mu    sync.Mutex
	shown time.Time
}

func newMeter(now func() time.Time, emit func(Event)) *meter { return &meter{now: now, emit: emit} }

func (m *meter) progress(done, total int64) {
	m.mu.Lock()
	now := m.now()
	skip := now.Sub(m.shown) < progressEvery && (done != total || total == 0)
	if !skip {
		m.shown = now
	}
	m.mu.Unlock()
	if !skip {
		m.emit(Event{State: Progress, Bytes: done, Total: total})
	}
}

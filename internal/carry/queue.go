package carry

import (
	"sync"
	"sync/atomic"
	"time"
)

// Limits of what waits to be sent, per flow and direction. UDP is for those who would rather lose than wait.
const (
	// maxAge is how long a datagram may wait: a voice that is a quarter of a second late is of no use (ITU-T G.114 has 150 to 400 ms),
	// and who asked a question has not asked again yet.
	maxAge = 250 * time.Millisecond
	// maxWaiting bounds them in bytes: at 5,000 of 1,200 bytes each second, what comes in some 85 ms.
	maxWaiting = 512 << 10
	// datagramCost is what a datagram costs besides its bytes, so that empty ones are bounded, too.
	datagramCost = 64
)

// Budget bounds what waits in all flows of a process together, in bytes. Above it, flows drop the oldest of their own. nil has no bound.
type Budget struct {
	Most int64
	used atomic.Int64
}

func (b *Budget) add(n int) {
	if b != nil {
		b.used.Add(int64(n))
	}
}

func (b *Budget) over() bool { return b != nil && b.used.Load() > b.Most }

// queue holds whole records of datagrams that wait to be sent. The oldest goes where there is no room; what waited for too long is
// never sent.
type queue struct {
	budget *Budget
	wake   chan struct{} // has one in it when something was put

	mu      sync.Mutex
	waiting []waiting
	bytes   int
	dropped int64
	closed  bool
}

type waiting struct {
	record []byte
	since  time.Time
}

func newQueue(budget *Budget) *queue { return &queue{budget: budget, wake: make(chan struct{}, 1)} }

// put adds a record, which it keeps.
func (q *queue) put(record []byte) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return
	}
	cost := len(record) + datagramCost
	q.waiting = append(q.waiting, waiting{record, time.Now()})
	q.bytes += cost
	q.budget.add(cost)
	for len(q.waiting) > 1 && (q.bytes > maxWaiting || q.budget.over()) {
		q.shift()
		q.dropped++
	}
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// shift takes the oldest off. q.mu is held, and there is one.
func (q *queue) shift() []byte {
	record := q.waiting[0].record
	q.waiting[0] = waiting{}
	q.waiting = q.waiting[1:]
	if len(q.waiting) == 0 {
		q.waiting = nil // and the array behind it
	}
	cost := len(record) + datagramCost
	q.bytes -= cost
	q.budget.add(-cost)
	return record
}

// next returns the oldest that has not waited too long, and waits for it until done is closed; then it returns nil.
func (q *queue) next(done <-chan struct{}) []byte {
	for {
		q.mu.Lock()
		for len(q.waiting) > 0 {
			late := time.Since(q.waiting[0].since) > maxAge
			record := q.shift()
			if !late {
				q.mu.Unlock()
				return record
			}
			q.dropped++
		}
		q.mu.Unlock()
		select {
		case <-q.wake:
		case <-done:
			return nil
		}
	}
}

// close drops what waits, and returns how many datagrams were dropped in all.
func (q *queue) close() int64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	for len(q.waiting) > 0 {
		q.shift()
	}
	return q.dropped
}

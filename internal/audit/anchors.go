package audit

import (
	"sync"
	"time"
)

// AnchorEvery is how often the head of another chain is kept, at most: what came since the last one could be dropped unseen.
const AnchorEvery = 10 * time.Minute

// Anchors keeps the heads that other ends tell. The zero value is ready.
type Anchors struct {
	mu   sync.Mutex
	last map[string]anchored // by whose they are
}

type anchored struct {
	head Head
	at   time.Time
}

// Saw keeps a head in the log if there is news in it, and the last one is long enough ago.
func (a *Anchors) Saw(l *Log, of string, h Head, now time.Time) {
	if l == nil || !h.Valid() {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	before, known := a.last[of]
	if known && (now.Sub(before.at) < AnchorEvery || before.head.Chain == h.Chain && before.head.Own == h.Own) {
		return
	}
	if a.last == nil {
		a.last = map[string]anchored{}
	}
	a.last[of] = anchored{h, now}
	l.Anchor(of, h)
}

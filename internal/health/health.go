// Package health holds the conditions of the agent: services set them, the heartbeat and the local status read them.
package health

import (
	"sync"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

// The values of wire.Condition.Status.
const (
	True    = "True"
	False   = "False"
	Unknown = "Unknown"
)

// notReported is the reason of a condition that nobody has set.
const notReported = "NotReported"

// Tracker holds the present conditions. The zero value is ready; all methods may be called concurrently.
type Tracker struct {
	Now func() time.Time // nil means time.Now

	mu      sync.Mutex
	set     map[string]wire.Condition
	changed chan struct{} // closed at the next change; nil if nobody waits
}

// Set records a condition. Since moves only when the status changes, so that it tells how long a thing has been so.
func (t *Tracker) Set(kind, status, reason, message string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	old, known := t.set[kind]
	c := wire.Condition{Type: kind, Status: status, Reason: reason, Message: message, Since: old.Since}
	if known && c == old {
		return
	}
	if !known || old.Status != status {
		c.Since = t.now()
	}
	t.put(c)
}

// Keep records a condition as it was proved at the time in Checked, here or by another process. One that is older than what is
// known already is ignored, unless that is of a time which is still to come: the clock was ahead.
func (t *Tracker) Keep(c wire.Condition) {
	t.mu.Lock()
	defer t.mu.Unlock()
	old, known := t.set[c.Type]
	if known && !c.Checked.After(old.Checked) && !old.Checked.After(t.now()) {
		return
	}
	if known && old.Status == c.Status && !old.Since.IsZero() && old.Since.Before(c.Since) {
		c.Since = old.Since
	}
	t.put(c)
}

// put must be called with the lock held.
func (t *Tracker) put(c wire.Condition) {
	if t.set == nil {
		t.set = map[string]wire.Condition{}
	}
	t.set[c.Type] = c
	if t.changed != nil {
		close(t.changed)
		t.changed = nil
	}
}

// Get returns a condition; one that nobody has set is Unknown.
func (t *Tracker) Get(kind string) wire.Condition {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.get(kind)
}

func (t *Tracker) get(kind string) wire.Condition {
	if c, ok := t.set[kind]; ok {
		return c
	}
	return wire.Condition{Type: kind, Status: Unknown, Reason: notReported}
}

// Conditions returns all declared conditions in their order, and a channel that is closed at the next change.
func (t *Tracker) Conditions() ([]wire.Condition, <-chan struct{}) {
	t.mu.Lock()
	defer t.mu.Unlock()
	var list []wire.Condition
	for _, c := range All() {
		list = append(list, t.get(c.Type))
	}
	if t.changed == nil {
		t.changed = make(chan struct{})
	}
	return list, t.changed
}

func (t *Tracker) now() time.Time {
	if t.Now != nil {
		return t.Now()
	}
	return time.Now()
}

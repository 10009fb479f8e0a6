package mux

import (
	"context"
	"time"
)

// The number of a ping means nothing to a stock peer, which returns it. One with the highest bit is a probe: it has the promise in the
// seven bits after it, in seconds, and counts in the rest. Those of Ping count up from 1.
const (
	probeBit     = 1 << 31
	promiseShift = 24
	promiseMask  = 1<<7 - 1
	countMask    = 1<<promiseShift - 1
)

const (
	// rttEvery is how often the round trip is measured while much comes: the windows depend on it.
	rttEvery = 10 * time.Second
	// receiptAfter is how long an end that hears data may say nothing. Who sends much on a slow path, to one who does not read it, waits
	// for its pings as long as for all that goes before them, and must hear meanwhile that it arrives.
	receiptAfter = 2 * time.Second
	// receiptFrom is how much data that takes, in bytes: what waits behind less is not late on any path.
	receiptFrom = 4 << 10
)

// Ping makes a round trip and returns the time that it took, waiting in the queue included.
func (s *Session) Ping(ctx context.Context) (time.Duration, error) {
	took, err := s.first.ping(ctx)
	if err == nil {
		s.rtt.Store(int64(took))
	}
	return took, err
}

// ping makes a round trip on one connection.
func (l *lane) ping(ctx context.Context) (time.Duration, error) {
	s := l.session
	answered := make(chan struct{})
	s.mu.Lock()
	if s.cause != nil {
		defer s.mu.Unlock()
		return 0, s.cause
	}
	s.pingID = s.pingID%(probeBit-1) + 1
	id := s.pingID
	s.pings[id] = answered
	l.say(header{kind: typePing, flags: flagSYN, length: id})
	began := time.Now()
	l.flush(nil)
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.pings, id)
		s.mu.Unlock()
	}()
	select {
	case <-answered:
		return time.Since(began), nil
	case <-ctx.Done():
		return 0, ctx.Err()
	case <-l.gone:
		return 0, ErrLane
	case <-s.done:
		return 0, s.Err()
	}
}

// Probe sends a ping and does not wait for the answer, which shows in Heard and RTT. By it this end promises to be silent for so many
// whole seconds at most, up to 127; 0 promises nothing.
func (s *Session) Probe(promise time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cause != nil {
		return
	}
	now := time.Now()
	s.probed.Store(s.clock(now))
	if s.asked.IsZero() { // else the same is sent again: the time to its answer is that since the first
		s.probes = (s.probes + 1) & countMask
		s.asked = now
	}
	number := probeBit | uint32(min(promise/time.Second, promiseMask))<<promiseShift | s.probes
	s.first.say(header{kind: typePing, flags: flagSYN, length: number})
	s.first.flush(nil)
}

// pinged answers a ping, or takes the answer to one.
func (l *lane) pinged(h header) {
	s := l.session
	s.mu.Lock()
	defer s.mu.Unlock()
	probe := h.length&probeBit != 0
	switch {
	case h.flags&flagSYN != 0:
		if seconds := h.length >> promiseShift & promiseMask; probe && seconds > 0 {
			s.promised.Store(int64(seconds) * int64(time.Second))
		}
		l.say(header{kind: typePing, flags: flagACK, length: h.length})
		l.answer()
	case probe:
		if !s.asked.IsZero() && h.length&countMask == s.probes {
			s.rtt.Store(int64(max(1, time.Since(s.asked))))
			s.asked = time.Time{}
		}
	default:
		if answered, ok := s.pings[h.length]; ok {
			delete(s.pings, h.length)
			close(answered)
		}
	}
}

// clock is a time as heard, said and probed hold it.
func (s *Session) clock(t time.Time) int64 { return int64(t.Sub(s.epoch)) }

// hear notes that something came, after the newest probe even where the clock has not moved since.
func (l *lane) hear() (now int64) {
	if !l.first() {
		l.heard.Store(true)
		return 0
	}
	s := l.session
	now = s.clock(time.Now())
	s.heard.Store(max(now, s.probed.Load()+1))
	return now
}

// receipt tells the peer that the n bytes which came arrive, where it was told nothing else. Few bytes are not worth it. Only who receives
// calls it.
func (l *lane) receipt(now int64, n int) {
	if !l.first() {
		return // who waits for pings waits on the first connection
	}
	s := l.session
	if s.owed += n; now-s.said.Load() <= int64(receiptAfter) {
		s.owed = 0
	}
	if s.owed >= receiptFrom {
		s.owed = 0
		s.probeAfter(receiptAfter, now)
	}
}

// probeAfter sends a probe where the last one was so long ago.
func (s *Session) probeAfter(pause time.Duration, now int64) {
	if last := s.probed.Load(); now-last > int64(pause) && s.probed.CompareAndSwap(last, now) {
		s.Probe(0)
	}
}

// RTT is what the newest ping or probe took; 0 before the first answer.
func (s *Session) RTT() time.Duration { return time.Duration(s.rtt.Load()) }

// measured is RTT. It has it measured anew where that was long ago, by an end that does not ping, too.
func (s *Session) measured(now time.Time) time.Duration {
	s.probeAfter(rttEvery, s.clock(now))
	return s.RTT()
}

// Heard is when the newest byte came from the peer.
func (s *Session) Heard() time.Time { return s.epoch.Add(time.Duration(s.heard.Load())) }

// Said is when this end last began to write.
func (s *Session) Said() time.Time { return s.epoch.Add(time.Duration(s.said.Load())) }

// Promised is how long the peer will be silent at most, by its own word; 0 if it gave none.
func (s *Session) Promised() time.Duration { return time.Duration(s.promised.Load()) }

package plan

import (
	"fmt"
	"path/filepath"
	"time"
)

// ReadJournal reads the journal of the store in dir without its lock, and changes nothing. Where there is none, it is empty.
func ReadJournal(dir string) (*Journal, error) {
	j := &Journal{}
	if err := peek(filepath.Join(dir, "journal.jsonl"), journalFormat, j.take); err != nil {
		return nil, fmt.Errorf("cannot read the journal: %w", err)
	}
	return j, nil
}

// Reached counts the different states that steps have come to, and that changes have: recorded, made, undone. It grows only
// where a run gets on: one that fails at the same place again and again, and is undone each time, leaves it as it is.
func (s *Store) Reached() int {
	type point struct{ plan, step, kind, target, state string }
	seen := map[point]bool{}
	for _, e := range s.Journal.entries {
		seen[point{plan: e.Plan, step: e.Step, state: string(e.State)}] = true
	}
	for _, c := range s.Ledger.changes {
		states := []Op{Change}
		switch s.Ledger.state[c.ID] {
		case Made:
			states = append(states, Made)
		case Undone, Left:
			states = append(states, Made, Undone)
		}
		for _, state := range states {
			seen[point{step: c.Step, kind: string(c.Kind), target: c.Target, state: string(state)}] = true
		}
	}
	return len(seen)
}

// Rest records that a plan has come to rest outside of its steps: it waits, or cannot go on (Stuck).
func (s *Store) Rest(now time.Time, plan string, state State, cause error) error {
	e := Entry{Time: now, Plan: plan, State: state}
	if cause != nil {
		e.Error = cause.Error()
	}
	return s.Journal.add(e)
}

// CrashPoints has a function called before and after each write of journal and ledger, so that a test can stop there.
func (s *Store) CrashPoints(point func()) { s.Journal.lines.point, s.Ledger.lines.point = point, point }

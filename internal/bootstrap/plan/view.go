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

// Reached counts the different states that steps have come to, and the records of changes. It grows only where a run gets
// on: one that fails at the same place again and again leaves it as it is.
func (s *Store) Reached() int {
	type state struct {
		plan, step string
		state      State
	}
	seen := map[state]bool{}
	for _, e := range s.Journal.entries {
		seen[state{e.Plan, e.Step, e.State}] = true
	}
	n := len(seen) + len(s.Ledger.changes)
	for _, op := range s.Ledger.state {
		if op != Change {
			n++
		}
	}
	return n
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

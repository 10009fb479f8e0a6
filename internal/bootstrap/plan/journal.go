package plan

import (
	"encoding/json"
	"fmt"
	"time"
)

// Entry is a record of the journal: a step has reached a state.
type Entry struct {
	Time   time.Time `json:"time"`
	Plan   string    `json:"plan"`
	Step   string    `json:"step,omitempty"`
	State  State     `json:"state"`
	Steps  []string  `json:"steps,omitempty"`  // with Planned: what the plan is made of
	Millis int64     `json:"millis,omitempty"` // since the step started
	Error  string    `json:"error,omitempty"`
}

// Journal is the record of what steps went through. It is durable entry by entry.
type Journal struct {
	lines   *lines
	entries []Entry
}

func openJournal(path string) (*Journal, error) {
	j := &Journal{}
	l, err := openLines(path, journalFormat, j.take)
	if err != nil {
		return nil, err
	}
	j.lines = l
	return j, nil
}

const journalFormat = "pipeops-journal"

func (j *Journal) take(line []byte) error {
	var e Entry
	if err := json.Unmarshal(line, &e); err != nil {
		return err
	}
	j.entries = append(j.entries, e)
	return nil
}

// Entries returns the journal from its beginning.
func (j *Journal) Entries() []Entry { return j.entries }

func (j *Journal) add(e Entry) error {
	if err := j.lines.append(e, true); err != nil {
		return fmt.Errorf("cannot write the journal: %w", err)
	}
	j.entries = append(j.entries, e)
	return nil
}

// last returns the newest state of a step, "" if it never ran.
func (j *Journal) last(plan, step string) State {
	for i := len(j.entries) - 1; i >= 0; i-- {
		if e := j.entries[i]; e.Plan == plan && e.Step == step {
			return e.State
		}
	}
	return ""
}

// Open returns the plan that was begun last, and the state that it has reached, if it is to go on: it has neither come to
// its end, nor has a step failed and been rolled back, or got stuck.
func (j *Journal) Open() (plan string, state State, open bool) {
	if len(j.entries) == 0 {
		return "", "", false
	}
	last := j.entries[len(j.entries)-1]
	switch {
	case last.State == RolledBack, last.State == Stuck, last.State == Done && last.Step == "":
		return last.Plan, last.State, false
	}
	return last.Plan, last.State, true
}

// ended reports whether the last that happened is that a plan came to its end.
func (j *Journal) ended() bool {
	return len(j.entries) > 0 && j.entries[len(j.entries)-1].Step == "" && j.entries[len(j.entries)-1].State == Done
}

// settled reports whether the step has been done since the entry of the given number.
func (j *Journal) settled(step string, since int) bool {
	for _, e := range j.entries[min(since, len(j.entries)):] {
		if e.Step == step && e.State == Done {
			return true
		}
	}
	return false
}

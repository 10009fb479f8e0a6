package plan

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"
)

// Op says what a record of the ledger tells.
type Op string

// The operations. Only Change is waited for: all others can be found out again by looking at the target.
const (
	Change Op = "change" // the target is about to be changed
	Made   Op = "made"   // it has been changed
	Undone Op = "undone" // it is again as before
	Left   Op = "left"   // it was to be undone, but somebody else has changed it since: left alone
)

// Kind says what a target is.
type Kind string

// The kinds that the ledger can reverse by itself; any other is a note, which its Reversal undoes, or [Store.Undo], or the
// step's own Undo.
const (
	File  Kind = "file"  // a regular file, a symbolic link or nothing, at a path
	Dir   Kind = "dir"   // a folder; reversed only while it is empty
	Value Kind = "value" // a file of the kernel, written in place: a sysctl
	Tree  Kind = "tree"  // a folder that a service of ours fills, with all that is in it but what was there before
)

// Record is a line of the ledger. ID counts the changes from 1; Made, Undone and Left repeat the ID of theirs.
type Record struct {
	Time   time.Time `json:"time"`
	Op     Op        `json:"op"`
	ID     int       `json:"id"`
	Step   string    `json:"step,omitempty"`
	Title  string    `json:"title,omitempty"` // of the step, for people
	Since  int       `json:"since,omitempty"` // length of the journal when the step started
	Kind   Kind      `json:"kind,omitempty"`
	Target string    `json:"target,omitempty"`
	Before *Image    `json:"before,omitempty"`
	After  *Image    `json:"after,omitempty"`

	Reversal *Reversal `json:"reversal,omitempty"` // of a note that commands reverse
	Unless   []string  `json:"unless,omitempty"`   // a tree stays as long as one of these files is there
}

// Ledger is the record of every change, written before it is made.
type Ledger struct {
	lines   *lines
	changes []Record   // ID n is at n-1
	state   map[int]Op // newest, by ID
}

func openLedger(path string) (*Ledger, error) {
	l := &Ledger{state: map[int]Op{}}
	lines, err := openLines(path, ledgerFormat, l.read)
	if err != nil {
		return nil, err
	}
	l.lines = lines
	return l, nil
}

const ledgerFormat = "pipeops-ledger"

// read takes a line of the file.
func (l *Ledger) read(line []byte) error {
	var r Record
	if err := json.Unmarshal(line, &r); err != nil {
		return err
	}
	return l.take(r)
}

func (l *Ledger) take(r Record) error {
	switch {
	case r.Op == Change && r.ID == len(l.changes)+1 && r.Before != nil && r.After != nil:
		l.changes = append(l.changes, r)
	case r.Op == Change || r.ID < 1 || r.ID > len(l.changes):
		return fmt.Errorf("record %s of change %d does not follow", r.Op, r.ID)
	}
	l.state[r.ID] = r.Op
	return nil
}

// fullLedger is where no change is taken any more, in bytes: what is left to [maxLines] is for the last one and for the records
// of the undoing.
const fullLedger = maxLines / 2

func (l *Ledger) add(r Record) error {
	if r.Op == Change && l.lines.size >= fullLedger {
		return fmt.Errorf("cannot write the ledger: it is full, with %d bytes; uninstall can still read it", l.lines.size)
	}
	if err := l.lines.append(r, r.Op == Change); err != nil {
		return fmt.Errorf("cannot write the ledger: %w", err)
	}
	return l.take(r)
}

// Changes returns the changes that have not been undone, oldest first.
func (l *Ledger) Changes() []Record {
	var out []Record
	for _, c := range l.changes {
		if s := l.state[c.ID]; s == Change || s == Made {
			out = append(out, c)
		}
	}
	return out
}

// open returns the changes of a step that it has not brought to an end, newest first.
func (l *Ledger) open(j *Journal, step string) []Record {
	var out []Record
	for _, c := range slices.Backward(l.Changes()) {
		if c.Step == step && !j.settled(step, c.Since) {
			out = append(out, c)
		}
	}
	return out
}

package plan

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/pipeopshq/pipeops-agent/internal/atomicfile"
)

// Peek returns the changes that are in force by the ledger of a store, oldest first, and changes nothing, not even the lock:
// a run may be adding to them meanwhile. Without a store there are none.
func Peek(dir string) ([]Record, error) {
	l := &Ledger{state: map[int]Op{}}
	if err := peek(filepath.Join(dir, "ledger.jsonl"), ledgerFormat, l.read); err != nil {
		return nil, fmt.Errorf("cannot read the ledger: %w", err)
	}
	return l.Changes(), nil
}

// peek reads a file of lines that may be written to meanwhile. A file that is not there has none.
func peek(path, format string, each func([]byte) error) error {
	data, err := atomicfile.Read(path, maxLines)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		_, err = parseLines(data, format, each)
	}
	return err
}

// Left returns the changes that were to be undone and are not, since somebody else has changed them or needs them.
func (l *Ledger) Left() []Record {
	var out []Record
	for _, c := range l.changes {
		if l.state[c.ID] == Left {
			out = append(out, c)
		}
	}
	return out
}

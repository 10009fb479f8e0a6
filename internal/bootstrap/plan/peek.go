package plan

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// Peek returns the changes that are in force by the ledger of a store, oldest first, and changes nothing, not even the lock:
// a run may be adding to them meanwhile. Without a store there are none.
func Peek(dir string) ([]Record, error) {
	path := filepath.Join(dir, "ledger.jsonl")
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read the ledger: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxLines+1))
	if err == nil && len(data) > maxLines {
		err = fmt.Errorf("it is larger than %d bytes", maxLines)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read the ledger %s: %w", path, err)
	}
	l := &Ledger{state: map[int]Op{}}
	for n := 1; len(data) > 0; n++ {
		line, rest, ended := bytes.Cut(data, []byte("\n"))
		data = rest
		if !ended || len(rest) == 0 && !json.Valid(line) { // the last line is being written, or was torn
			break
		}
		var r Record
		if n == 1 {
			err = checkHeader(line, "pipeops-ledger")
		} else if err = json.Unmarshal(line, &r); err == nil {
			err = l.take(r)
		}
		if err != nil {
			return nil, fmt.Errorf("cannot read the ledger %s: line %d: %w", path, n, err)
		}
	}
	return l.Changes(), nil
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

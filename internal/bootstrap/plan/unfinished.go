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

// Unfinished returns the ids of the steps that the last run of a plan has begun and not brought to an end: they are run again
// whatever their Done says. It reads the journal in dir without its lock and changes nothing; where there is no journal, no step
// is unfinished. A line that is not whole is one that is being written.
func Unfinished(dir, plan string) (map[string]bool, error) {
	f, err := os.Open(filepath.Join(dir, "journal.jsonl"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read the journal: %w", err)
	}
	defer f.Close()
	content, err := io.ReadAll(io.LimitReader(f, maxLines))
	if err != nil {
		return nil, fmt.Errorf("cannot read the journal: %w", err)
	}
	open := map[string]bool{}
	for line := range bytes.Lines(content) {
		var e Entry
		if json.Unmarshal(line, &e) == nil && e.Plan == plan && e.Step != "" {
			open[e.Step] = e.State != Done && e.State != RolledBack
		}
	}
	return open, nil
}

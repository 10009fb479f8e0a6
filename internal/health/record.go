package health

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/pipeopshq/pipeops-agent/internal/atomicfile"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

// RecordFile is the name of the record in the state folder of the agent.
const RecordFile = "health.json"

const (
	recordVersion = 1
	maxRecord     = 64 << 10 // bytes; a record has about 2 KiB
	maxReason     = 64       // bytes of a reason that are kept
	maxText       = 512      // bytes of a message that are kept; all of them in the longest escapes of JSON fit into a record
)

// Record is what was proved and is not looked at all the time: it outlives the process that proved it. The zero value is
// an empty one.
type Record struct {
	Version    int              `json:"version"`
	Conditions []wire.Condition `json:"conditions"` // each with the time at which it was checked
}

// ParseRecord reads a record. Conditions that are not declared, or have no time, are left out: another version wrote them.
func ParseRecord(content []byte) (Record, error) {
	var r Record
	if len(content) > maxRecord {
		return Record{}, fmt.Errorf("cannot read the record of health: more than %d bytes", maxRecord)
	}
	if err := json.Unmarshal(content, &r); err != nil {
		return Record{}, fmt.Errorf("cannot read the record of health: %w", err)
	}
	if r.Version != recordVersion {
		return Record{}, fmt.Errorf("cannot read the record of health: version %d is not %d", r.Version, recordVersion)
	}
	kept := Record{Version: recordVersion}
	for _, c := range r.Conditions {
		kept = kept.With(c)
	}
	return kept, nil
}

// LoadRecord reads the record at path; one that is not there is empty.
func LoadRecord(path string) (Record, error) {
	content, err := atomicfile.Read(path, maxRecord)
	if errors.Is(err, os.ErrNotExist) {
		return Record{}, nil
	}
	if err != nil {
		return Record{}, fmt.Errorf("cannot read the record of health: %w", err)
	}
	return ParseRecord(content)
}

// Save writes the record to path, for root only.
func (r Record) Save(path string) error {
	content, err := r.encode()
	if err != nil {
		return err
	}
	return atomicfile.Write(path, 0o600, content)
}

func (r Record) encode() ([]byte, error) {
	r.Version = recordVersion
	content, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("cannot encode the record of health: %w", err)
	}
	return append(content, '\n'), nil
}

// With returns a copy in which c stands for its type. Since stays where the status does.
func (r Record) With(c wire.Condition) Record {
	declared := slices.ContainsFunc(All(), func(d Condition) bool { return d.Type == c.Type })
	if !declared || c.Checked.IsZero() || c.Status != True && c.Status != False && c.Status != Unknown {
		return r
	}
	c.Reason, c.Message = shorten(c.Reason, maxReason), shorten(c.Message, maxText)
	if c.Since.IsZero() {
		c.Since = c.Checked
	}
	list := slices.Clone(r.Conditions)
	for i, old := range list {
		if old.Type == c.Type {
			if old.Status == c.Status && old.Since.Before(c.Since) {
				c.Since = old.Since
			}
			list[i] = c
			return Record{Version: recordVersion, Conditions: list}
		}
	}
	return Record{Version: recordVersion, Conditions: append(list, c)}
}

// Get returns the condition of a type; ok is false if there is none.
func (r Record) Get(kind string) (c wire.Condition, ok bool) {
	i := slices.IndexFunc(r.Conditions, func(c wire.Condition) bool { return c.Type == kind })
	if i < 0 {
		return wire.Condition{Type: kind, Status: Unknown, Reason: notReported}, false
	}
	return r.Conditions[i], true
}

func shorten(text string, most int) string {
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "")
	}
	return text
}

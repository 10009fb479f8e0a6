// Package baseline is how a machine was before the first install, so that after an uninstall the difference can be told. What
// is compared is a literal list; what changes by itself, such as load, free memory, the time and process ids, is not on it.
package baseline

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/atomicfile"
)

const (
	format = "pipeops-baseline"
	// version is that of the document. One of a newer version is refused, not guessed at.
	version = 1
	// maxDocument bounds what is read, in bytes: a server with 3000 packages has some 300 KiB.
	maxDocument = 16 << 20
	// maxEntries bounds one list.
	maxEntries = 100_000
)

// Baseline is a snapshot of a machine.
type Baseline struct {
	Format  string    `json:"format"`
	Version int       `json:"version"`
	Taken   time.Time `json:"taken"`
	// Seen has a sorted list of NAME or NAME=VALUE for each kind of [Kinds]. A kind that could not be seen is not there.
	Seen map[string][]string `json:"seen"`
	// Facts are the facts of the machine at that time. They are kept for people, and not compared.
	Facts json.RawMessage `json:"facts,omitempty"`
}

// Write keeps the baseline in a file for root only.
func (b Baseline) Write(path string) error {
	raw, err := json.Marshal(b)
	if err == nil {
		err = atomicfile.Write(path, 0o600, append(raw, '\n'))
	}
	if err != nil {
		return fmt.Errorf("cannot keep how this machine was: %w", err)
	}
	return nil
}

// Read reads a baseline; nil if there is none.
func Read(path string) (*Baseline, error) {
	raw, err := atomicfile.Read(path, maxDocument)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read how this machine was: %w", err)
	}
	b, err := parse(raw)
	if err != nil {
		return nil, fmt.Errorf("cannot use %s: %w", path, err)
	}
	return &b, nil
}

func parse(raw []byte) (Baseline, error) {
	var b Baseline
	if len(raw) > maxDocument {
		return b, fmt.Errorf("it is larger than %d bytes", maxDocument)
	}
	if err := json.NewDecoder(bytes.NewReader(raw)).Decode(&b); err != nil {
		return b, err
	}
	if b.Format != format || b.Version < 1 {
		return b, errors.New("it is no baseline")
	}
	if b.Version > version {
		return b, fmt.Errorf("it has version %d, this program knows version %d", b.Version, version)
	}
	for kind, list := range b.Seen {
		if len(list) > maxEntries {
			return b, fmt.Errorf("its list of %s has %d entries, more than %d", kind, len(list), maxEntries)
		}
	}
	return b, nil
}

// Difference is one thing that is not as it was. Before is empty for what came, Now for what went, unless it has values.
type Difference struct {
	Kind   string `json:"kind"`
	Name   string `json:"name"`
	Change string `json:"change"` // came, went, changed
	Before string `json:"before,omitempty"`
	Now    string `json:"now,omitempty"`
	Ours   bool   `json:"ours"` // it may be the work of an install; else somebody else did it
}

// String is the difference for people.
func (d Difference) String() string {
	switch d.Change {
	case "changed":
		if d.Kind == Rules {
			return fmt.Sprintf("%s %s changed", d.Kind, d.Name)
		}
		return fmt.Sprintf("%s %s was %s, is %s", d.Kind, d.Name, d.Before, d.Now)
	case "went":
		return fmt.Sprintf("%s %s is gone", d.Kind, d.Name)
	}
	return fmt.Sprintf("%s %s is new", d.Kind, d.Name)
}

// Compare lists what is not as it was, by kinds and names. Kinds that either could not see are left out.
func (b Baseline) Compare(now Baseline) []Difference {
	var all []Difference
	for _, kind := range Kinds() {
		before, seen := b.Seen[kind.Name]
		after, seenNow := now.Seen[kind.Name]
		if !seen || !seenNow {
			continue
		}
		was, is := values(before), values(after)
		for _, name := range names(was, is) {
			d := Difference{Kind: kind.Name, Name: name, Change: "changed", Before: was[name], Now: is[name]}
			_, had := was[name]
			_, has := is[name]
			switch {
			case had && has && d.Before == d.Now:
				continue
			case !had:
				d.Change = "came"
			case !has:
				d.Change = "went"
			}
			if kind.Only != "" && kind.Only != d.Change {
				continue
			}
			d.Ours = kind.Ours(d)
			all = append(all, d)
		}
	}
	return all
}

func values(list []string) map[string]string {
	out := map[string]string{}
	for _, entry := range list {
		name, value, _ := strings.Cut(entry, "=")
		out[name] = value
	}
	return out
}

func names(lists ...map[string]string) []string {
	var all []string
	for _, list := range lists {
		for name := range list {
			all = append(all, name)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

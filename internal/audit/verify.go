package audit

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Report is what Verify has found.
type Report struct {
	Files   int    `json:"files"`
	Records uint64 `json:"records"`
	Chain   string `json:"chain"` // the last one
	First   uint64 `json:"first"` // number of its first record that is there; above 1 the older ones were rotated away
	Last    uint64 `json:"last"`
	Sum     string `json:"sum"`        // of its last record
	Starts  int    `json:"starts"`     // of the process
	Killed  int    `json:"killed"`     // how often the one before had no end
	Torn    int    `json:"torn_bytes"` // cut off at restarts
	Unended int    `json:"unended"`    // requests of which only the start was recorded
	Lost    uint64 `json:"lost"`       // that a full disk has cost, as the log says itself
	// Anchors of the other end: Held say of this chain what it says itself, Beyond are about records that were rotated away.
	Held   int         `json:"anchors_held"`
	Beyond int         `json:"anchors_beyond"`
	Bad    *ChainError `json:"bad,omitempty"` // the first record that is not as it was; nil: there is none
}

// ChainError is a record that is not as it was recorded.
type ChainError struct {
	File string `json:"file"`
	Line int    `json:"line"`
	Seq  uint64 `json:"record,omitempty"`
	Why  string `json:"why"`
}

func (b *ChainError) Error() string {
	s := fmt.Sprintf("%s, line %d", b.File, b.Line)
	if b.Seq > 0 {
		s += fmt.Sprintf(" (record %d)", b.Seq)
	}
	return s + ": " + b.Why
}

// Verify proves that the files, the oldest first, are one chain in which nothing was changed, removed, moved or added. Where they are those
// of a folder in whole, give it as dir, so that an end that is missing is found. anchors are files of the other end, which has kept heads
// of this chain. The error is about files that cannot be read; what is wrong with them is in the report.
func Verify(files []string, dir string, anchors []string) (Report, error) {
	v := verifier{heads: map[string]map[uint64]string{}, open: map[string]bool{}}
	err := Read(anchors, func(r Record) error {
		if r.Kind == KindAnchor && r.Anchor != nil && r.Anchor.Valid() {
			v.expect(r.Anchor.Head)
		}
		return nil
	})
	if err != nil {
		return v.report, err
	}
	if dir != "" {
		f, err := os.Open(filepath.Join(dir, headFile))
		if err == nil {
			v.head = readHead(f)
			_ = f.Close()
		} else if !errors.Is(err, fs.ErrNotExist) {
			return v.report, fmt.Errorf("cannot read the head of the audit log: %w", err)
		}
	}
	v.report.Files = len(files)
	if err := read(files, v.line); err != nil && !errors.As(err, &v.report.Bad) {
		return v.report, err
	}
	if v.report.Bad == nil {
		v.end()
	}
	v.report.Unended = len(v.open)
	return v.report, nil
}

type verifier struct {
	report Report
	heads  map[string]map[uint64]string // by chain and number of the record: its sum, as the other end has kept it
	head   Head                         // as it was on the disk
	open   map[string]bool              // requests that were begun

	file   string // of the last line
	number int
	sum    [sha256.Size]byte // of it
	oldest int               // number of the oldest file that the newest one says is kept
	first  int               // number of the first file
	last   int
}

func (v *verifier) expect(h Head) {
	if v.heads[h.Chain] == nil {
		v.heads[h.Chain] = map[uint64]string{}
	}
	v.heads[h.Chain][h.Seq] = h.Sum
}

// line judges one line by the one before.
func (v *verifier) line(l line) error {
	at := &ChainError{File: l.file, Line: l.number}
	bad := func(why string, args ...any) error {
		at.Why = fmt.Sprintf(why, args...)
		return at
	}
	if !l.whole {
		if len(l.raw) >= maxLine {
			return bad("it is longer than a record can be")
		}
		return bad("it is cut: %d bytes without a line feed", len(l.raw))
	}
	var r Record
	if err := json.Unmarshal(l.raw, &r); err != nil || r.Seq == 0 {
		return bad("it is no record")
	}
	at.Seq = r.Seq
	newFile := l.file != v.file
	if newFile {
		if r.Kind != KindFile || r.File == nil || !validHex(r.File.Chain, 32) {
			return bad("the file does not begin as one: records before it are missing")
		}
		if v.report.Records > 0 && r.File.Number != v.last+1 {
			return bad("it is file %d and follows file %d", r.File.Number, v.last)
		}
		if v.report.Records == 0 {
			v.first = r.File.Number
		}
		v.last, v.oldest = r.File.Number, r.File.Oldest
	} else if r.Kind == KindFile {
		return bad("it is the beginning of a file, and stands within one")
	}
	fresh := newFile && r.File.Chain != v.report.Chain
	switch {
	case fresh && v.report.Records > 0 && (r.Seq != 1 || r.File.Broken == ""):
		return bad("another chain begins without a reason")
	case fresh:
		if v.report.Chain = r.File.Chain; r.Seq == 1 && r.Prev != hex.EncodeToString(make([]byte, sha256.Size)) {
			return bad("it is the first record and names one before it")
		}
		v.report.First = r.Seq
	case r.Seq != v.report.Last+1:
		return bad("it follows record %d: records are missing, or were moved", v.report.Last)
	case r.Prev != hex.EncodeToString(v.sum[:]):
		at.File, at.Line, at.Seq = v.file, v.number, v.report.Last
		return bad("it is not the record that record %d follows: it was changed", r.Seq)
	}
	v.file, v.number, v.sum = l.file, l.number, l.sum()
	v.report.Records++
	v.report.Last = r.Seq
	v.report.Sum = hex.EncodeToString(v.sum[:])
	if kept, ok := v.heads[v.report.Chain][r.Seq]; ok {
		if kept != v.report.Sum {
			return bad("the other end has kept another record of this number: it was changed")
		}
		v.report.Held++
		delete(v.heads[v.report.Chain], r.Seq)
	}
	switch {
	case v.head.Chain == v.report.Chain && v.head.Seq == r.Seq && v.head.Sum != v.report.Sum:
		return bad("it is not the record that was on the disk: it was changed")
	case r.File != nil && r.File.Broken != "":
		return bad("the chain before could not be gone on with: %s", r.File.Broken)
	case r.Opened != nil && r.Opened.Missing > 0:
		return bad("%d records that had been on the disk were missing when the process was started", r.Opened.Missing)
	}
	v.count(r)
	return nil
}

func (v *verifier) count(r Record) {
	switch r.Kind {
	case KindOpened:
		if r.Opened == nil {
			return
		}
		v.report.Starts++
		v.report.Torn += r.Opened.Torn
		if !r.Opened.Clean {
			v.report.Killed++
		}
	case KindStart:
		v.open[r.ID] = true
	case KindEnd:
		delete(v.open, r.ID)
	case KindNote:
		if r.Note == noteLost {
			v.report.Lost += r.Count
		}
	}
}

// end judges what only the whole shows.
func (v *verifier) end() {
	missing := func(file string, line int, seq uint64, why string, args ...any) {
		v.report.Bad = &ChainError{File: file, Line: line, Seq: seq, Why: fmt.Sprintf(why, args...)}
	}
	for seq := range v.heads[v.report.Chain] {
		switch {
		case seq < v.report.First:
			v.report.Beyond++
		case seq > v.report.Last && (v.report.Bad == nil || seq > v.report.Bad.Seq):
			missing(v.file, v.number, seq, "the other end has kept this record, and the log ends with record %d", v.report.Last)
		}
	}
	switch {
	case v.report.Bad != nil:
	case v.head.Chain != "" && v.head.Chain != v.report.Chain:
		missing(v.file, v.number, v.head.Seq, "the log on the disk was another one, chain %s", v.head.Chain)
	case v.head.Chain != "" && v.head.Seq > v.report.Last:
		missing(v.file, v.number+1, v.report.Last+1, "records %d to %d were on the disk and are missing", v.report.Last+1, v.head.Seq)
	case v.head.Chain != "" && v.first > v.oldest:
		missing(fileName(v.oldest), 1, 0, "it is missing, with the records before %d", v.report.First)
	}
}

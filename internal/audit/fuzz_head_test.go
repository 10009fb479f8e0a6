package audit

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"
)

// FuzzSaw: whatever head the other end tells of its log, and whatever its name is, the log that keeps it is whole.
func FuzzSaw(f *testing.F) {
	f.Add("shop/0123456789abcdef", []byte(`{"chain":"`+strings.Repeat("0a", 16)+`","seq":18446744073709551615,"sum":"`+strings.Repeat("0b", 32)+`","own":18446744073709551615}`))
	f.Add("\n{}\u2028\xff", []byte(`{"chain":"`+strings.Repeat("0A", 16)+`","seq":1,"sum":"","own":2}`))
	f.Fuzz(func(t *testing.T, of string, raw []byte) {
		var h Head
		if json.Unmarshal(raw, &h) != nil {
			return
		}
		l := open(t, Options{})
		var anchors Anchors
		anchors.Saw(l, of, h, time.Unix(1, 0))
		anchors.Saw(l, of, h, time.Unix(2, 0)) // too soon
		fill(l, 1)
		shut(t, l)
		files, err := Files(l.o.Dir)
		if err != nil {
			t.Fatal(err)
		}
		report, err := Verify(files, "", nil)
		if err != nil || report.Bad != nil {
			t.Fatalf("%q of %q: %v, %v", raw, of, report.Bad, err)
		}
		kept := 0
		if err := Read(files, func(r Record) error {
			if r.Kind == KindAnchor {
				kept++
				if r.Anchor.Head != h {
					t.Errorf("%q is kept as %+v", raw, r.Anchor)
				}
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		if want := map[bool]int{true: 1}[h.Valid()]; kept != want {
			t.Errorf("%q is kept %d times, not %d", raw, kept, want)
		}
	})
}

// FuzzRecord: whatever a request has for names, its record is one line within the bound of lines, which can be read again.
func FuzzRecord(f *testing.F) {
	f.Add("pipeops:ada", strings.Repeat("\x00", 300), strings.Repeat("\u2028", 2000), 40)
	f.Add("\n\"", "\xff\xfe", "/a\r\n{}", 1)
	f.Fuzz(func(t *testing.T, user, name, path string, groups int) {
		e := Event{ID: name, Trace: name, User: user, Role: name, Remote: name, Agent: name, Cluster: name, Machine: name, Method: name, Verb: name, APIGroup: name,
			Resource: name, Subresource: name, Namespace: name, Name: name, Path: path, Query: name, Target: name}
		for range min(max(groups, 0), 200) {
			e.Groups = append(e.Groups, name)
		}
		raw, err := json.Marshal(Record{Seq: 1<<64 - 1, Kind: KindEnd, Event: e.bounded(), Result: &Result{}})
		if err != nil {
			t.Fatal(err)
		}
		if len(raw) >= maxLine || bytes.ContainsAny(raw, "\n\r") {
			t.Errorf("%d bytes: %q", len(raw), raw)
		}
		var again Record
		if err := json.Unmarshal(raw, &again); err != nil || again.Seq != 1<<64-1 || len(again.User) > 3*maxText || len(again.Groups) > maxGroups {
			t.Errorf("%q is read as %+v, %v", raw, again, err)
		}
	})
}

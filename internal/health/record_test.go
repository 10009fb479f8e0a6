package health

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

func at(hour int) time.Time { return time.Date(2026, 1, 1, hour, 0, 0, 0, time.UTC) }

func TestRecordKeeps(t *testing.T) {
	path := filepath.Join(t.TempDir(), RecordFile)
	if r, err := LoadRecord(path); err != nil || len(r.Conditions) != 0 {
		t.Errorf("without a file: %+v, %v", r, err)
	}
	var r Record
	r = r.With(wire.Condition{Type: Storage, Status: True, Reason: "Proved", Since: at(1), Checked: at(1)})
	r = r.With(wire.Condition{Type: LargePacket, Status: False, Reason: "LAYER_LARGE_PACKET", Message: strings.Repeat("x", 3000), Checked: at(1)})
	r = r.With(wire.Condition{Type: Storage, Status: True, Reason: "Proved", Message: "again", Since: at(5), Checked: at(5)})
	for _, ignored := range []wire.Condition{
		{Type: "Weather", Status: True, Checked: at(1)},
		{Type: DNS, Status: True},
		{Type: DNS, Status: "Maybe", Checked: at(1)},
	} {
		r = r.With(ignored)
	}
	if err := r.Save(path); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	got, err := LoadRecord(path)
	if err != nil {
		t.Fatal(err)
	}
	want := Record{Version: 1, Conditions: []wire.Condition{
		{Type: Storage, Status: True, Reason: "Proved", Message: "again", Since: at(1), Checked: at(5)}, // so since one o'clock
		{Type: LargePacket, Status: False, Reason: "LAYER_LARGE_PACKET", Message: strings.Repeat("x", maxText), Since: at(1), Checked: at(1)},
	}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if c, ok := got.Get(DNS); ok || c.Status != Unknown {
		t.Errorf("got %+v", c)
	}
	if c, ok := got.Get(Storage); !ok || c.Message != "again" {
		t.Errorf("got %+v", c)
	}
}

func TestRecordRefuses(t *testing.T) {
	for name, content := range map[string]string{
		"no JSON":         "{",
		"another version": `{"version":2}`,
		"nothing":         "",
		"too much":        `{"version":1}` + strings.Repeat(" ", maxRecord),
	} {
		path := filepath.Join(t.TempDir(), RecordFile)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if r, err := LoadRecord(path); err == nil {
			t.Errorf("%s: %+v", name, r)
		}
	}
}

// TestLongestRecordFits: whatever the texts are, what was saved can be read.
func TestLongestRecordFits(t *testing.T) {
	var r Record
	for _, c := range All() {
		r = r.With(wire.Condition{Type: c.Type, Status: Unknown, Reason: strings.Repeat("\x01", 1000), Message: strings.Repeat("<", 1000), Checked: at(1)})
	}
	path := filepath.Join(t.TempDir(), RecordFile)
	if err := r.Save(path); err != nil {
		t.Fatal(err)
	}
	if got, err := LoadRecord(path); err != nil || len(got.Conditions) != len(All()) {
		t.Errorf("%d conditions, %v", len(got.Conditions), err)
	}
}

func TestKeepTakesTheNewest(t *testing.T) {
	var tracker Tracker
	tracker.Keep(wire.Condition{Type: Storage, Status: True, Since: at(1), Checked: at(3)})
	tracker.Keep(wire.Condition{Type: Storage, Status: False, Since: at(2), Checked: at(2)}) // came late
	if c := tracker.Get(Storage); c.Status != True {
		t.Errorf("got %+v", c)
	}
	_, changed := tracker.Conditions()
	tracker.Keep(wire.Condition{Type: Storage, Status: True, Since: at(4), Checked: at(4)})
	<-changed
	if c := tracker.Get(Storage); !c.Since.Equal(at(1)) || !c.Checked.Equal(at(4)) {
		t.Errorf("got %+v", c)
	}
	tracker.Keep(wire.Condition{Type: Storage, Status: False, Since: at(5), Checked: at(5)})
	if c := tracker.Get(Storage); c.Status != False || !c.Since.Equal(at(5)) {
		t.Errorf("got %+v", c)
	}
}

func FuzzParseRecord(f *testing.F) {
	f.Add([]byte(`{"version":1,"conditions":[{"type":"Storage","status":"True","since":"2026-01-01T00:00:00Z","checked":"2026-01-01T00:00:00Z"}]}`))
	f.Add([]byte(`{"version":1,"conditions":[{"type":"DNS","status":"Maybe"},{"type":"DNS"}]}`))
	f.Fuzz(func(t *testing.T, content []byte) {
		r, err := ParseRecord(content)
		if err != nil {
			return
		}
		if len(r.Conditions) > len(All()) {
			t.Fatalf("%d conditions", len(r.Conditions))
		}
		for _, c := range r.Conditions {
			if len(c.Message) > maxText || len(c.Reason) > maxReason || c.Checked.IsZero() || c.Status != True && c.Status != False && c.Status != Unknown {
				t.Fatalf("kept %+v", c)
			}
		}
		encoded, err := r.encode()
		if err != nil {
			t.Fatal(err)
		}
		again, err := ParseRecord(encoded)
		if err != nil || len(again.Conditions) != len(r.Conditions) {
			t.Fatalf("%+v comes back as %+v, %v", r, again, err)
		}
	})
}

// TestAClockThatWasAhead: what was proved in a future that is none any more does not stand in the way of what is proved now.
func TestAClockThatWasAhead(t *testing.T) {
	now := at(1)
	tracker := Tracker{Now: func() time.Time { return now }}
	tracker.Keep(wire.Condition{Type: Storage, Status: True, Since: at(500), Checked: at(500)})
	tracker.Keep(wire.Condition{Type: Storage, Status: False, Since: now, Checked: now})
	if c := tracker.Get(Storage); c.Status != False || !c.Checked.Equal(now) {
		t.Errorf("got %+v", c)
	}
	tracker.Keep(wire.Condition{Type: LargePacket, Status: True, Since: at(500), Checked: at(500)})
	tracker.Keep(wire.Condition{Type: LargePacket, Status: True, Since: now, Checked: now})
	if c := tracker.Get(LargePacket); !c.Since.Equal(now) || !c.Checked.Equal(now) {
		t.Errorf("got %+v", c)
	}
}

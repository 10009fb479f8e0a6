package plan

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestARecordThatDidNotGetToTheDiskIsNone has the disk fail once, after the record was written: the next change gets its number,
// and a later run can read it all.
func TestARecordThatDidNotGetToTheDiskIsNone(t *testing.T) {
	h := newHost(t)
	s := h.open(nil)
	broken := errors.New("the disk is broken")
	write := func(path string) func(context.Context, *Recorder) error {
		return func(_ context.Context, r *Recorder) error { return r.WriteFile(path, 0o600, []byte("ours")) }
	}
	fails := write("/etc/a")
	_, err := (&Runner{Store: s}).Run(t.Context(), Plan{Name: "x", Steps: []Step{{ID: "a", Do: func(ctx context.Context, r *Recorder) error {
		s.Ledger.lines.sync = func() error { s.Ledger.lines.sync = nil; return broken }
		return fails(ctx, r)
	}}}})
	if !errors.Is(err, broken) {
		t.Fatal(err)
	}
	if _, err := (&Runner{Store: s}).Run(t.Context(), Plan{Name: "x", Steps: []Step{{ID: "b", Do: write("/etc/b")}}}); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if got := h.changes(); len(got) != 1 || got[0].Target != "/etc/b" {
		t.Errorf("changes %+v", got)
	}
	h.undoAll()
	if h.is("/etc/b", "ours") {
		t.Error("it is not undone")
	}
}

// TestALedgerThatIsFullCanStillBeUndone wants a ledger never to grow beyond what is read of it.
func TestALedgerThatIsFullCanStillBeUndone(t *testing.T) {
	h := newHost(t)
	if _, err := h.run(h.plan()); err != nil {
		t.Fatal(err)
	}
	s := h.open(nil)
	defer s.Close()
	size := s.Ledger.lines.size
	s.Ledger.lines.size = fullLedger
	err := s.Ledger.add(Record{Op: Change, ID: len(s.Ledger.changes) + 1, Before: &Image{}, After: &Image{}})
	if err == nil || !strings.Contains(err.Error(), "full") {
		t.Errorf("a change beyond what is read: %v", err)
	}
	if err := s.Ledger.add(Record{Op: Undone, ID: 1}); err != nil {
		t.Errorf("what is undone is not recorded: %v", err)
	}
	if st, err := os.Stat(filepath.Join(h.dir, "ledger.jsonl")); err != nil || st.Size() <= fullLedger || st.Size() > maxLines {
		t.Errorf("%v, %v", st.Size(), err)
	}
	if err := s.Ledger.lines.file.Truncate(size); err != nil {
		t.Fatal(err)
	}
}

package plan

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

type crash struct{}

// dieAt runs the plan and kills it, as far as the disk can tell, at the nth crash point. It reports whether it came to
// its end before that.
func (h *fakeHost) dieAt(n int) (ended bool) {
	h.t.Helper()
	s := h.open(countdown(n))
	defer s.Close()
	defer caught()
	r := &Runner{Store: s}
	if _, err := r.Run(h.t.Context(), h.plan()); err != nil {
		h.t.Fatal(err)
	}
	return true
}

// changes lists what the ledger holds, without times.
func (h *fakeHost) changes() []Record {
	h.t.Helper()
	s := h.open(nil)
	defer s.Close()
	all := s.Ledger.Changes()
	for i := range all {
		all[i].Time, all[i].Since, all[i].ID = time.Time{}, 0, 0
		if before := *all[i].Before; all[i].Kind == Tree {
			before.Value = strings.TrimPrefix(before.Value, h.root)
			all[i].Before = &before
		}
	}
	return all
}

// undoAll uninstalls and returns the tree.
func (h *fakeHost) undoAll() string {
	h.t.Helper()
	s := h.open(nil)
	defer s.Close()
	reversed, err := (&Uninstaller{Store: s}).Run(h.t.Context())
	if err != nil {
		h.t.Fatal(err)
	}
	for _, r := range reversed {
		if r.Op != Undone {
			h.t.Errorf("%s is left: %q", r.Target, r.Left)
		}
	}
	return h.tree()
}

// dieUndoingAt uninstalls and dies at the nth crash point. It reports whether it came to its end before that.
func (h *fakeHost) dieUndoingAt(n int) (ended bool) {
	h.t.Helper()
	s := h.open(countdown(n))
	defer s.Close()
	defer caught()
	if _, err := (&Uninstaller{Store: s}).Run(h.t.Context()); err != nil {
		h.t.Fatal(err)
	}
	return true
}

// countdown dies when it is called for the nth time.
func countdown(n int) func() {
	return func() {
		if n--; n == 0 {
			panic(crash{})
		}
	}
}

func caught() {
	if p := recover(); p != nil && p != (crash{}) {
		panic(p)
	}
}

func TestEveryCrashPointConverges(t *testing.T) {
	clean := newHost(t)
	before := clean.tree()
	if _, err := clean.run(clean.plan()); err != nil {
		t.Fatal(err)
	}
	wantTree, wantChanges := clean.tree(), clean.changes()
	if after := clean.undoAll(); after != before {
		t.Fatalf("undone is not as before:\n%s", cmp.Diff(before, after))
	}

	points := 0
	for n := 1; ; n++ {
		h := newHost(t)
		if h.dieAt(n) {
			break
		}
		points++
		// every second time it dies once more, somewhere
		if n%2 == 0 {
			h.dieAt(1 + rand.IntN(n))
		}
		if _, err := h.run(h.plan()); err != nil {
			t.Fatalf("crash point %d: the next run fails: %v", n, err)
		}
		if got := h.tree(); got != wantTree {
			t.Errorf("crash point %d: another end state:\n%s", n, cmp.Diff(wantTree, got))
		}
		if got := h.changes(); !cmp.Equal(wantChanges, got) {
			t.Errorf("crash point %d: lost or repeated changes:\n%s", n, cmp.Diff(wantChanges, got))
		}
		if got := h.undoAll(); got != before {
			t.Errorf("crash point %d: undone is not as before:\n%s", n, cmp.Diff(before, got))
		}
	}
	if points < 60 {
		t.Errorf("only %d crash points: are they still called?", points)
	}
}

func TestEveryCrashPointOfAnUninstallConverges(t *testing.T) {
	before := newHost(t).tree()
	points := 0
	for n := 1; ; n++ {
		h := newHost(t)
		if _, err := h.run(h.plan()); err != nil {
			t.Fatal(err)
		}
		if h.dieUndoingAt(n) {
			break
		}
		points++
		s := h.open(nil)
		if name, _, open := s.Journal.Open(); n > 2 && (!open || name != UninstallPlan) && len(s.Ledger.Changes()) > 0 {
			t.Errorf("crash point %d: the journal says %s, open %v", n, name, open)
		}
		s.Close()
		if got := h.undoAll(); got != before {
			t.Errorf("crash point %d: undone is not as before:\n%s", n, cmp.Diff(before, got))
		}
		s = h.open(nil)
		if _, _, open := s.Journal.Open(); open {
			t.Errorf("crash point %d: the uninstall is still open", n)
		}
		s.Close()
	}
	if points < 20 {
		t.Errorf("only %d crash points: are they still called?", points)
	}
}

func TestTornLastLineIsCutOff(t *testing.T) {
	h := newHost(t)
	if _, err := h.run(h.plan()); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"journal.jsonl", "ledger.jsonl"} {
		path := filepath.Join(h.dir, name)
		whole, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		start := lastLine(whole)
		for cut := start; cut < len(whole); cut++ {
			torn := append(append([]byte{}, whole[:cut]...), make([]byte, (cut-start)%3)...) // zeros, as ext4 leaves them
			if err := os.WriteFile(path, torn, 0o600); err != nil {
				t.Fatal(err)
			}
			h.open(nil).Close()
			got, err := os.ReadFile(path)
			if err != nil || string(got) != string(whole[:start]) {
				t.Fatalf("%s cut at %d: %q is left, %v", name, cut, got[min(start, len(got)):], err)
			}
		}
		if err := os.WriteFile(path, whole, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if res, err := h.run(h.plan()); err != nil || len(res.Changed) != 0 {
		t.Errorf("%v, %v", res, err)
	}
}

func lastLine(data []byte) int {
	for i := len(data) - 2; i >= 0; i-- {
		if data[i] == '\n' {
			return i + 1
		}
	}
	return 0
}

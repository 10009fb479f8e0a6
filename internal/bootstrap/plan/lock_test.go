package plan

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

type opened struct {
	s   *Store
	err error
}

func waiting(ctx context.Context, dir string) <-chan opened {
	got := make(chan opened, 1)
	go func() {
		s, err := OpenWait(ctx, dir, "")
		got <- opened{s, err}
	}()
	return got
}

func TestOpenWaitHasTheLockOnceItIsFree(t *testing.T) {
	dir := t.TempDir()
	first, err := Open(dir, "")
	if err != nil {
		t.Fatal(err)
	}
	if h := Held(dir); h != (Holder{PID: os.Getpid()}) {
		t.Errorf("held by %+v", h)
	}
	ctx, cancel := context.WithCancel(t.Context())
	given := waiting(ctx, dir)
	got := waiting(t.Context(), dir)
	cancel()
	if o := <-given; !errors.Is(o.err, context.Canceled) {
		t.Errorf("given up: %v", o.err)
	}
	select {
	case o := <-got:
		t.Fatalf("it did not wait: %v", o.err)
	default:
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	o := <-got // that one which has given up does not keep it either
	if o.err != nil {
		t.Fatal(o.err)
	}
	if h := Held(dir); !h.Yields {
		t.Errorf("held by %+v", h)
	}
	if err := o.s.Close(); err != nil {
		t.Fatal(err)
	}
	if h := Held(dir); h != (Holder{}) {
		t.Errorf("nobody holds it, and %+v is said", h)
	}
}

func TestTakeOver(t *testing.T) {
	dir := t.TempDir()
	user, took, err := TakeOver(t.Context(), dir, "")
	if err != nil || took {
		t.Fatalf("%v, took %v", err, took)
	}
	if _, _, err := TakeOver(t.Context(), dir, ""); !reason.Is(err, reason.Busy) {
		t.Errorf("from a user: %v", err)
	}
	if err := user.Close(); err != nil {
		t.Fatal(err)
	}

	told := make(chan os.Signal, 1)
	signal.Notify(told, syscall.SIGTERM)
	defer signal.Stop(told)
	alone, err := OpenWait(t.Context(), dir, "")
	if err != nil {
		t.Fatal(err)
	}
	closed := make(chan error, 1)
	go func() {
		<-told
		closed <- alone.Close()
	}()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	user, took, err = TakeOver(ctx, dir, "")
	if err != nil || !took {
		t.Fatalf("%v, took %v", err, took)
	}
	if err := errors.Join(<-closed, user.Close()); err != nil {
		t.Error(err)
	}
}

func TestHolder(t *testing.T) {
	for text, want := range map[string]Holder{
		"": {}, "\n": {}, "x": {}, "-4": {}, "0": {}, "12\n": {PID: 12}, "12 yields\n": {PID: 12, Yields: true},
		"12 other": {PID: 12}, "99999999999999999999999999 yie": {},
	} {
		if got := parseHolder(text); got != want {
			t.Errorf("%q: %+v", text, got)
		}
	}
}

func TestReadJournalWithoutTheLock(t *testing.T) {
	h := newHost(t)
	if j, err := ReadJournal(h.dir); err != nil || len(j.Entries()) != 0 {
		t.Errorf("of none: %v, %v", j, err)
	}
	if _, err := h.run(h.plan()); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(h.dir, "journal.jsonl")
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	torn := append(whole, []byte(`{"time":"20`)...)
	if err := os.WriteFile(path, torn, 0o600); err != nil {
		t.Fatal(err)
	}
	j, err := ReadJournal(h.dir)
	if err != nil || !j.ended() {
		t.Fatalf("%v, %v", j, err)
	}
	if left, err := os.ReadFile(path); err != nil || string(left) != string(torn) {
		t.Errorf("it was changed: %v", err)
	}
	if err := os.WriteFile(path, []byte("{\"format\":\"other\",\"version\":1}\n{}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadJournal(h.dir); err == nil {
		t.Error("another format is read")
	}
}

func TestReachedGrowsOnlyWhereARunGetsOn(t *testing.T) {
	h := newHost(t)
	h.dieAt(21)
	reached := func() int {
		s := h.open(nil)
		defer s.Close()
		return s.Reached()
	}
	first := reached()
	h.dieAt(3) // it begins again at the same step, and gets no further
	if again := reached(); first == 0 || again != first {
		t.Errorf("reached %d, then %d", first, again)
	}
	if _, err := h.run(h.plan()); err != nil {
		t.Fatal(err)
	}
	if last := reached(); last <= first {
		t.Errorf("reached %d, then %d", first, last)
	}
}

func TestAPlanThatFailedAndIsDoneAtLastIsNotOpen(t *testing.T) {
	h := newHost(t)
	p := h.plan()
	p.Steps[4].Prove = func(context.Context) error { return errors.New("no") }
	if _, err := h.run(p); err == nil {
		t.Fatal("it did not fail")
	}
	p = h.plan()
	p.Steps = p.Steps[:4] // the next needs that step no more
	begun := 0
	s := h.open(nil)
	defer s.Close()
	r := &Runner{Store: s, Begin: func() error { begun++; return nil }}
	res, err := r.Run(t.Context(), p)
	if err != nil || len(res.Changed) != 0 || begun != 0 {
		t.Fatalf("%+v, %v, begun %d times", res, err, begun)
	}
	if name, state, open := s.Journal.Open(); name != "install" || state != Done || open {
		t.Errorf("%s %s, open %v", name, state, open)
	}
	if err := s.Rest(time.Now(), UninstallPlan, Planned, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Run(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	if name, state, open := s.Journal.Open(); name != "install" || state != Done || open {
		t.Errorf("after an uninstall that was stopped at its beginning: %s %s, open %v", name, state, open)
	}
	refused := errors.New("the note cannot be written")
	r.Begin = func() error { return refused }
	n := len(s.Journal.entries)
	if _, err := r.Run(t.Context(), h.plan()); !errors.Is(err, refused) || len(s.Journal.entries) != n {
		t.Errorf("%v; %d entries more", err, len(s.Journal.entries)-n)
	}
}

func TestWithdraw(t *testing.T) {
	h := newHost(t)
	p := h.plan()
	p.Steps = p.Steps[:2]
	if _, err := h.run(p); err != nil {
		t.Fatal(err)
	}
	before, changes := h.tree(), h.changes()
	if _, err := h.run(h.plan()); err != nil {
		t.Fatal(err)
	}
	s := h.open(nil)
	r := &Runner{Store: s}
	for _, step := range []string{"unit", "config", "sysctl", "sysctl"} {
		if err := r.Withdraw(t.Context(), step); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if got := h.tree(); got != before {
		t.Errorf("it is not as before:\n%s", cmp.Diff(before, got))
	}
	if got := h.changes(); !cmp.Equal(changes, got) {
		t.Error(cmp.Diff(changes, got))
	}
}

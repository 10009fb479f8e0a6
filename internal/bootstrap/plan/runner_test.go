package plan

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

func TestSecondRunChangesNothing(t *testing.T) {
	h := newHost(t)
	all := []string{"binary", "sysctl", "config", "unit"}
	res, err := h.run(h.plan())
	if want := (Result{Changed: all, Proved: []string{"download", "ready"}}); err != nil || !cmp.Equal(res, want) {
		t.Errorf("first run: %v, %v", res, err)
	}
	journal, tree := read(t, h, "journal.jsonl"), h.tree()
	res, err = h.run(h.plan())
	if want := (Result{Unchanged: append([]string{"download"}, all...), Proved: []string{"ready"}}); err != nil || !cmp.Equal(res, want) {
		t.Errorf("second run: %v, %v", res, err)
	}
	if got := read(t, h, "journal.jsonl"); got != journal {
		t.Errorf("the second run wrote to the journal:\n%s", strings.TrimPrefix(got, journal))
	}
	if got := h.tree(); got != tree {
		t.Error(cmp.Diff(tree, got))
	}
}

func TestStateIsForRootOnly(t *testing.T) {
	h := newHost(t)
	if _, err := h.run(h.plan()); err != nil {
		t.Fatal(err)
	}
	err := filepath.Walk(h.dir, func(path string, st os.FileInfo, err error) error {
		if err == nil && st.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v", path, st.Mode())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestFailureIsRolledBackExactly(t *testing.T) {
	for _, id := range []string{"binary", "sysctl", "config", "unit"} {
		h := newHost(t)
		p := h.plan()
		var before string
		for i := range p.Steps {
			if s := &p.Steps[i]; s.ID == id {
				done := s.Done
				s.Done = func(ctx context.Context) (bool, error) {
					before = h.tree()
					return done(ctx)
				}
				s.Prove = func(context.Context) error { return errors.New("it does not work") }
			}
		}
		_, err := h.run(p)
		if !reason.Is(err, reason.StepFailed) || reason.Exit(err) != reason.ExitRolledBack || !strings.Contains(err.Error(), "it does not work") {
			t.Errorf("%s: err = %v", id, err)
		}
		if got := h.tree(); got != before {
			t.Errorf("%s is not rolled back:\n%s", id, cmp.Diff(before, got))
		}
		if _, err := h.run(h.plan()); err != nil {
			t.Errorf("%s: the next run fails: %v", id, err)
		}
	}
}

// TestProofThatFailsIsNotUndone: a step that only looks has nothing to undo, and does not say that it was undone.
func TestProofThatFailsIsNotUndone(t *testing.T) {
	h := newHost(t)
	s := h.open(nil)
	defer s.Close()
	fails := func(context.Context) error { return errors.New("it does not work") }
	nothing := func(context.Context, *Recorder) error { return nil }
	for _, tt := range []struct {
		step Step
		want []State
	}{
		{Step{ID: "look", Prove: fails}, []State{Started, Failed}},
		{Step{ID: "change", Do: nothing, Prove: fails}, []State{Started, Applied, Failed, RolledBack}},
	} {
		var states []State
		_, err := (&Runner{Store: s, OnEvent: func(e Event) { states = append(states, e.State) }}).Run(t.Context(), Plan{Name: "proof", Steps: []Step{tt.step}})
		if err == nil || !cmp.Equal(states, tt.want) {
			t.Errorf("%s: %v, %v, want %v", tt.step.ID, states, err, tt.want)
		}
	}
}

// A change that one run settled is not rolled back when a later run fails in the same step.
func TestRollBackGoesToTheStateBeforeThisRun(t *testing.T) {
	h := newHost(t)
	version := "one"
	p := Plan{Name: "install", Steps: []Step{{
		ID: "config",
		Do: func(_ context.Context, r *Recorder) error { return r.WriteFile("/etc/conf", 0o600, []byte(version)) },
		Prove: func(context.Context) error {
			if version == "bad" {
				return errors.New("no")
			}
			return nil
		},
	}}}
	for _, v := range []struct{ version, want string }{{"one", "one"}, {"two", "two"}, {"bad", "two"}, {"three", "three"}} {
		version = v.version
		if _, err := h.run(p); (err != nil) != (version == "bad") {
			t.Errorf("%s: %v", version, err)
		}
		if !h.is("/etc/conf", v.want) {
			t.Errorf("after %s: %s", version, h.tree())
		}
	}
	if strings.Contains(h.undoAll(), "/etc/conf") {
		t.Error("undone it is still there")
	}
}

func TestWhatSomebodyElseChangedIsLeftAlone(t *testing.T) {
	h := newHost(t)
	p := Plan{Name: "install", Steps: []Step{{
		ID: "config",
		Do: func(_ context.Context, r *Recorder) error {
			if err := r.WriteFile("/etc/a", 0o600, []byte("ours")); err != nil {
				return err
			}
			return r.WriteFile("/etc/b", 0o600, []byte("ours"))
		},
		Prove: func(context.Context) error {
			h.write("/etc/a", "the user's", 0o600)
			return errors.New("no")
		},
	}}}
	if _, err := h.run(p); !reason.Is(err, reason.StepFailed) {
		t.Errorf("err = %v", err)
	}
	if !h.is("/etc/a", "the user's") {
		t.Error("the user's change is gone")
	}
	if _, err := os.Stat(h.path("/etc/b")); !os.IsNotExist(err) {
		t.Error("our file is still there")
	}
}

func TestCauseKeepsItsCode(t *testing.T) {
	h := newHost(t)
	p := Plan{Name: "x", Steps: []Step{{ID: "a", Do: func(context.Context, *Recorder) error {
		return reason.Newf(reason.DownloadDigest, "k3s")
	}}}}
	if _, err := h.run(p); reason.Exit(err) != reason.ExitDownload || !reason.Is(err, reason.DownloadDigest) {
		t.Errorf("exit %d: %v", reason.Exit(err), err)
	}
	p.Steps[0].Undo = func(context.Context) error { return errors.New("stuck") }
	if _, err := h.run(p); reason.Exit(err) != reason.ExitNotRolledBack || !strings.Contains(err.Error(), "stuck") {
		t.Errorf("exit %d: %v", reason.Exit(err), err)
	}
}

func TestCancelLeavesAResumableState(t *testing.T) {
	h := newHost(t)
	ctx, cancel := context.WithCancel(t.Context())
	p := h.plan()
	undone := false
	p.Steps[4].Prove = func(ctx context.Context) error {
		cancel()
		<-ctx.Done()
		return ctx.Err()
	}
	p.Steps[4].Undo = func(context.Context) error { undone = true; return nil }
	s := h.open(nil)
	_, err := (&Runner{Store: s}).Run(ctx, p)
	s.Close()
	if !errors.Is(err, context.Canceled) || undone || !h.is("/units/k3s", "active") {
		t.Errorf("err = %v, undone = %v", err, undone)
	}
	proved := false
	p.Steps[4].Prove = func(context.Context) error { proved = true; return nil }
	if res, err := h.run(p); err != nil || !proved || !cmp.Equal(res.Changed, []string{"unit"}) {
		t.Errorf("resumed: %v, %v, proved = %v", res, err, proved)
	}
}

func TestStepThatTakesTooLongFails(t *testing.T) {
	h := newHost(t)
	synctest.Test(t, func(t *testing.T) {
		s, err := Open(h.dir, h.root)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		var took time.Duration
		r := &Runner{Store: s, OnEvent: func(e Event) { took = e.Duration }}
		_, err = r.Run(t.Context(), Plan{Steps: []Step{{ID: "slow", Timeout: time.Hour, Prove: func(ctx context.Context) error {
			<-ctx.Done()
			return ctx.Err()
		}}}})
		if !reason.Is(err, reason.StepFailed) || !strings.Contains(err.Error(), "not done within 1h") || took != time.Hour {
			t.Errorf("after %v: %v", took, err)
		}
	})
}

func TestEventsInOrder(t *testing.T) {
	h := newHost(t)
	s := h.open(nil)
	defer s.Close()
	var got []string
	r := &Runner{Store: s, OnEvent: func(e Event) { got = append(got, e.Step+" "+string(e.State)) }}
	if _, err := r.Run(t.Context(), Plan{Steps: []Step{
		{ID: "a", Done: func(context.Context) (bool, error) { return true, nil }},
		{ID: "b", Prepare: func(_ context.Context, progress func(done, total int64)) error {
			for i := range int64(1001) {
				progress(i, 1000)
			}
			return nil
		}, Do: func(context.Context, *Recorder) error { return nil }, Prove: func(context.Context) error { return nil }},
	}}); err != nil {
		t.Fatal(err)
	}
	want := []string{"a unchanged", "b started", "b progress", "b progress", "b applied", "b done"}
	if !cmp.Equal(got, want) {
		t.Error(cmp.Diff(want, got))
	}
}

func TestOneWriter(t *testing.T) {
	h := newHost(t)
	s := h.open(nil)
	_, err := Open(h.dir, h.root)
	if !reason.Is(err, reason.Busy) || reason.Exit(err) != reason.ExitBusy || !strings.Contains(err.Error(), "process ") {
		t.Errorf("err = %v", err)
	}
	s.Close()
	h.open(nil).Close()
}

func TestDamagedOrForeignStoreIsRefused(t *testing.T) {
	for name, content := range map[string]string{
		"newer version": `{"format":"pipeops-journal","version":2}` + "\n",
		"other format":  `{"format":"pipeops-ledger","version":1}` + "\n",
		"bad middle":    `{"format":"pipeops-journal","version":1}` + "\nnonsense\n{}\n",
	} {
		h := newHost(t)
		if err := os.MkdirAll(h.dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(h.dir, "journal.jsonl"), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if s, err := Open(h.dir, h.root); err == nil {
			s.Close()
			t.Errorf("%s: opened", name)
		}
	}
}

func TestStepIDs(t *testing.T) {
	h := newHost(t)
	for _, p := range []Plan{{Steps: []Step{{ID: "a"}, {ID: "a"}}}, {Steps: []Step{{ID: "A b"}}}} {
		if _, err := h.run(p); err == nil {
			t.Errorf("%v ran", p)
		}
	}
}

func FuzzJournal(f *testing.F) {
	f.Add([]byte(`{"format":"pipeops-journal","version":1}` + "\n" + `{"step":"a","state":"done"}` + "\n" + `{"st`))
	f.Fuzz(func(t *testing.T, data []byte) {
		path := filepath.Join(t.TempDir(), "journal")
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		j, err := openJournal(path)
		if err != nil {
			return
		}
		n := len(j.entries)
		if err := j.add(Entry{Step: "x", State: Done}); err != nil {
			t.Fatal(err)
		}
		j.lines.close()
		j, err = openJournal(path)
		if err != nil || len(j.entries) != n+1 {
			t.Fatalf("reopened: %v", err)
		}
		j.lines.close()
	})
}

func read(t *testing.T, h *fakeHost, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(h.dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

package plan

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// expecting is a plan whose service makes things of a kind of its own.
func expecting(before ...string) Plan {
	return Plan{Name: "install", Steps: []Step{{
		ID: "service", Title: "Service",
		Do: func(_ context.Context, r *Recorder) error { return r.Expect("things", "/data", before) },
	}}}
}

// TestExpectCountsOnce wants what came since the first run to be ours, also when the service is started anew.
func TestExpectCountsOnce(t *testing.T) {
	h := newHost(t)
	for _, before := range []string{"theirs", "ours by now"} {
		if _, err := h.run(expecting(before)); err != nil {
			t.Fatal(err)
		}
	}
	s := h.open(nil)
	defer s.Close()
	var seen [][]string
	s.Undo["things"] = func(_ context.Context, c Record) ([]string, error) {
		seen = append(seen, c.Before.Names)
		return []string{"a thing: in use"}, nil
	}
	all, err := (&Uninstaller{Store: s}).Run(t.Context())
	if err != nil || len(seen) != 1 || !slices.Equal(seen[0], []string{"theirs"}) {
		t.Errorf("undone %q, %v", seen, err)
	}
	if len(all) != 1 || all[0].Op != Left || !slices.Equal(all[0].Left, []string{"a thing: in use"}) {
		t.Errorf("got %+v", all)
	}
	if left := s.Ledger.Left(); len(left) != 1 || left[0].Kind != "things" {
		t.Errorf("the ledger says %+v", left)
	}
}

func TestExpectIsBounded(t *testing.T) {
	h := newHost(t)
	if _, err := h.run(expecting(make([]string, maxNames+1)...)); err == nil {
		t.Error("no error")
	}
}

// TestPeek wants the changes in force without a trace of the look, also while the last line is being written.
func TestPeek(t *testing.T) {
	h := newHost(t)
	if all, err := Peek(h.dir); err != nil || len(all) > 0 {
		t.Errorf("without a store: %v, %v", all, err)
	}
	if _, err := os.Stat(h.dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a look has made the store: %v", err)
	}
	if _, err := h.run(h.plan()); err != nil {
		t.Fatal(err)
	}
	s := h.open(nil) // its lock is no hindrance
	defer s.Close()
	path := filepath.Join(h.dir, "ledger.jsonl")
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, tail := range []string{"", `{"op":"cha`, "\x00\x00\n"} {
		if err := os.WriteFile(path, append(slices.Clone(whole), tail...), 0o600); err != nil {
			t.Fatal(err)
		}
		all, err := Peek(h.dir)
		if err != nil || len(all) != len(s.Ledger.Changes()) {
			t.Errorf("with %q: %d changes, %v", tail, len(all), err)
		}
		if now, err := os.ReadFile(path); err != nil || string(now) != string(whole)+tail {
			t.Errorf("with %q: a look has changed the ledger, %v", tail, err)
		}
	}
	if err := os.WriteFile(path, []byte("{\"format\":\"pipeops-ledger\",\"version\":9}\n{}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Peek(h.dir); err == nil {
		t.Error("a newer ledger was read")
	}
}

// TestDiscard wants the files that the next call needs to go last, and what is not there to be no error twice.
func TestDiscard(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	for _, name := range []string{"blobs/a", "identity/key.pem", "lock", "begun.json"} {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, nil, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	stopped, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Discard(stopped, dir, "begun.json"); err == nil {
		t.Error("no error though it was stopped")
	}
	if _, err := os.Stat(filepath.Join(dir, "begun.json")); err != nil {
		t.Error(err)
	}
	if err := Discard(t.Context(), dir, "begun.json"); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("it is still there: %v", err)
	}
}

func FuzzPeek(f *testing.F) {
	f.Add([]byte("{\"format\":\"pipeops-ledger\",\"version\":1}\n{\"op\":\"change\",\"id\":1,\"before\":{\"type\":\"absent\"},\"after\":{\"type\":\"dir\"}}\n"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "ledger.jsonl"), raw, 0o600); err != nil {
			t.Fatal(err)
		}
		all, err := Peek(dir)
		if err != nil {
			return
		}
		for i, c := range all {
			if c.Before == nil || c.After == nil || i > 0 && c.ID <= all[i-1].ID {
				t.Errorf("change %+v", c)
			}
		}
	})
}

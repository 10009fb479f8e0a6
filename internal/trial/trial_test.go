package trial

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/host"
)

func TestTrialsAreNamed(t *testing.T) {
	var seen []string
	for _, tr := range All() {
		if tr.Name == "" || tr.Title == "" || tr.Run == nil || slices.Contains(seen, tr.Name) {
			t.Errorf("trial %+v lacks a name of its own, a title or Run", tr)
		}
		seen = append(seen, tr.Name)
	}
}

func TestResult(t *testing.T) {
	for _, c := range []struct {
		err    error
		want   host.Known[bool]
		detail string
	}{
		{nil, host.Is(true), "seen"},
		{errors.New("cannot do it"), host.Is(false), "cannot do it"},
		{fmt.Errorf("%w: no tool", errNotTried), host.Known[bool]{}, "not tried: no tool"},
		{fmt.Errorf("%w: /x", errNotUndone), host.Known[bool]{}, "not undone: /x"},
	} {
		if got := result(Result{Detail: "seen"}, c.err); got.OK != c.want || got.Detail != c.detail {
			t.Errorf("%v: %+v", c.err, got)
		}
	}
	if (Results{}).OK(Overlay).OK {
		t.Error("a trial that was not run has an outcome")
	}
}

// TestRunGoesOn: a trial that hangs is told of, and costs the others nothing but its time.
func TestRunGoesOn(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("without root nothing is tried")
	}
	hangs := make(chan struct{})
	defer close(hangs)
	trials := []Trial{
		{Name: "stuck", Limit: time.Millisecond, Run: func(context.Context, Env) (Result, error) { <-hangs; return Result{}, nil }},
		{Name: "told", Limit: time.Millisecond, Run: func(ctx context.Context, _ Env) (Result, error) {
			<-ctx.Done()
			return Result{}, fmt.Errorf("%w: %w", errNotTried, ctx.Err())
		}},
		{Name: "late", Limit: time.Millisecond, Run: func(ctx context.Context, _ Env) (Result, error) {
			<-ctx.Done()
			return Result{}, errors.New("cannot do it, it seems")
		}},
		{Name: "fine", Run: func(context.Context, Env) (Result, error) { return Result{Detail: "seen", Value: host.Is(1.0)}, nil }},
	}
	synctest.Test(t, func(t *testing.T) {
		results, err := run(t.Context(), Env{}, trials[1:])
		if err != nil {
			t.Error(err)
		}
		if r := results["told"]; r.OK.OK || !strings.Contains(r.Detail, "deadline") {
			t.Errorf("%+v", r)
		}
	})
	results, err := run(t.Context(), Env{}, trials)
	if r := results["late"]; r.OK.OK { // no wrong certainty
		t.Errorf("%+v", r)
	}
	if !errors.Is(err, errNotUndone) || !strings.Contains(err.Error(), "stuck") {
		t.Errorf("a trial that did not come back: %v", err)
	}
	if r := results["stuck"]; r.OK.OK || !strings.Contains(r.Detail, "not come back") {
		t.Errorf("%+v", r)
	}
	if r := results["fine"]; r != (Result{OK: host.Is(true), Detail: "seen", Value: host.Is(1.0)}) {
		t.Errorf("%+v", r)
	}
}

// TestTimesAddUp: even if the last trial hangs, there is time to unload kernel modules.
func TestTimesAddUp(t *testing.T) {
	if rest := Timeout - trialsEnd - 2*patience; rest < time.Second {
		t.Errorf("%s is left", rest)
	}
}

func TestRunStopsInTime(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	results, err := Run(ctx, Env{})
	if err != nil {
		t.Fatal(err)
	}
	for name, r := range results {
		if r.OK.OK || !strings.Contains(r.Detail, "not tried") {
			t.Errorf("%s: %+v", name, r)
		}
	}
}

func TestOfCapturedMachine(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, host.SnapshotFile), []byte(`{"trials":{"nft":{"ok":false,"detail":"no"},"kmsg":{"ok":true}},"numbers":{"fsync_p99_ms":4.5}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := host.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	r := Of(s)
	if r.OK("nft") != host.Is(false) || r.OK(Kmsg) != host.Is(true) || r.OK(Overlay).OK || r[Fsync] != (Result{OK: host.Is(true), Detail: "4.5 ms", Value: host.Is(4.5)}) {
		t.Errorf("%+v", r)
	}
}

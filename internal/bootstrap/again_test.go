package bootstrap

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/bootstrap/plan"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

func TestWhatMayPassIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(t)
		m.killed("k3s-download")
		start := time.Now()
		err := m.resume(func(context.Context, *Guard) error {
			if m.calls < 4 {
				return reason.Newf(reason.DownloadFailed, "no route")
			}
			return nil
		})
		if took := time.Since(start); err != nil || m.calls != 4 || m.note() != nil || took < 3*firstPause || took > 3*longestPause {
			t.Errorf("%v, %d calls in %v", err, m.calls, took)
		}
		if i := m.last(); i.Cause != Failed || i.Attempt != 4 {
			t.Errorf("it says %+v", i)
		}
	})
}

// TestAStepThatWasUndoneIsTriedAgain wants what a step has met, which may pass, to be no end because the step was undone; and
// an end after all where it does not pass.
func TestAStepThatWasUndoneIsTriedAgain(t *testing.T) {
	for _, passes := range []int{4, 10 * MaxAttempts} {
		synctest.Test(t, func(t *testing.T) {
			m := newMachine(t)
			m.killed("resume-unit")
			file := filepath.Join(t.TempDir(), "file")
			err := m.resume(func(ctx context.Context, g *Guard) error {
				if err := g.Begin(ctx); err != nil {
					return err
				}
				_, err := (&plan.Runner{Store: g.Store}).Run(ctx, plan.Plan{Name: installCommand, Steps: []plan.Step{{
					ID: "packages", Do: func(_ context.Context, r *plan.Recorder) error {
						if err := r.WriteFile(file, 0o600, []byte("ours")); err != nil || m.calls >= passes {
							return err
						}
						return reason.Newf(reason.HostPackagesBusy, "apt runs")
					},
				}}})
				return err
			})
			_, there := os.Stat(file)
			switch {
			case passes < MaxAttempts && (err != nil || m.calls != passes || m.note() != nil || there != nil):
				t.Errorf("%v, %d calls, %v", err, m.calls, there)
			case passes > MaxAttempts && (!reason.Is(err, reason.NotResumed) || m.calls > MaxAttempts+2 || m.note() != nil || there == nil):
				t.Errorf("it does not end: %v, %d calls, %v", err, m.calls, there)
			}
		})
	}
}

func TestItGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(t)
		m.killed("k3s-download")
		err := m.resume(ends(reason.Newf(reason.DownloadFailed, "no route")))
		if !reason.Is(err, reason.NotResumed) || m.calls != MaxAttempts || m.note() != nil || m.begun() != FailedBefore {
			t.Errorf("%v after %d calls, %s", err, m.calls, m.begun())
		}
		if !strings.Contains(err.Error(), "no route") {
			t.Errorf("it does not say why: %v", err)
		}
		if err := m.resume(ends(nil)); err != nil || m.calls != MaxAttempts {
			t.Errorf("it goes on nevertheless: %v", err)
		}
	})
}

// TestAMachineThatDiesOfIt has every attempt end with the machine: where it gets no further it must end, where it does it must not.
func TestAMachineThatDiesOfIt(t *testing.T) {
	for _, further := range []bool{false, true} {
		m := newMachine(t)
		m.killed("a")
		dies := errors.New("the power went")
		ctx, cut := context.WithCancel(t.Context())
		defer cut()
		var err error
		for n := range 3 * MaxAttempts {
			m.boot(strings.Repeat("x", n+1))
			ctx, cut = context.WithCancel(t.Context())
			r := Resumer{Dir: m.dir, Root: m.root, Operations: map[string]Operation{
				installCommand: func(_ context.Context, g *Guard, _ json.RawMessage) error {
					m.calls++
					if err := g.Begin(ctx); err != nil {
						t.Fatal(err)
					}
					step := "a"
					if further {
						step = "a" + strings.Repeat("b", n)
					}
					m.run(t.Context(), g.Store, step, dies)
					cut()
					return g.End(ctx, dies)
				},
			}}
			if err = r.Run(ctx); !errors.Is(err, dies) {
				break
			}
		}
		switch {
		case further && (m.calls != 3*MaxAttempts || m.note() == nil):
			t.Errorf("it ended after %d attempts: %v", m.calls, err)
		case !further && (m.calls != MaxAttempts || !reason.Is(err, reason.NotResumed) || m.note() != nil):
			t.Errorf("it ended after %d attempts: %v", m.calls, err)
		}
	}
}

package plan

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

// bell is a thing of the machine that only commands reach.
type bell struct {
	rings bool
	stuck bool
	slow  bool
	calls []string
}

func (b *bell) run(_ context.Context, _ time.Duration, argv ...string) ([]byte, error) {
	b.calls = append(b.calls, strings.Join(argv, " "))
	switch {
	case argv[1] == "check" && b.slow:
		return nil, context.DeadlineExceeded
	case argv[1] == "check" && !b.rings, argv[1] == "off" && b.stuck:
		return nil, errors.New("exit status 1")
	case argv[1] == "off":
		b.rings = false
	}
	return nil, nil
}

// ring runs a step that rings the bell and then fails or not.
func ring(t *testing.T, h *fakeHost, b *bell, v Reversal, fails, dies bool) error {
	t.Helper()
	s := h.open(nil)
	defer s.Close()
	s.Run = b.run
	defer func() { _ = recover() }()
	_, err := (&Runner{Store: s}).Run(t.Context(), Plan{Name: "x", Steps: []Step{{
		ID:   "ring",
		Done: func(context.Context) (bool, error) { return b.rings, nil },
		Do: func(_ context.Context, r *Recorder) error {
			if !b.rings {
				if err := r.Act("bell", "door", v, func() error {
					b.rings = true
					if dies {
						panic("crash")
					}
					return nil
				}); err != nil {
					return err
				}
			}
			if fails {
				return errors.New("no")
			}
			return nil
		},
	}}})
	return err
}

func TestCommandsUndoWhatHasNoFile(t *testing.T) {
	v := Reversal{Check: []string{"bell", "check"}, Undo: []string{"bell", "off"}}

	h, b := newHost(t), &bell{}
	if err := ring(t, h, b, v, true, false); !reason.Is(err, reason.StepFailed) || b.rings {
		t.Errorf("not undone: %v", err)
	}

	// a run that crashed has left its record, by which a later one undoes what it finds
	h, b = newHost(t), &bell{}
	if _ = ring(t, h, b, v, false, true); !b.rings {
		t.Fatal("it did not crash where it should")
	}
	if err := ring(t, h, b, v, true, false); !reason.Is(err, reason.StepFailed) || b.rings {
		t.Errorf("not undone after a crash: %v", err)
	}

	// what was there before is not ours
	h, b = newHost(t), &bell{}
	b.rings = true
	if err := ring(t, h, b, v, false, false); err != nil || len(b.calls) != 0 || !b.rings {
		t.Errorf("%v, %v", b.calls, err)
	}

	h, b = newHost(t), &bell{stuck: true}
	if err := ring(t, h, b, v, true, false); reason.Exit(err) != reason.ExitNotRolledBack {
		t.Errorf("stuck: %v", err)
	}
	// a question that was not answered is no answer
	h, b = newHost(t), &bell{slow: true}
	if err := ring(t, h, b, v, true, false); reason.Exit(err) != reason.ExitNotRolledBack || len(h.changes()) != 1 {
		t.Errorf("slow: %v, %v", err, h.changes())
	}
	v.Lax = true
	h, b = newHost(t), &bell{stuck: true}
	if err := ring(t, h, b, v, true, false); reason.Exit(err) != reason.ExitRolledBack || !b.rings {
		t.Errorf("lax: %v", err)
	}
	if want := []string{"bell check", "bell off"}; !slices.Equal(b.calls, want) {
		t.Errorf("calls: %v", b.calls)
	}
	if err := ring(t, newHost(t), &bell{}, Reversal{}, false, false); err == nil {
		t.Error("an act without an undo was made")
	}
}

package distro

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/pipeopshq/pipeops-agent/internal/bootstrap/plan"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
	"github.com/pipeopshq/pipeops-agent/internal/unit"
)

// TestLiveRemedy applies a remedy to this very machine, twice, after it has undone it once. The tests in lab machines build
// this test, put it into a machine and run it there; PIPEOPS_LIVE_REMEDY names the remedy and its values: ufw 10.42.0.0/16.
func TestLiveRemedy(t *testing.T) {
	words := strings.Fields(os.Getenv("PIPEOPS_LIVE_REMEDY"))
	if len(words) == 0 {
		t.Skip("changes this machine: only in a machine of the lab")
	}
	k := &k3sInstall{Install: Install{Dir: t.TempDir(), Remedies: []Remedy{{ID: words[0], Values: words[1:]}}}, settings: map[string]any{}}
	systemd, err := unit.Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer systemd.Close()
	k.Units = systemd
	early, late, err := k.applyRemedies()
	if err != nil {
		t.Fatal(err)
	}
	steps := slices.Concat(early, late)
	if len(steps) == 0 {
		t.Fatalf("%s has no step", words[0])
	}
	run := func(steps []plan.Step) (plan.Result, error) {
		s, err := plan.Open(k.Dir, "")
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		return (&plan.Runner{Store: s}).Run(t.Context(), plan.Plan{Name: "install", Steps: steps})
	}
	broken := slices.Clone(steps[:1])
	broken[0].Prove = func(context.Context) error { return errors.New("to be undone") }
	if _, err := run(broken); reason.Exit(err) != reason.ExitRolledBack {
		t.Fatalf("undo: %v", err)
	}
	if done, err := steps[0].Done(t.Context()); err != nil || done {
		t.Fatalf("undone it is still there (%v), or: %v", done, err)
	}
	if res, err := run(steps); err != nil || !slices.Contains(res.Changed, steps[0].ID) {
		t.Fatalf("%v, %v", res, err)
	}
	if res, err := run(steps); err != nil || len(res.Changed) > 0 {
		t.Fatalf("a second run changes %v, %v", res.Changed, err)
	}
}

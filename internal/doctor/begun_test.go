package doctor

import (
	"testing"

	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

// TestBegun: an install that waits, or was interrupted, is what is wrong, not the agent that it has not started yet.
func TestBegun(t *testing.T) {
	silent := reason.Newf(reason.AgentNotRunning, "nobody answers")
	for name, tt := range map[string]struct {
		change   func(*Patient)
		severity Severity
		code     reason.Code
		verdict  string
		exit     int
	}{
		"waits":       {func(p *Patient) { p.Begun = reason.Newf(reason.RebootNeeded, "x") }, Broken, reason.RebootNeeded, Unwell, 40},
		"interrupted": {func(p *Patient) { p.Begun = reason.Newf(reason.Interrupted, "x") }, Broken, reason.Interrupted, Unwell, 40},
		"under way":   {func(p *Patient) { p.Begun, p.UnderWay = reason.Newf(reason.Busy, "x"), true }, Note, reason.Busy, Healthy, 0},
		"beside an agent": {func(p *Patient) { p.Begun, p.Agent, p.Silence = reason.Newf(reason.ConsentNeeded, "x"), agent(), nil },
			Attention, reason.ConsentNeeded, Degraded, 40},
	} {
		p := captured(t, "k3s-ours-running")
		p.Silence = silent
		tt.change(&p)
		r := Examine(p)
		found := false
		for _, f := range r.Findings {
			if f.Code == reason.AgentNotRunning {
				t.Errorf("%s: the agent is blamed", name)
			}
			found = found || f.Code == tt.code && f.Severity == tt.severity && f.Evidence == "x"
		}
		if !found || r.Verdict != tt.verdict || reason.Exit(r.Err()) != tt.exit {
			t.Errorf("%s: %s, %v: %+v", name, r.Verdict, r.Err(), r.Findings)
		}
	}
}

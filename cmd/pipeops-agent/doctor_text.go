package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/console"
	"github.com/pipeopshq/pipeops-agent/internal/distro"
	"github.com/pipeopshq/pipeops-agent/internal/doctor"
	"github.com/pipeopshq/pipeops-agent/internal/health"
	"github.com/pipeopshq/pipeops-agent/internal/host"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

// maxFindings is how many findings of one severity are shown unless all are asked for.
const maxFindings = 6

// showReport lists what is wrong, the worst first, each with its code and the way out, and ends in the verdict.
func showReport(p *console.Page, facts host.Facts, r doctor.Report) {
	p.Line(0, console.Bold, "%s", facts.Summary())
	if n := r.Node; n != nil {
		text := n.Name + ", a " + n.Role
		if len(n.Servers) > 0 {
			text += "; its servers: " + strings.Join(n.Servers, ", ")
		}
		p.Line(0, "", "Node %s", console.Clean(text))
	}
	p.Blank()
	for _, s := range doctor.Severities() {
		showFindings(p, s, r.Findings)
	}
	showConditions(p, r.Conditions, time.Now())
	p.Row(console.Row{Label: "Verdict", Column: 9, Text: verdict(r), Look: console.Bold, Style: verdictStyle(r)})
}

// showConditions lists what the agent looks after: what is so by name only, the rest with the reason. What is False is among
// the findings too.
func showConditions(p *console.Page, all []wire.Condition, now time.Time) {
	if len(all) == 0 {
		return
	}
	var so []string
	p.Line(0, console.Bold, "%s", "Conditions")
	for _, c := range all {
		text := c.Type
		if !c.Checked.IsZero() {
			text += " (tried " + age(now.Sub(c.Checked)) + " ago)"
		}
		switch c.Status {
		case health.True:
			so = append(so, text)
		case health.False:
			p.Row(console.Row{Indent: 2, Label: "✗", Column: 2, Text: text + ": " + c.Reason, Look: console.Red})
		default:
			if c.Message != "" {
				text += ": " + c.Message
			}
			p.Row(console.Row{Indent: 2, Label: "?", Column: 2, Text: text + " [" + c.Reason + "]", Look: console.Dim})
		}
	}
	if len(so) > 0 {
		p.Row(console.Row{Indent: 2, Label: "✓", Column: 2, Text: strings.Join(so, ", "), Look: console.Green})
	}
	p.Blank()
}

func showFindings(p *console.Page, s doctor.Severity, all []doctor.Finding) {
	var found []doctor.Finding
	for _, f := range all {
		if f.Severity == s {
			found = append(found, f)
		}
	}
	if len(found) == 0 {
		return
	}
	title, mark, style := "Good to know", "·", console.Dim
	switch s {
	case doctor.Broken:
		title, mark, style = "Broken", "✗", console.Red
	case doctor.Attention:
		title, mark, style = "Needs attention", "!", console.Yellow
	}
	p.Line(0, console.Bold, "%s", title)
	n := p.Most(len(found), maxFindings)
	for _, f := range found[:n] {
		text := f.Title
		if f.Evidence != "" {
			text += ": " + f.Evidence
		}
		if f.Code != "" {
			text += " [" + string(f.Code) + "]"
		}
		p.Row(console.Row{Indent: 2, Label: mark, Column: 2, Text: text, Look: style})
		fix := "fix: " + f.Fix
		if f.Where != reason.Here {
			fix = "fix on the " + string(f.Where) + ": " + f.Fix
		}
		if f.Cost != reason.CostNone && f.Cost != reason.CostOuterHost {
			fix += " (cost: " + string(f.Cost) + ")"
		}
		p.Line(4, console.Dim, "%s", fix)
	}
	p.More(4, len(found)-n)
	p.Blank()
}

// verdict is the report in one line.
func verdict(r doctor.Report) string {
	var counts []string
	for _, c := range []struct {
		n    int
		what string
	}{{r.Count(doctor.Broken), "broken"}, {r.Count(doctor.Attention), "to attend to"}} {
		if c.n > 0 {
			counts = append(counts, fmt.Sprintf("%d %s", c.n, c.what))
		}
	}
	s := r.Verdict
	if r.UnderWay() {
		s = "not finished: an install or uninstall is under way"
	} else if r.Verdict == doctor.NotInstalled {
		if r.Chosen() == "" {
			return s + ", and this machine would be refused; pipeops-agent plan says what it would take"
		}
		s += "; " + r.Chosen() + " fits this machine"
		if r.Chosen() == distro.Existing {
			s = r.Verdict + "; the cluster that is here can be adopted"
		}
	}
	if len(counts) > 0 {
		s += " (" + strings.Join(counts, ", ") + ")"
	}
	return s
}

func verdictStyle(r doctor.Report) console.Style {
	switch {
	case r.Verdict == doctor.Unwell, r.Verdict == doctor.NotInstalled && r.Chosen() == "":
		return console.Red
	case r.Verdict == doctor.Degraded:
		return console.Yellow
	}
	return console.Green
}

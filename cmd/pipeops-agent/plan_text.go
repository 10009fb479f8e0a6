package main

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/pipeopshq/pipeops-agent/internal/bootstrap"
	"github.com/pipeopshq/pipeops-agent/internal/console"
	"github.com/pipeopshq/pipeops-agent/internal/distro"
	"github.com/pipeopshq/pipeops-agent/internal/host"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

// maxOfKind is how many changes of one kind are shown unless all are asked for.
const maxOfKind = 7

// showPlan shows a plan so that it is read in ten seconds: what the machine is, what fits and why not the others, what will
// be changed and what that costs, what others have to do, what is not as it should be.
func showPlan(p *console.Page, plan bootstrap.Plan) {
	d := plan.Decision
	p.Line(0, console.Bold, "%s", plan.Facts.Summary())
	p.Blank()
	d.ShowChoice(p)
	if d.Chosen != "" && !plan.Unavailable {
		p.Blank()
		showSettings(p, plan)
		showChanges(p, plan)
	}
	if plan.Unavailable {
		planRow(p, "But", "this version cannot install "+d.Chosen+" yet: install says so before it changes anything ["+string(reason.DistroNotAvailable)+"]", console.Yellow)
	}
	d.ShowRemedies(p)
	if d.Chosen != "" && !plan.Unavailable {
		showCosts(p, plan)
	} else if d.Err() != nil {
		planRow(p, "Exit code", fmt.Sprint(reason.Exit(d.Err()))+"; plan --explain CODE tells more of a reason", console.Dim)
	}
	d.ShowElsewhere(p)
	d.ShowWarnings(p)
	if p.All || plan.DryRun {
		showSteps(p, plan.Steps)
	}
	if plan.DryRun {
		p.Blank()
		if plan.WithoutRoot {
			planRow(p, "Without root", "this is what root would see, as far as others may look", console.Yellow)
		}
		planRow(p, "Dry run", "nothing was changed", console.Green)
	}
}

func planRow(p *console.Page, label, text string, style console.Style) {
	p.Row(console.Row{Label: label, Column: distro.Column, Text: text, Look: console.Bold, Style: style})
}

// showChanges groups what the steps change, in the order in which people ask.
func showChanges(p *console.Page, plan bootstrap.Plan) {
	kinds := []struct {
		label string
		items []string
	}{{label: "Files"}, {label: "Units"}, {label: "Settings"}, {label: "Packages"}, {label: "Also"}}
	for _, s := range plan.Steps {
		for _, change := range s.Changes {
			i, text := kindOfChange(change)
			if i >= len(kinds) {
				continue
			}
			if path, _, remark := strings.Cut(text, " ("); remark && i == 0 && !p.All {
				text = path
			}
			kinds[i].items = append(kinds[i].items, text)
		}
	}
	for _, c := range plan.Facts.Clusters {
		if c.Ours.Value && c.Name == plan.Decision.Chosen {
			planRow(p, "In place", c.Name+" of pipeops-agent, "+map[bool]string{true: "running", false: "not running"}[c.State == host.Running]+
				"; what is as it should be is left alone", console.Green)
		}
	}
	for _, k := range kinds {
		label := k.label
		n := p.Most(len(k.items), maxOfKind)
		if !p.All && n > 0 {
			planRow(p, label, strings.Join(k.items[:n], ", "), "")
			p.More(distro.Column, len(k.items)-n)
			continue
		}
		for _, item := range k.items[:n] {
			planRow(p, label, item, "")
			label = ""
		}
		p.More(distro.Column, len(k.items)-n)
	}
}

// kindOfChange sorts a change that a step announces: the index of its group in showChanges, and its text there. Downloads
// have a line of their own.
func kindOfChange(change string) (kind int, text string) {
	const files, units, settings, packages, also, download = 0, 1, 2, 3, 4, 5
	if text, ok := strings.CutPrefix(change, "systemd unit "); ok {
		return units, text
	}
	if text, ok := strings.CutPrefix(change, "downloads from "); ok {
		return download, text
	}
	if strings.HasPrefix(change, "downloads of ") { // they come from more than one place
		return download, change
	}
	first, _, _ := strings.Cut(change, " ")
	switch {
	case strings.HasPrefix(change, "/"):
		return files, change
	case strings.HasPrefix(change, "package"):
		_, text, _ := strings.Cut(change, " ")
		return packages, cmp.Or(text, change)
	case strings.Contains(first, "="), strings.Contains(change, " = "):
		return settings, change
	}
	return also, change
}

// showCosts tells what an install takes: bytes, reboots.
func showCosts(p *console.Page, plan bootstrap.Plan) {
	var bytes int64
	about := false
	var from []string
	var proofs []string
	for _, s := range plan.Steps {
		bytes += s.Bytes
		about = about || s.About
		for _, change := range s.Changes {
			if source, ok := strings.CutPrefix(change, "downloads from "); ok {
				from = append(from, source)
			}
		}
		if s.Proof {
			proofs = append(proofs, strings.ReplaceAll(strings.TrimPrefix(s.ID, "layer-"), "-", " "))
		}
	}
	size := "about " + host.Bytes(uint64(bytes))
	if !about {
		size = fmt.Sprintf("%s (%d bytes)", host.Bytes(uint64(bytes)), bytes)
	}
	switch {
	case bytes > 0 && len(from) > 0:
		planRow(p, "Download", size+" from "+strings.Join(from, ", "), "")
	case bytes > 0:
		planRow(p, "Download", size, "")
	case len(from) > 0:
		planRow(p, "Download", "from "+strings.Join(from, ", "), "")
	default:
		planRow(p, "Download", "nothing", "")
	}
	var reboots []string
	for _, r := range plan.Decision.Remedies {
		if r.Cost == reason.CostReboot {
			reboots = append(reboots, r.Title)
		}
	}
	if len(reboots) > 0 {
		planRow(p, "Reboot", "one, since: "+strings.Join(reboots, ", "), console.Yellow)
	} else {
		planRow(p, "Reboot", "none", "")
	}
	if len(proofs) > 0 {
		planRow(p, "Proof", "at the end, of: "+strings.Join(proofs, ", "), "")
	}
}

// showSettings shows what becomes of the settings of the last install.
func showSettings(p *console.Page, plan bootstrap.Plan) {
	if plan.SettingsHidden {
		planRow(p, "Settings of", "the last install are not in this plan: root can read them", console.Yellow)
	}
	label := "Difference"
	for _, c := range plan.Settings {
		text := c.String()
		if c.Restarts != "" {
			text += " (starts " + c.Restarts + " anew)"
		}
		planRow(p, label, text, console.Yellow)
		label = ""
	}
}

func showSteps(p *console.Page, steps []bootstrap.PlannedStep) {
	label := "Steps"
	for _, s := range steps {
		if label != "" {
			p.Blank()
		}
		text := fmt.Sprintf("%-18s ", s.ID)
		style := console.Style("")
		if s.State != "" {
			text += fmt.Sprintf("%-15s ", s.State)
			style = map[string]console.Style{bootstrap.IsUnchanged: console.Dim, bootstrap.StateUnknown: console.Yellow}[s.State]
		}
		text += s.Title
		if s.Note != "" {
			text += " (" + s.Note + ")"
		}
		planRow(p, label, text, style)
		label = ""
	}
}

package distro

import (
	"fmt"
	"slices"
	"strings"

	"github.com/pipeopshq/pipeops-agent/internal/console"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

// Column is the width of the labels on the left of a decision.
const Column = 13

// How many of a kind are shown unless all are asked for.
const (
	maxReasons  = 5
	maxWarnings = 4
	maxRemedies = 6
	maxChanges  = 2 // of what a rejected distribution would take
	maxUnknown  = 8
)

// Text returns the decision for people, without colours and not wrapped: what Show shows. Every line ends with a newline.
func (d Decision) Text() string {
	p := &console.Page{}
	d.Show(p)
	return p.String()
}

// Show shows what was chosen and why not the others, what the machine needs for it, what must be done elsewhere, what is
// not as it should be and what is not known.
func (d Decision) Show(p *console.Page) {
	d.ShowChoice(p)
	d.ShowRemedies(p)
	d.ShowElsewhere(p)
	d.ShowWarnings(p)
}

// ShowChoice shows what was chosen, or why nothing was, and one line for each of the others.
func (d Decision) ShowChoice(p *console.Page) {
	dist, ok := d.Distribution()
	if ok {
		text, style := dist.Name+", "+strings.TrimPrefix(dist.Title, dist.Name+", "), console.Green
		if k, _ := d.Candidate(d.Chosen); 2*len(k.Unknown) > len(dist.Requirements) {
			text, style = text+", for all that can be seen, which is little", console.Yellow
		}
		row(p, "Fits", text, style)
	} else {
		row(p, "Fits", "nothing", console.Red)
	}
	if k, ok := d.Candidate(d.focus()); ok && len(k.Reasons) > 0 {
		label := "In spite of" // asked for by name
		if d.Chosen == "" {
			label = "Not " + k.Name
		}
		showReasons(p, label, k.Reasons, maxReasons, true)
	}
	d.showOthers(p)
}

// showOthers shows why the others were not chosen: for each the reason that matters most, and what it would take. Those of
// which the same is to be said share a line. That a machine without a cluster has none to adopt goes without saying.
func (d Decision) showOthers(p *console.Page) {
	type line struct {
		names []string
		text  string
	}
	var lines []line
	for _, k := range d.Candidates {
		if k.Name == d.focus() || k.Name == Existing && d.requested != Existing && k.only(reason.ClusterNone) {
			continue
		}
		text := k.summary(p)
		i := slices.IndexFunc(lines, func(l line) bool { return l.text == text })
		if i < 0 {
			lines = append(lines, line{text: text})
			i = len(lines) - 1
		}
		lines[i].names = append(lines[i].names, k.Name)
	}
	for i, l := range lines {
		label := ""
		if i == 0 {
			label = "Not chosen"
		}
		row(p, label, strings.Join(l.names, ", ")+": "+l.text, console.Dim)
	}
}

// only reports whether a code is all that speaks against a candidate.
func (k Candidate) only(code reason.Code) bool {
	return !slices.ContainsFunc(k.Reasons, func(r Reason) bool { return r.Code != code }) && len(k.Reasons) > 0
}

// summary says in a line why a candidate was not chosen and what it would take.
func (k Candidate) summary(p *console.Page) string {
	if k.Verdict == Eligible {
		return "fits too; ask for it with --distro"
	}
	change := slices.Clone(k.Counterfactual)
	if choice := "--distro " + k.Name; len(change) > 1 { // that it would have to be asked for too goes without saying
		change = slices.DeleteFunc(change, func(c string) bool { return c == choice })
	}
	var s string
	if len(k.Reasons) > 0 {
		s = k.Reasons[0].Title
	}
	if n := p.Most(len(change), maxChanges); n < len(change) {
		change = append(change[:n:n], fmt.Sprintf("and %d more (-v)", len(change)-n))
	}
	if len(change) > 0 {
		s += "; needs " + strings.ReplaceAll(strings.Join(change, ", "), ", and", " and")
	}
	return strings.TrimPrefix(s, "; ")
}

// ShowRemedies shows what the chosen distribution needs on this machine and gets.
func (d Decision) ShowRemedies(p *console.Page) {
	showRemedies(p, "Remedies", d.Remedies)
}

// ShowElsewhere shows what an install does not do by itself: what needs the user's consent, and what has to be changed
// outside this machine.
func (d Decision) ShowElsewhere(p *console.Page) {
	if len(d.Consent) > 0 {
		showRemedies(p, "Consent", d.Consent)
		var costs []string
		for _, r := range d.Consent {
			if !slices.Contains(costs, string(r.Cost)) {
				costs = append(costs, string(r.Cost))
			}
		}
		row(p, "", "agree with --consent "+strings.Join(costs, ","), console.Bold)
	}
	for _, patch := range d.Outer {
		patch.show(p)
	}
}

// ShowWarnings shows what is worse than it should be with what was chosen, and what could not be judged.
func (d Decision) ShowWarnings(p *console.Page) {
	k, ok := d.Candidate(d.focus())
	if !ok {
		return
	}
	if d.Chosen != "" || p.All {
		showReasons(p, "Warnings", k.Warnings, maxWarnings, false)
	}
	if n := p.Most(len(k.Unknown), maxUnknown); n > 0 && (d.Chosen != "" || p.All) {
		s := strings.Join(k.Unknown[:n], ", ")
		if left := len(k.Unknown) - n; left > 0 {
			s += fmt.Sprintf(" and %d more", left)
		}
		row(p, "Not known", s+" (probe --trials may tell; install tries before it changes anything)", console.Dim)
	}
}

// row adds a row whose label stands on the left.
func row(p *console.Page, label, text string, style console.Style) {
	p.Row(console.Row{Label: label, Column: Column, Text: text, Look: console.Bold, Style: style})
}

// showReasons shows reasons with what was seen; those that refuse come with the way out.
func showReasons(p *console.Page, label string, all []Reason, most int, ways bool) {
	n := p.Most(len(all), most)
	for i, r := range all[:n] {
		if i > 0 {
			label = ""
		}
		text := r.Title
		if r.Evidence != "" {
			text += ": " + r.Evidence
		}
		style := console.Style("")
		if !ways {
			style = console.Yellow
		}
		row(p, label, text+" ["+string(r.Code)+"]", style)
		if ways || p.All {
			row(p, "", "fix"+where(r.Where)+": "+r.Fix+price(r.Cost), "")
		}
	}
	p.More(Column, len(all)-n)
}

func showRemedies(p *console.Page, label string, all []Remedy) {
	n := p.Most(len(all), maxRemedies)
	for i, r := range all[:n] {
		if i > 0 {
			label = ""
		}
		text := r.Title + price(r.Cost)
		if r.Evidence != "" {
			text += ", since: " + shortened(r.Evidence, p.All)
		}
		row(p, label, text, "")
		if r.Risk != "" {
			row(p, "", "risk: "+r.Risk, console.Yellow)
		}
	}
	p.More(Column, len(all)-n)
}

// maxEvidence bounds the evidence of a remedy in a view that leaves something out, in bytes.
const maxEvidence = 100

// shortened cuts an evidence at a word.
func shortened(s string, whole bool) string {
	if whole || len(s) <= maxEvidence {
		return s
	}
	cut := strings.LastIndexByte(s[:maxEvidence], ' ')
	if cut < 0 {
		return s
	}
	return strings.TrimRight(s[:cut], ",;: ") + " ..."
}

// where says on which side a fix must be applied, if not here.
func where(w reason.Where) string {
	if w == reason.Here || w == "" {
		return ""
	}
	return " on the " + string(w)
}

// price says what a change takes, if it is more than a setting.
func price(c reason.Cost) string {
	switch c {
	case reason.CostPackage:
		return " (installs a package)"
	case reason.CostReboot:
		return " (takes a reboot)"
	}
	return ""
}

// show shows lines that can be pasted as they are: none is wrapped. What a line gives away stands behind a command if there
// is room; in a file it stands above, for not every file knows a comment at the end of a line.
func (h Patch) show(p *console.Page) {
	p.Blank()
	row(p, "Outside", "on "+h.Host+", ready to be pasted:", console.Bold)
	file := ""
	for _, l := range h.Lines {
		if l.File != file && l.File != "" {
			p.Line(2, console.Dim, "# in %s:", l.File)
		}
		file = l.File
		one := l.Text + "  # " + l.Risk
		switch {
		case l.Risk == "":
			p.Paste(2, l.Text)
		case l.File == "" && (p.Width == 0 || len([]rune(one))+2 <= p.Width):
			p.Paste(2, one)
		case l.File == "":
			p.Paste(2, l.Text)
			p.Row(console.Row{Indent: 2, Label: "  #", Column: 4, Text: l.Risk, Style: console.Dim, Look: console.Dim})
		default:
			p.Row(console.Row{Indent: 2, Label: "#", Column: 2, Text: l.Risk, Style: console.Dim, Look: console.Dim})
			p.Paste(2, l.Text)
		}
	}
}

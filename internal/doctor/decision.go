package doctor

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/pipeopshq/pipeops-agent/internal/distro"
	"github.com/pipeopshq/pipeops-agent/internal/host"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

// decide asks what an install would do: again with what is installed, or with what was asked for. Who asks is not what is
// judged: it is decided as for root.
func decide(p Patient, installed bool) distro.Decision {
	r := p.Request
	if installed {
		r.Distro = p.distribution()
	}
	f := p.Facts
	f.UID = host.Is(0)
	r.Node = joinedAs(f)
	return distro.Decide(f, p.Trials, r)
}

// joinedAs is the role in which the machine has joined a cluster, "" if it has not.
func joinedAs(f host.Facts) wire.Role {
	for _, c := range f.Clusters {
		switch _, joined := c.Settings["server"]; {
		case !joined || !ours(c):
		case c.Role == "agent":
			return wire.RoleWorker
		default:
			return wire.RoleServer
		}
	}
	return ""
}

// decisionFindings judges the requirements of what is installed or would be: those that are not met, those that only advise,
// what the machine needs beside, and what could not be judged.
func (p Patient) decisionFindings(d distro.Decision, installed bool) []Finding {
	name := d.Chosen
	if name == "" {
		name = p.distribution()
	}
	if name == distro.Auto {
		name = distro.K3s
	}
	k, ok := d.Candidate(name)
	if !ok {
		return nil
	}
	severity := Broken
	if d.Chosen != "" || installed && p.runs() {
		severity = Attention
	}
	var all []Finding
	for _, r := range k.Reasons {
		f := of(severity, r)
		f.harmless = d.Chosen != "" // overruled by who asked for it by name
		all = append(all, f)
	}
	for _, r := range k.Warnings {
		f := of(Attention, r)
		f.harmless = true
		all = append(all, f)
	}
	for _, r := range d.Consent {
		f := remedy(Attention, r)
		f.Fix = "agree to it: --consent " + string(r.Cost)
		f.harmless = true
		all = append(all, f)
	}
	for _, r := range d.Remedies {
		all = append(all, remedy(Note, r))
	}
	try := "run it as root with --trials"
	if uid, known := p.Facts.UID.Get(); known && uid == 0 {
		try = "run it with --trials"
	} else if known {
		all = append(all, found(Note, reason.HostNotRoot, "not everything can be seen by others than root", ""))
	}
	if len(k.Unknown) > 0 && d.Chosen != "" {
		all = append(all, Finding{
			Severity: Note, Title: "not everything could be judged", Evidence: few(k.Unknown),
			Fix: try, Where: reason.Here, Cost: reason.CostNone,
		})
	}
	return all
}

// of makes a finding of a reason of the decision.
func of(s Severity, r distro.Reason) Finding {
	return Finding{Severity: s, Code: r.Code, Title: r.Title, Evidence: r.Evidence, Fix: r.Fix, Where: r.Where, Cost: r.Cost, Doc: reason.Lookup(r.Code).Doc()}
}

// remedy makes a finding of a change that an install makes to fit this machine.
func remedy(s Severity, r distro.Remedy) Finding {
	f := Finding{
		Severity: s, Code: r.Code, Title: r.Title, Evidence: r.Evidence, Fix: "nothing: install sees to it",
		Where: cmp.Or(r.Where, reason.Here), Cost: cmp.Or(r.Cost, reason.CostNone),
	}
	if e, ok := reason.Find(string(r.Code)); ok {
		f.Doc = e.Doc()
	}
	return f
}

// maxNamed bounds how many requirements one finding names.
const maxNamed = 8

// few names the first of a list, and says how many there are beside.
func few(names []string) string {
	if left := len(names) - maxNamed; left > 1 {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:maxNamed], ", "), left)
	}
	return strings.Join(names, ", ")
}

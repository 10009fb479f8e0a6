// Package doctor judges a machine with or without an install: what of the facts, the decision, the agent's own conditions
// and its cluster is not as it should be, how bad that is, and the way out. It reads nothing and changes nothing.
package doctor

import (
	"cmp"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/distro"
	"github.com/pipeopshq/pipeops-agent/internal/host"
	"github.com/pipeopshq/pipeops-agent/internal/localapi"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
	"github.com/pipeopshq/pipeops-agent/internal/supervise"
	"github.com/pipeopshq/pipeops-agent/internal/trial"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

// Patient is all that is known of a machine. Whatever was not looked at is zero.
type Patient struct {
	Facts   host.Facts
	Trials  trial.Results
	Request distro.Request // its Distro is that of the settings

	Begun    error               // what has begun and not come to its end, as an entry of the catalogue; nil: nothing
	UnderWay bool                // and a process is at it
	Settings error               // why the settings cannot be used; nil if they can
	Enrolled bool                // the machine has an identity at a gateway
	Identity error               // why that identity cannot be used; nil if it can, or there is none
	Expires  time.Time           // when the certificate of that identity ends; zero is unknown
	Agent    *localapi.Status    // nil: it did not answer, or was not asked
	Silence  error               // why it did not answer; nil if it was not asked
	Services *supervise.Overview // what runs the services says of them, where that is we; nil: it did not answer, or was not asked
	Alone    error               // why it did not; nil if it was not asked
	Words    distro.Words        // what a k3s that is not well said last; see [Patient.Ails]
	Now      time.Time
}

// Severity says how bad a finding is.
type Severity string

// The severities, worst first.
const (
	Broken    Severity = "broken"    // the cluster or the agent does not do its work, or the machine cannot be one
	Attention Severity = "attention" // it works, and will or may not for long
	Note      Severity = "note"      // good to know
)

// Severities returns them, worst first.
func Severities() []Severity { return []Severity{Broken, Attention, Note} }

// Finding is something that is not as it should be. Code is that of the catalogue; "" where there is none.
type Finding struct {
	Severity Severity     `json:"severity"`
	Code     reason.Code  `json:"code"`
	Title    string       `json:"title"`
	Evidence string       `json:"evidence"`
	Fix      string       `json:"fix"`
	Where    reason.Where `json:"where"`
	Cost     reason.Cost  `json:"cost"`
	Doc      string       `json:"doc"`

	harmless bool // it does not make what is installed worse
}

// The verdicts.
const (
	Healthy      = "healthy"
	Degraded     = "degraded"
	Unwell       = "broken"
	NotInstalled = "not installed"
)

// Report is the judgement: the document that `doctor -o json` prints.
type Report struct {
	Verdict  string    `json:"verdict"`
	Findings []Finding `json:"findings"` // worst first
	// Conditions are those of the running agent, causes first; none if it did not answer.
	Conditions []wire.Condition `json:"conditions"`
	// Node is what the machine is in a cluster that it has joined; nil if it has joined none, or the agent does not say.
	Node *Node `json:"node,omitempty"`

	chosen   string
	refusal  error
	underWay bool
}

// Node is a machine in a cluster that it has joined.
type Node struct {
	Name    string   `json:"name"`
	Role    string   `json:"role"`              // "server" or "worker"
	Servers []string `json:"servers,omitempty"` // that a worker knows of, host:port
}

// UnderWay reports whether a process is changing the machine just now: the verdict is that of a moment.
func (r Report) UnderWay() bool { return r.underWay }

// Examine judges. It is a pure function: the same patient gives the same report.
func Examine(p Patient) Report {
	installed := p.installed()
	d := decide(p, installed)
	r := Report{Verdict: NotInstalled, Findings: []Finding{}, Conditions: []wire.Condition{}, chosen: d.Chosen, underWay: p.UnderWay}
	if p.Agent != nil {
		r.Conditions = append(r.Conditions, p.Agent.Conditions...)
		if p.Agent.Node != "" {
			r.Node = &Node{Name: p.Agent.Node, Role: p.Agent.Role, Servers: p.Agent.Servers}
		}
	}
	if installed {
		r.add(p.diagnosis()...) // first, for the rest are its consequences
		r.add(p.serviceFindings()...)
		r.add(p.agentFindings()...)
		r.add(p.clusterFindings()...)
	} else {
		r.refusal = d.Err()
	}
	if p.Begun != nil {
		r.add(p.begun())
	}
	if p.Settings != nil {
		r.add(ofError(reason.Usage, p.Settings))
		if !installed {
			r.refusal = p.Settings
		}
	}
	if p.Identity != nil {
		r.add(ofError(reason.IdentityMissing, p.Identity))
	}
	r.add(p.decisionFindings(d, installed)...)
	slices.SortStableFunc(r.Findings, func(a, b Finding) int {
		return cmp.Compare(rank(a.Severity), rank(b.Severity))
	})
	if installed {
		r.Verdict = r.judge()
	}
	return r
}

// add adds findings. One whose code is there already becomes a part of that one.
func (r *Report) add(all ...Finding) {
	for _, f := range all {
		i := slices.IndexFunc(r.Findings, func(g Finding) bool { return g.Code == f.Code && (f.Code != "" || g.Evidence == f.Evidence) })
		if i < 0 {
			r.Findings = append(r.Findings, f)
			continue
		}
		r.Findings[i] = r.Findings[i].and(f)
	}
}

// and joins two findings of one code: with the evidence of both, as bad as the worse one, and with its way out. Of two that are
// as bad, what is said for this machine comes before what the catalogue says.
func (f Finding) and(other Finding) Finding {
	worse, rest := f, other
	if rank(other.Severity) < rank(f.Severity) {
		worse, rest = other, f
	}
	worse.Evidence = joined(f.Evidence, other.Evidence)
	if worse.Severity != rest.Severity {
		return worse
	}
	worse.harmless = f.harmless && other.harmless
	e, _ := reason.Find(string(f.Code))
	switch {
	case rest.Fix == e.Fix || rest.Where != worse.Where:
	case worse.Fix == e.Fix:
		worse.Fix, worse.Cost = rest.Fix, rest.Cost
	default:
		worse.Fix = joined(worse.Fix, rest.Fix)
	}
	return worse
}

// joined is two sentences in one, or the first where it says the second already.
func joined(a, b string) string {
	switch {
	case b == "" || slices.Contains(strings.Split(a, "; "), b):
		return a
	case a == "":
		return b
	}
	return a + "; " + b
}

func rank(s Severity) int { return slices.Index(Severities(), s) }

// judge is the verdict on what is installed.
func (r *Report) judge() string {
	verdict := Healthy
	for _, f := range r.Findings {
		switch {
		case f.Severity == Broken:
			return Unwell
		case f.Severity == Attention && !f.harmless:
			verdict = Degraded
		}
	}
	return verdict
}

// Count returns how many findings have a severity.
func (r Report) Count(s Severity) int {
	n := 0
	for _, f := range r.Findings {
		if f.Severity == s {
			n++
		}
	}
	return n
}

// Chosen is the distribution that is installed, or would be; "" is none.
func (r Report) Chosen() string { return r.chosen }

// Err returns nil if nothing is wrong. With an install the exit code of the error is 40; without one it is that of the
// refusal, 10 or 12.
func (r Report) Err() error {
	if r.Verdict == NotInstalled {
		return r.refusal
	}
	if r.Verdict == Healthy {
		return nil
	}
	worst := slices.IndexFunc(r.Findings, func(f Finding) bool { return f.Severity == Broken || !f.harmless && f.Severity == Attention })
	e := reason.New(reason.ClusterUnhealthy, r.Findings[worst].Evidence, nil)
	if f := r.Findings[worst]; f.Code != "" {
		e = reason.New(f.Code, f.Evidence, nil).WithFix(f.Fix)
		e.Exit = reason.ExitUnhealthy
	}
	return e
}

// ofError makes a finding of what went wrong while something was read. Its code is its own, or else the one given.
func ofError(code reason.Code, err error) Finding {
	var e *reason.Error
	if errors.As(err, &e) {
		return found(Broken, e.Code, text(err), e.Fix)
	}
	return found(Broken, code, err.Error(), "")
}

// found makes a finding of an entry of the catalogue. The fix is that of the entry unless another one is given.
func found(s Severity, code reason.Code, evidence, fix string) Finding {
	e := reason.Lookup(code)
	return Finding{Severity: s, Code: code, Title: e.Title, Evidence: evidence, Fix: cmp.Or(fix, e.Fix), Where: e.Where, Cost: e.Cost, Doc: e.Doc()}
}

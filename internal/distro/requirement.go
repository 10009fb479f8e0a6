// Package distro decides which Kubernetes distribution fits a machine, and says why and why not the others. A
// requirement judges facts and reads nothing; the decision walks an ordered list of distributions, asks each whether its
// requirements are met, and takes the first that fits. There are no scores, the same facts give the same decision byte by
// byte, and what is unknown refuses nothing.
package distro

import (
	"slices"

	"github.com/pipeopshq/pipeops-agent/internal/host"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
	"github.com/pipeopshq/pipeops-agent/internal/trial"
)

// Verdict is the outcome of one requirement.
type Verdict string

// The verdicts.
const (
	Met     Verdict = "met"
	Unmet   Verdict = "unmet"
	Unknown Verdict = "unknown" // could not be judged; refuses nothing
	Waived  Verdict = "waived"  // unmet, but the user asked for the distribution by name
)

// Case is what a requirement judges.
type Case struct {
	Facts   host.Facts
	Trials  trial.Results
	Request Request
}

// Requirement is something that a distribution needs of a machine. Judge is a pure function.
type Requirement struct {
	Name  string      // lower-kebab
	Code  reason.Code // of the reason when it is unmet
	Judge func(Case) Finding

	// Final marks what makes all other requirements beside the point when it is unmet.
	Final bool
	// Advice marks what makes a distribution worse but not impossible: unmet, it warns.
	Advice bool
	// Waivable marks what the user may overrule by asking for the distribution by name.
	Waivable bool
}

// Finding is the judgement of one requirement on one machine. Fix, Where and Cost are those of the catalogue unless set.
type Finding struct {
	Verdict  Verdict
	Code     reason.Code // other than that of the requirement
	Evidence string      // what was seen and what is needed, in one line
	Change   string      // what would have to be so to turn unmet into met: "512 MiB more memory"
	Fix      string
	Where    reason.Where
	Cost     reason.Cost
	Remedies []Remedy // all of which together turn unmet into met
	Warns    bool     // it is advice this time
	Last     bool     // met or not, other distributions that fit come first
}

func met() Finding     { return Finding{Verdict: Met} }
func unknown() Finding { return Finding{Verdict: Unknown} }

func unmet(evidence, change string) Finding {
	return Finding{Verdict: Unmet, Evidence: evidence, Change: change}
}

// fixed returns the finding with a more specific way out.
func (f Finding) fixed(fix string) Finding {
	f.Fix = fix
	return f
}

// cured returns the finding with what an install can do about it. Code and Evidence of a remedy are those of the finding
// unless set.
func (f Finding) cured(all ...Remedy) Finding {
	f.Remedies = append(slices.Clone(f.Remedies), all...)
	return f
}

// advice returns the finding as one that only warns.
func (f Finding) advice() Finding {
	f.Warns = true
	return f
}

// cost is the highest cost of the remedies.
func (f Finding) cost() reason.Cost {
	highest := reason.CostNone
	for _, r := range f.Remedies {
		if slices.Index(costs(), r.Cost) > slices.Index(costs(), highest) {
			highest = r.Cost
		}
	}
	return highest
}

// costs are the costs that a remedy can have, cheapest first.
func costs() []reason.Cost {
	return []reason.Cost{reason.CostNone, reason.CostSysctl, reason.CostPackage, reason.CostReboot}
}

// outside returns the finding with a way out that the outer host has to take.
func (f Finding) outside(fix string) Finding {
	f.Fix, f.Where, f.Cost = fix, reason.OuterHost, reason.CostOuterHost
	return f
}

// reason turns an unmet finding into what the user reads.
func (f Finding) reason(code reason.Code) Reason {
	if f.Code != "" {
		code = f.Code
	}
	e := reason.Lookup(code)
	r := Reason{Code: code, Title: e.Title, Evidence: f.Evidence, Fix: e.Fix, Where: e.Where, Cost: e.Cost}
	if f.Fix != "" {
		r.Fix = f.Fix
	}
	if f.Where != "" {
		r.Where = f.Where
	}
	if f.Cost != "" {
		r.Cost = f.Cost
	}
	if len(f.Remedies) > 0 { // an install can do it, if it may
		r.Where, r.Cost = reason.Here, f.cost()
	}
	return r
}

package distro

import (
	"fmt"
	"strings"

	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

// Text returns the decision for people: what was chosen, why not the others, what it would take. Every line ends with a
// newline.
func (d Decision) Text() string {
	var out strings.Builder
	if dist, ok := Get(d.Chosen); ok {
		fmt.Fprintf(&out, "Chosen: %s (%s)\n", dist.Name, dist.Title)
	} else {
		fmt.Fprintf(&out, "Nothing fits this machine.\n")
	}
	for _, k := range d.Candidates {
		verdict := k.Verdict
		if verdict == string(Waived) {
			verdict = "chosen, since it was asked for by name, in spite of:"
		}
		fmt.Fprintf(&out, "\n  %-9s %s\n", k.Name, verdict)
		for _, r := range k.Reasons {
			r.write(&out, "-", d.advises(k))
		}
		for _, r := range k.Warnings {
			if k.Verdict != Rejected {
				r.write(&out, "!", false)
			}
		}
		if len(k.Counterfactual) > 0 {
			fmt.Fprintf(&out, "            would be chosen with: %s\n", strings.Join(k.Counterfactual, "; "))
		}
	}
	if len(d.Remedies) > 0 {
		fmt.Fprintf(&out, "\nThis machine needs, and gets:\n")
	}
	for _, r := range d.Remedies {
		fmt.Fprintf(&out, "  %s (%s; cost: %s)\n", r.Title, r.Evidence, r.Cost)
	}
	return out.String()
}

// advises tells whether the ways out are shown: for what was asked for, or if nothing fits for what we would install.
func (d Decision) advises(k Candidate) bool {
	return d.requested == k.Name || d.Chosen == "" && d.requested == Auto && k.Name == K3s
}

func (r Reason) write(out *strings.Builder, mark string, fix bool) {
	fmt.Fprintf(out, "          %s %s: %s\n", mark, r.Title, r.Evidence)
	if !fix {
		return
	}
	where := ""
	if r.Where != reason.Here {
		where = "on the " + string(r.Where) + ": "
	}
	fmt.Fprintf(out, "            -> %s%s\n", where, r.Fix)
}

package distro

import (
	"fmt"
	"strings"

	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

// Text returns the decision for people: what was chosen, what the others would need, and the reasons with the way out for
// what was asked for. Every line ends with a newline.
func (d Decision) Text() string {
	var out strings.Builder
	if dist, ok := Get(d.Chosen); ok {
		fmt.Fprintf(&out, "Chosen: %s (%s)\n", dist.Name, dist.Title)
	} else {
		fmt.Fprintln(&out, "Nothing was chosen.")
	}
	for _, k := range d.Candidates {
		fmt.Fprintf(&out, "  %-9s %s\n", k.Name, k.summary())
		if k.Name != d.focus() {
			continue
		}
		for _, r := range k.Reasons {
			r.write(&out, "-")
		}
		if k.Verdict != Rejected {
			for _, r := range k.Warnings {
				r.write(&out, "!")
			}
		}
	}
	for i, r := range d.Remedies {
		if i == 0 {
			fmt.Fprintln(&out, "This machine needs, and gets:")
		}
		fmt.Fprintf(&out, "  %s (%s)\n", r.Title, r.Evidence)
	}
	return out.String()
}

func (k Candidate) summary() string {
	switch k.Verdict {
	case string(Waived):
		return "chosen, since it was asked for by name, in spite of"
	case Eligible:
		return "fits too: " + strings.Join(k.Counterfactual, "; ")
	case Rejected:
		return "rejected, it needs " + strings.Join(k.Counterfactual, "; ")
	}
	return k.Verdict
}

func (r Reason) write(out *strings.Builder, mark string) {
	fmt.Fprintf(out, "    %s %s: %s\n", mark, r.Title, r.Evidence)
	if mark == "!" {
		return
	}
	where := ""
	if r.Where != reason.Here {
		where = "on the " + string(r.Where) + ": "
	}
	fmt.Fprintf(out, "      %s%s\n", where, r.Fix)
}

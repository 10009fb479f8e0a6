package bootstrap

import (
	"context"
	"slices"
	"strings"

	"github.com/pipeopshq/pipeops-agent/internal/distro"
	"github.com/pipeopshq/pipeops-agent/internal/host"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
	"github.com/pipeopshq/pipeops-agent/internal/trial"
)

// decide chooses. Where a change that costs something would make a machine fit, the user is asked once, if there is one,
// and what is agreed to stays in the options.
func (o *Options) decide(ctx context.Context, facts host.Facts, trials trial.Results) (distro.Decision, error) {
	d := distro.Decide(facts, trials, o.Request)
	if d.Chosen != "" || len(d.Consent) == 0 || o.Agree == nil {
		return d, nil
	}
	yes, err := o.Agree(ctx, d.Consent)
	if err != nil || !yes {
		return d, err
	}
	o.Request.Consent = agreed(o.Request.Consent, d.Consent)
	return distro.Decide(facts, trials, o.Request), nil
}

// agreed adds the costs of remedies to those that were agreed to before.
func agreed(before []reason.Cost, remedies []distro.Remedy) []reason.Cost {
	costs := slices.Clone(before)
	for _, r := range remedies {
		if !slices.Contains(costs, r.Cost) {
			costs = append(costs, r.Cost)
		}
	}
	return costs
}

// Refusal returns nil if something was chosen, else why nothing was: [reason.ConsentNeeded] where the user's consent is all
// that is missing.
func Refusal(d distro.Decision) error {
	if d.Chosen != "" || len(d.Consent) == 0 {
		return d.Err()
	}
	e := reason.Newf(reason.ConsentNeeded, "this machine needs: %s", Needs(d.Consent))
	var names []string
	for _, cost := range agreed(nil, d.Consent) {
		names = append(names, string(cost))
		if cost == reason.CostReboot {
			e.Cost = cost
		}
	}
	return e.WithFix("run again with --consent " + strings.Join(names, ","))
}

// Needs names remedies with their costs, for people.
func Needs(remedies []distro.Remedy) string {
	var all []string
	for _, r := range remedies {
		text := r.Title + " (" + string(r.Cost) + ")"
		if r.Risk != "" {
			text += ", risk: " + r.Risk
		}
		all = append(all, text)
	}
	return strings.Join(all, "; ")
}

// available returns nil if this version can install what was chosen on such a machine, or nothing has to be installed.
func available(f host.Facts, d distro.Decision) error {
	chosen, ok := distro.Get(d.Chosen)
	switch {
	case chosen.Name == distro.Existing:
		return nil
	case f.OS.Kind == "darwin":
		return reason.Newf(reason.DistroNotAvailable, "%s was chosen, and nothing is installed on macOS", d.Chosen).
			WithFix("make a cluster there by yourself, and adopt it with --distro existing --kubeconfig FILE")
	case d.Podman(f):
		return reason.New(reason.DistroNotAvailable, "kind was chosen with Podman, which this version does not ask", nil).
			WithFix("install Docker and start it")
	case ok && chosen.Steps != nil:
		return nil
	}
	return reason.Newf(reason.DistroNotAvailable, "%s was chosen", d.Chosen)
}

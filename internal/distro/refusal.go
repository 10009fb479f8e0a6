package distro

import (
	"fmt"
	"slices"
	"strings"

	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

// Err returns nil if something was chosen, else a [reason.Error] with the reason that matters most: the first of the
// distribution that was asked for, or of the first that we can install. Its exit code is 10, or 12 if the outer host has to
// change; 2 if the request names no distribution. The evidence names the codes of the other reasons.
func (d Decision) Err() error {
	if d.Chosen != "" {
		return nil
	}
	name := d.focus()
	k, ok := d.Candidate(name)
	if !ok {
		return reason.Newf(reason.Usage, "there is no distribution %q", name).WithFix("choose one of: " + strings.Join(append([]string{Auto}, Names()...), ", "))
	}
	if len(k.Reasons) == 0 { // it fits, so it would have been chosen
		return reason.Newf(reason.DistroNoneFits, "%s was not chosen", name)
	}
	first := k.Reasons[0]
	evidence := first.Evidence
	var more []string
	for _, r := range k.Reasons[1:] {
		if !slices.Contains(more, string(r.Code)) {
			more = append(more, string(r.Code))
		}
	}
	if len(more) > 0 {
		evidence = fmt.Sprintf("%s; also %s", evidence, strings.Join(more, ", "))
	}
	e := reason.New(first.Code, evidence, nil)
	if e.Exit != reason.ExitOuterHost { // other commands give some codes another exit
		e.Exit = reason.ExitHostRefused
	}
	if first.Where == reason.OuterHost && e.Where != reason.OuterHost { // usually mended here, but not on this machine
		e.Exit = reason.ExitOuterHost
	}
	e.Fix, e.Where, e.Cost = first.Fix, first.Where, first.Cost
	return e
}

// focus is the candidate that is shown in full: the chosen one, the one that was asked for, or the first that we could
// install on a system of this kind.
func (d Decision) focus() string {
	switch {
	case d.Chosen != "":
		return d.Chosen
	case d.requested != Auto:
		return d.requested
	}
	for _, k := range d.Candidates {
		if k.Name != Existing && !slices.ContainsFunc(k.Reasons, func(r Reason) bool { return r.Code == reason.HostOS }) {
			return k.Name
		}
	}
	return K3s
}

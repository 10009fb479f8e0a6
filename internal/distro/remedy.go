package distro

import (
	"github.com/pipeopshq/pipeops-agent/internal/reason"
	"github.com/pipeopshq/pipeops-agent/internal/trial"
)

// RemedyOOMScore is the id of the remedy that makes containerd leave the oom_score_adj of containers alone where nobody
// may lower it.
const RemedyOOMScore = "containerd-restrict-oom-score-adj"

// Remedy is a change, beyond the usual steps, that makes a distribution work on this machine.
type Remedy struct {
	ID       string       `json:"id"`
	Code     reason.Code  `json:"code"`
	Title    string       `json:"title"`
	Evidence string       `json:"evidence"`
	Where    reason.Where `json:"where"`
	Cost     reason.Cost  `json:"cost"`
}

// RestrictOOMScoreAdj reports whether containerd must be configured with restrict_oom_score_adj: the trial was made and
// failed. runc would fail every pod.
func RestrictOOMScoreAdj(t trial.Results) bool {
	ok, tried := t.OK(trial.OOMScoreAdj).Get()
	return tried && !ok
}

// remedies returns those of a distribution that we would install.
func remedies(d Distribution, c Case) []Remedy {
	var all []Remedy
	if d.Name == K3s && RestrictOOMScoreAdj(c.Trials) {
		e := reason.Lookup(reason.HostOOMScore)
		all = append(all, Remedy{
			ID: RemedyOOMScore, Code: e.Code, Title: "containerd is told not to lower oom_score_adj",
			Evidence: c.Trials[trial.OOMScoreAdj].Detail, Where: e.Where, Cost: e.Cost,
		})
	}
	return all
}

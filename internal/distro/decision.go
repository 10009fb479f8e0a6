package distro

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/pipeopshq/pipeops-agent/internal/host"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
	"github.com/pipeopshq/pipeops-agent/internal/trial"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

// Auto asks for the first distribution that fits.
const Auto = "auto"

// Request is what the user asks for.
type Request struct {
	Distro     string // Auto or a name; "" is Auto
	Adopt      bool   // a healthy cluster that we did not install may be taken over without being asked for by name
	Kubeconfig string // of the cluster to adopt; "" lets the facts find it
	Context    string // of that kubeconfig; "" is its current one
	Kubernetes string // version that would be installed: "v1.33.2+k3s1"; "" is K3sVersion

	Consent []reason.Cost // costs that the user agrees to: CostPackage, CostReboot
	DataDir string        // where the cluster shall keep its data; "" is its own place
	Ingress bool          // the bundled ingress is wanted: it needs the ports 80 and 443
	APIPort int           // of the machine, for the API of a cluster in containers; 0 is one that is free

	MinikubeForce  bool   // root may run minikube, with --force
	MinikubeDriver string // of minikube: MinikubeDocker or MinikubeNone; "" is the first

	ClusterInit *bool     // k3s keeps its state in etcd, not in SQLite; nil: as it does already, for a new one in SQLite
	Node        wire.Role // the machine becomes a node of a k3s cluster that is there; "" is none: it gets a cluster of its own
	Networks    []string  // of the cluster that it joins, pods and services; nil is unknown
	Peers       []string  // addresses of the servers of that cluster
}

// distributions are those that can be chosen.
func (r Request) distributions() []Distribution {
	switch r.Node {
	case "":
		all := All()
		if i := slices.IndexFunc(all, func(d Distribution) bool { return d.Name == Minikube }); r.MinikubeDriver == MinikubeNone {
			all[i] = minikubeNone()
		}
		return all
	case wire.RoleWorker:
		return []Distribution{k3sWorker()}
	}
	return []Distribution{k3s()}
}

// named reports whether the user asked for this distribution.
func (r Request) named(name string) bool { return r.Distro == name }

// Decision is the choice, and for every distribution why it was chosen or not.
type Decision struct {
	Chosen     string `json:"chosen"` // "" if none
	Kubeconfig string `json:"kubeconfig,omitzero"`
	Context    string `json:"context,omitzero"` // of the kubeconfig; "" is its current one
	// MinikubeDriver is MinikubeNone where minikube was chosen with it; "" is the usual one.
	MinikubeDriver string `json:"minikube_driver,omitzero"`

	Candidates []Candidate `json:"candidates"`
	Remedies   []Remedy    `json:"remedies"`            // that the chosen one needs
	Consent    []Remedy    `json:"consent,omitzero"`    // that would make the first rejected one fit, if the user agreed to their cost
	Outer      []Patch     `json:"outer_host,omitzero"` // what only the outer host can change

	requested string
}

// Candidate is the judgement of one distribution. The verdict is "chosen", "eligible" (it fits, another was chosen),
// "rejected", or "waived": chosen in spite of the reasons, since it was asked for by name.
type Candidate struct {
	Name           string   `json:"name"`
	Verdict        string   `json:"verdict"`
	Reasons        []Reason `json:"reasons"`
	Warnings       []Reason `json:"warnings,omitzero"`
	Unknown        []string `json:"unknown,omitzero"` // requirements that could not be judged
	Counterfactual []string `json:"counterfactual"`   // all that would have to be so for it to be chosen

	remedies []Remedy // with which it fits
	consent  []Remedy // that it would need besides, if the user agreed
	beyond   bool     // no remedy mends some of the reasons
	last     bool     // others that fit come first
}

// The verdicts on candidates.
const (
	Chosen   = "chosen"
	Eligible = "eligible"
	Rejected = "rejected"
)

// Reason is an entry of the catalogue with what was seen.
type Reason struct {
	Code     reason.Code  `json:"code"`
	Title    string       `json:"title"`
	Evidence string       `json:"evidence"`
	Fix      string       `json:"fix"`
	Where    reason.Where `json:"where"`
	Cost     reason.Cost  `json:"cost"`
}

// Decide chooses. It is a pure function: the same arguments give the same decision.
func Decide(f host.Facts, t trial.Results, r Request) Decision {
	r.Distro, r.Kubernetes = cmp.Or(r.Distro, Auto), cmp.Or(r.Kubernetes, K3sVersion)
	if ours, ok := ourContainers(f); ok && r.Distro == Auto { // what we have made stays, whatever would be chosen today
		r.Distro = ours.Name
	}
	r.MinikubeDriver = cmp.Or(r.MinikubeDriver, madeDriver(f))
	c := Case{Facts: f, Trials: t, Request: r}
	d := Decision{Candidates: []Candidate{}, Remedies: []Remedy{}, requested: r.Distro}
	all, makeshift := r.distributions(), false
	for _, dist := range all {
		d.Candidates = append(d.Candidates, dist.judge(c))
	}
	for _, last := range []bool{false, true} {
		for i, dist := range all {
			k := &d.Candidates[i]
			if d.Chosen != "" || k.last != last || k.Verdict != Eligible || r.Distro != Auto && !r.named(k.Name) {
				continue
			}
			d.Chosen = k.Name
			k.Verdict = Chosen
			if k.Name == Minikube && r.MinikubeDriver == MinikubeNone {
				d.MinikubeDriver = MinikubeNone
			}
			if len(k.Reasons) > 0 {
				k.Verdict = string(Waived)
			}
			d.Kubeconfig = dist.Kubeconfig(c)
			if dist.Context != nil {
				d.Context = dist.Context(c)
			}
			d.Remedies = append(d.Remedies, k.remedies...)
			makeshift = k.last
			if r.Node == wire.RoleWorker {
				d.Kubeconfig = WorkerKubeconfig(d)
			}
		}
	}
	for i, k := range d.Candidates {
		// it takes more than to fit: another one comes first, or was asked for
		if k.Verdict == Eligible || k.Verdict == Rejected && (d.Chosen != "" && (k.last || !makeshift) || r.Distro != Auto && !r.named(k.Name)) {
			d.Candidates[i].Counterfactual = append(k.Counterfactual, "--distro "+k.Name)
		}
	}
	if d.Chosen == "" {
		if k, ok := d.Candidate(d.focus()); ok && !k.beyond {
			d.Consent = merged(k.consent)
		}
	}
	d.Outer = patches(c, d)
	return d
}

// judge asks all requirements. A distribution that fits is eligible, also if only remedies or waivers make it so.
func (d Distribution) judge(c Case) (k Candidate) {
	k = Candidate{Name: d.Name, Verdict: Eligible, Reasons: []Reason{}, Counterfactual: []string{}}
	var waived []Reason // told after those that refuse: their way out would not help
	defer func() { k.Reasons = append(k.Reasons, waived...) }()
	for _, q := range d.Requirements {
		f := q.Judge(c)
		k.last = k.last || f.Last
		for i, r := range f.Remedies {
			f.Remedies[i] = r.of(q, f)
		}
		switch {
		case f.Verdict == Unknown:
			k.Unknown = append(k.Unknown, q.Name)
		case f.Verdict != Unmet:
		case len(f.Remedies) > 0 && c.Request.allows(f.cost()):
			k.remedies = append(k.remedies, f.Remedies...)
		case q.Advice, f.Warns:
			k.Warnings = append(k.Warnings, f.reason(q.Code))
		default:
			if q.Waivable && c.Request.named(d.Name) {
				waived = append(waived, f.reason(q.Code))
				continue
			}
			k.Reasons = append(k.Reasons, f.reason(q.Code))
			k.Verdict = Rejected
			k.consent, k.beyond = append(k.consent, f.Remedies...), k.beyond || len(f.Remedies) == 0
			change := f.Change
			if len(f.Remedies) > 0 {
				change = fmt.Sprintf("--consent %s (%s)", f.cost(), f.Remedies[0].Title)
			}
			if !slices.Contains(k.Counterfactual, change) {
				k.Counterfactual = append(k.Counterfactual, change)
			}
			if q.Final {
				return k
			}
		}
	}
	k.remedies = merged(k.remedies)
	return k
}

// allows reports whether a cost may be incurred: each that is more than a sysctl must have been agreed to by itself.
func (r Request) allows(cost reason.Cost) bool {
	return cost == reason.CostNone || cost == reason.CostSysctl || slices.Contains(r.Consent, cost)
}

// Candidate returns the judgement of a distribution.
func (d Decision) Candidate(name string) (Candidate, bool) {
	for _, k := range d.Candidates {
		if k.Name == name {
			return k, true
		}
	}
	return Candidate{}, false
}

// Distribution returns the one that was chosen.
func (d Decision) Distribution() (Distribution, bool) {
	if d.Chosen == Minikube && d.MinikubeDriver == MinikubeNone {
		return minikubeNone(), true
	}
	return Get(d.Chosen)
}

// Podman reports whether kind was chosen since Podman is here, and no Docker that answers.
func (d Decision) Podman(f host.Facts) bool {
	_, podman := f.Commands["podman"]
	for _, r := range d.Remedies {
		podman = podman || r.ID == RemedyPackage && slices.Contains(r.Values, "podman")
	}
	return d.Chosen == Kind && podman && !f.Docker.Reachable.Value
}

// NeedsRemedy reports whether the chosen distribution needs a remedy, by its id.
func (d Decision) NeedsRemedy(id string) bool {
	return slices.ContainsFunc(d.Remedies, func(r Remedy) bool { return r.ID == id })
}

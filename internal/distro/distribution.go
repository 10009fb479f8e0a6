package distro

import "github.com/pipeopshq/pipeops-agent/internal/bootstrap/plan"

// Names of the distributions.
const (
	Existing = "existing"
	K3s      = "k3s"
	K3d      = "k3d"
	Kind     = "kind"
	Minikube = "minikube"
)

// Distribution is a way to get a cluster.
type Distribution struct {
	Name         string
	Title        string
	Requirements []Requirement // the most telling first: a refusal shows the first that is unmet
	// Steps returns the steps that install it. nil for one that is not installed, but adopted.
	Steps func(Install) ([]plan.Step, error)
	// Kubeconfig returns the path of the administrator's kubeconfig on the machine, once the cluster is there.
	Kubeconfig func(Case) string
	// Context returns the context of that kubeconfig, "" for its current one; nil means the current one.
	Context func(Case) string
}

// All returns the distributions in the order in which they are considered: what is there comes first, then what runs on
// the machine itself, then what runs in containers.
func All() []Distribution {
	return []Distribution{existing(), k3s(), k3d(), kind(), minikube()}
}

// Names returns the names of all distributions in their order.
func Names() []string {
	var names []string
	for _, d := range All() {
		names = append(names, d.Name)
	}
	return names
}

// Get returns a distribution by its name.
func Get(name string) (Distribution, bool) {
	for _, d := range All() {
		if d.Name == name {
			return d, true
		}
	}
	return Distribution{}, false
}

func at(path string) func(Case) string { return func(Case) string { return path } }

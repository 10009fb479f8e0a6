package wire

import (
	"fmt"
	"regexp"
)

// Project is something that a user wants to run on a cluster: one image, reachable on one port.
type Project struct {
	Name     string            `json:"name"`  // DNS label
	Image    string            `json:"image"` // as containerd would pull it
	Port     int               `json:"port"`  // the container's HTTP port, 1 to 65535
	Replicas int               `json:"replicas,omitempty"`
	Env      map[string]string `json:"env,omitempty"`
	// Public lets anybody ask for its pages at its host name, without a user token.
	Public bool `json:"public,omitempty"`
}

// MaxReplicas bounds a project; it is the pod limit of one node.
const MaxReplicas = 110

var (
	label   = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`)
	envName = regexp.MustCompile(`^[-._a-zA-Z][-._a-zA-Z0-9]*$`)
)

// ValidName reports whether s may name a cluster, a project or a user: a DNS label of at most 40 bytes, which leaves
// room for the prefixes and suffixes that Kubernetes objects get.
func ValidName(s string) bool { return len(s) <= 40 && label.MatchString(s) }

// Validate checks a project and says what is wrong in the words of its file.
func (p Project) Validate() error {
	switch {
	case !ValidName(p.Name):
		return fmt.Errorf("name %q: want lower-case letters, digits and '-', at most 40", p.Name)
	case p.Image == "":
		return fmt.Errorf("image is missing")
	case p.Port < 1 || p.Port > 65535:
		return fmt.Errorf("port %d: want 1 to 65535", p.Port)
	case p.Replicas < 0 || p.Replicas > MaxReplicas:
		return fmt.Errorf("replicas %d: want 0 to %d", p.Replicas, MaxReplicas)
	}
	for name := range p.Env {
		if !envName.MatchString(name) {
			return fmt.Errorf("env %q: not a name of an environment variable", name)
		}
	}
	return nil
}

// Package policy is what the owner of a machine allows the gateway and its users to do in the cluster, whatever the gateway says. It is a
// file of root's on the machine. It can only narrow: what it lets through still needs the rights that the cluster gives the user.
package policy

import (
	"errors"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"
)

// Version is that of the file.
const Version = 1

// Policy is the content of the file. The zero value allows everything.
type Policy struct {
	Version  int    `json:"version"`
	ReadOnly bool   `json:"read_only,omitempty"` // get, list and watch, and nothing that leads to what could be changed
	NoExec   bool   `json:"no_exec,omitempty"`   // no exec, attach, debug containers, or requests to the kubelet
	Ports    []int  `json:"ports,omitempty"`     // of pods and services that may be reached; empty means all. Port forwarding of kubectl, whose ports are not seen, is off where it is set
	Allow    []Rule `json:"allow,omitempty"`     // only what one of these matches; empty means everything
	Deny     []Rule `json:"deny,omitempty"`      // nothing of what one of these matches
}

// Rule matches requests. A list that is empty matches whatever it is about.
type Rule struct {
	Verbs      []string `json:"verbs,omitempty"`      // those of RBAC, and "*"
	Resources  []string `json:"resources,omitempty"`  // pods, pods/log, pods/*, deployments.apps, *.apps, *; without a group that of any group
	Namespaces []string `json:"namespaces,omitempty"` // names and patterns such as web-*
}

const (
	maxFile  = 256 << 10
	maxRules = 1000
)

// Read reads a policy. An error tells what is wrong with it: nothing is to be let through then.
func Read(raw []byte) (*Policy, error) {
	if len(raw) > maxFile {
		return nil, fmt.Errorf("it has %d bytes, more than %d", len(raw), maxFile)
	}
	var p Policy
	if err := yaml.UnmarshalStrict(raw, &p); err != nil {
		return nil, errors.New(strings.TrimPrefix(err.Error(), "error unmarshaling JSON: while decoding JSON: json: "))
	}
	return &p, p.check()
}

func (p *Policy) check() error {
	if p.Version != Version {
		return fmt.Errorf("version is %d: this agent knows version %d", p.Version, Version)
	}
	if len(p.Allow)+len(p.Deny) > maxRules {
		return fmt.Errorf("it has more than %d rules", maxRules)
	}
	for _, port := range p.Ports {
		if port < 1 || port > 65535 {
			return fmt.Errorf("ports: %d is none", port)
		}
	}
	for name, rules := range map[string][]Rule{"allow": p.Allow, "deny": p.Deny} {
		for i, r := range rules {
			if err := r.check(); err != nil {
				return fmt.Errorf("%s[%d]: %w", name, i, err)
			}
		}
	}
	return nil
}

var (
	verbForm      = regexp.MustCompile(`^(\*|[a-z]+)$`)
	resourceForm  = regexp.MustCompile(`^(\*|[a-z0-9-]+)(\.[a-z0-9.-]+)?(/(\*|[a-z]+))?$`)
	namespaceForm = regexp.MustCompile(`^[a-z0-9*?-]+$`)
)

// check finds what would match nothing: who wrote it meant something else.
func (r Rule) check() error {
	if len(r.Verbs)+len(r.Resources)+len(r.Namespaces) == 0 {
		return errors.New("it is empty, and would match everything")
	}
	for _, list := range []struct {
		name   string
		values []string
		form   *regexp.Regexp
	}{
		{"verbs", r.Verbs, verbForm}, {"resources", r.Resources, resourceForm}, {"namespaces", r.Namespaces, namespaceForm},
	} {
		for _, v := range list.values {
			if !list.form.MatchString(v) {
				return fmt.Errorf("%s: %q is none", list.name, v)
			}
		}
	}
	for _, v := range r.Verbs {
		if !slices.Contains([]string{"*", "get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"}, v) {
			return fmt.Errorf("verbs: %q is none", v)
		}
	}
	return nil
}

// Judge returns nil for what the owner allows, and else which of his words forbids it.
func (p *Policy) Judge(r Request) error {
	if r.Resource == "" && r.Path == "" { // wire.CleanPath refuses it before; a path that names nothing would else be in no rule
		return errors.New("the path, which has an empty segment where a resource is named")
	}
	if r.discovers() {
		return nil
	}
	switch {
	case p.ReadOnly && !r.reads():
		return errors.New("read_only")
	case p.NoExec && r.runs():
		return errors.New("no_exec")
	case len(p.Ports) > 0 && r.Subresource == "portforward" && r.Port == 0:
		return errors.New("ports, which port forwarding does not show")
	case len(p.Ports) > 0 && r.Port != 0 && !slices.Contains(p.Ports, r.Port):
		return fmt.Errorf("ports, which do not have %d", r.Port)
	case len(p.Ports) > 0 && r.Subresource == "proxy" && r.Port == 0:
		return errors.New("ports, and the request names none")
	}
	for i, rule := range p.Deny {
		if rule.touches(r) {
			return fmt.Errorf("deny[%d]", i)
		}
	}
	if len(p.Allow) == 0 || r.reviews() {
		return nil
	}
	for _, rule := range p.Allow {
		if rule.covers(r) {
			return nil
		}
	}
	return errors.New("allow, of which no rule matches")
}

// covers reports whether all that the request is about is the rule's.
func (r Rule) covers(q Request) bool {
	return r.verb(q) && r.resource(q) && (len(r.Namespaces) == 0 || q.Namespace != "" && r.namespace(q.Namespace))
}

// touches reports whether some of what the request is about is the rule's: a list of all namespaces has those of the rule in it.
func (r Rule) touches(q Request) bool {
	if !r.verb(q) || !r.resource(q) {
		return false
	}
	if len(r.Namespaces) == 0 {
		return true
	}
	if q.Namespace == "" {
		return q.Name == "" && !slices.Contains(inNoNamespace(), q.Resource)
	}
	return r.namespace(q.Namespace)
}

func (r Rule) verb(q Request) bool {
	return len(r.Verbs) == 0 || slices.Contains(r.Verbs, "*") || slices.Contains(r.Verbs, q.Verb)
}

func (r Rule) namespace(name string) bool {
	return slices.ContainsFunc(r.Namespaces, func(pattern string) bool {
		ok, err := path.Match(pattern, name)
		return ok && err == nil
	})
}

func (r Rule) resource(q Request) bool {
	if len(r.Resources) == 0 {
		return true
	}
	return slices.ContainsFunc(r.Resources, func(want string) bool {
		if want == "*" {
			return true
		}
		if q.Resource == "" {
			return false
		}
		name, sub, _ := strings.Cut(want, "/")
		name, group, grouped := strings.Cut(name, ".")
		return (name == "*" || name == q.Resource) && (!grouped || group == q.Group) && (sub == "*" && q.Subresource != "" || sub == q.Subresource)
	})
}

// inNoNamespace are the resources of Kubernetes itself that are in none, so that a rule about namespaces is not about them.
func inNoNamespace() []string {
	return []string{
		"namespaces", "nodes", "persistentvolumes", "componentstatuses", "customresourcedefinitions", "apiservices", "certificatesigningrequests",
		"clusterroles", "clusterrolebindings", "storageclasses", "csidrivers", "csinodes", "volumeattachments", "volumeattributesclasses",
		"ingressclasses", "ipaddresses", "servicecidrs", "priorityclasses", "runtimeclasses", "flowschemas", "prioritylevelconfigurations",
		"mutatingwebhookconfigurations", "validatingwebhookconfigurations", "validatingadmissionpolicies", "validatingadmissionpolicybindings",
		"tokenreviews", "subjectaccessreviews", "selfsubjectaccessreviews", "selfsubjectrulesreviews", "selfsubjectreviews",
		"deviceclasses", "resourceslices",
	}
}

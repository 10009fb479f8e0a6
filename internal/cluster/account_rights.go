package cluster

import (
	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

// Right is what the resident agent may do with its own account. All else is refused by the API server.
type Right struct {
	Why       string
	Namespace string // "" is the whole cluster
	Group     string // of the API; "" is the core group
	Resource  string // such as "pods" or "serviceaccounts/token"
	Names     []string
	Verbs     []string
	Path      string // one that is no resource, such as /readyz, in place of group and resource
}

// Standing is how the agent stands to its cluster.
type Standing struct {
	Adopted bool // it was here before: nothing is made in it for a proof
	Far     bool // this machine is no node of it, and reaches pods by way of the API server: see [Far]
}

// Rights lists what the resident agent does with its own rights: of projects, of its health, and of naming the users whom the
// gateway speaks for. In a cluster that was adopted it makes nothing for a proof. A package that asks for more adds a row.
//
// Names of users cannot be bounded by a prefix in RBAC: that the agent names only those with our prefix is its own doing, in
// package apiproxy. Groups can, and so nobody becomes a member of system:masters by this account.
func Rights(s Standing) []Right {
	all := []Right{
		{Why: "users of the gateway", Resource: "users", Verbs: []string{"impersonate"}},
		{Why: "users of the gateway", Resource: "groups", Names: []string{wire.GroupAdmins}, Verbs: []string{"impersonate"}},

		{Why: "health", Path: "/readyz", Verbs: []string{"get"}},
		{Why: "health", Path: "/version", Verbs: []string{"get"}},
		{Why: "health", Resource: "nodes", Verbs: []string{"get", "list"}},
		{Why: "health, projects", Resource: "pods", Verbs: []string{"list"}},

		{Why: "projects", Resource: "namespaces", Verbs: []string{"get", "create", "patch", "delete"}},
		{Why: "projects", Resource: "serviceaccounts", Verbs: []string{"create", "patch"}},
		{Why: "projects, health", Resource: "services", Verbs: []string{"get", "create", "patch"}},
		{Why: "projects", Group: "apps", Resource: "deployments", Verbs: []string{"get", "create", "patch"}},

		{Why: "connections", Resource: "pods", Verbs: []string{"watch"}},
		{Why: "connections", Resource: "services", Verbs: []string{"list", "watch"}},
		{Why: "connections", Group: "discovery.k8s.io", Resource: "endpointslices", Verbs: []string{"list"}},

		{Why: "its own token", Namespace: Namespace, Resource: "serviceaccounts/token", Names: []string{Account}, Verbs: []string{"create"}},
	}
	if s.Far {
		all = append(all, []Right{
			{Why: "pages of projects, connections", Resource: "pods/portforward", Verbs: []string{"create"}},
		}...)
	}
	if s.Adopted {
		return all
	}
	var pods, claims, services []string
	for _, name := range []string{InstallProbe, AgentProbe} {
		storage := Probe{Name: name}.storageName()
		pods, claims, services = append(pods, name, storage), append(claims, storage), append(services, name)
	}
	return append(all, []Right{
		{Why: "proofs", Group: "storage.k8s.io", Resource: "storageclasses", Verbs: []string{"list"}},
		// what is created has no name yet when it is judged
		{Why: "proofs", Namespace: proofNamespace, Resource: "pods", Verbs: []string{"create"}},
		{Why: "proofs", Namespace: proofNamespace, Resource: "pods", Names: pods, Verbs: []string{"get", "delete"}},
		{Why: "proofs", Namespace: proofNamespace, Resource: "services", Names: services, Verbs: []string{"delete"}},
		{Why: "proofs", Namespace: proofNamespace, Resource: "persistentvolumeclaims", Verbs: []string{"create"}},
		{Why: "proofs", Namespace: proofNamespace, Resource: "persistentvolumeclaims", Names: claims, Verbs: []string{"get", "delete"}},
	}...)
}

// rule writes a right as RBAC has it.
func (r Right) rule() map[string]any {
	if r.Path != "" {
		return map[string]any{"nonResourceURLs": []any{r.Path}, "verbs": list(r.Verbs)}
	}
	rule := map[string]any{"apiGroups": []any{r.Group}, "resources": []any{r.Resource}, "verbs": list(r.Verbs)}
	if len(r.Names) > 0 {
		rule["resourceNames"] = list(r.Names)
	}
	return rule
}

func list(all []string) []any {
	out := make([]any, len(all))
	for i, s := range all {
		out[i] = s
	}
	return out
}

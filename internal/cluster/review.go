package cluster

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

// Need is one thing that an install must be allowed to do in a cluster that it adopts.
type Need struct {
	Verb      string
	Group     string
	Resource  string // with its subresource: "serviceaccounts/token"
	Namespace string // "" is the whole cluster
	Name      string // "" is any
	Why       string
}

// String writes a need as kubectl auth can-i takes it: "create clusterroles.rbac.authorization.k8s.io".
func (n Need) String() string {
	text := n.Verb + " " + n.Resource
	if n.Group != "" {
		resource, sub, found := strings.Cut(n.Resource, "/")
		if text = n.Verb + " " + resource + "." + n.Group; found {
			text += "/" + sub
		}
	}
	if n.Name != "" {
		text += " " + n.Name
	}
	if n.Namespace != "" {
		text += " in " + n.Namespace
	}
	return text
}

// InstallNeeds lists what an install that adopts a cluster does there, and what leaving it does: it makes the account and the
// binding of the gateway's administrators, and proves the cluster with one pod.
func InstallNeeds() []Need {
	var all []Need
	add := func(why, group, resource, namespace, name string, verbs ...string) {
		for _, v := range verbs {
			n := Need{Verb: v, Group: group, Resource: resource, Namespace: namespace, Name: name, Why: why}
			// what is created has no name yet when it is judged; neither has the role whose rights are given
			if v == "create" && !strings.Contains(resource, "/") || v == "escalate" {
				n.Name = ""
			}
			all = append(all, n)
		}
	}
	const account, admins, proof, look = "the agent's account", "the rights of the gateway's administrators", "the proof", "looking at the cluster"
	for _, o := range slices.Concat(AccountObjects(existing())...) {
		group := ""
		if strings.HasPrefix(o.GetAPIVersion(), rbacGroup) {
			group = rbacGroup
		}
		resource := strings.ToLower(o.GetKind()) + "s"
		verbs := []string{"get", "create", "patch", "delete"}
		if o.GetKind() == "Namespace" {
			verbs = []string{"get", "create", "delete"}
		}
		add(account, group, resource, o.GetNamespace(), o.GetName(), verbs...)
		if o.GetKind() == "Role" || o.GetKind() == "ClusterRole" {
			add(account, group, resource, o.GetNamespace(), o.GetName(), "escalate", "bind")
		}
	}
	add(account, "", "serviceaccounts/token", Namespace, Account, "create")
	add(admins, rbacGroup, "clusterrolebindings", "", AdminsBinding, "get", "create", "patch", "delete")
	add(admins, rbacGroup, "clusterroles", "", "cluster-admin", "bind")
	add(look, "", "nodes", "", "", "get", "list")
	add(look, "", "namespaces", "", metav1.NamespaceSystem, "get")
	add(look, "", "pods", proofNamespace, "", "list")
	add(look, "", "services", proofNamespace, "kube-dns", "get")
	add(proof, "", "pods", proofNamespace, InstallProbe, "get", "create", "delete")
	var once []Need
	for _, n := range all {
		same := func(o Need) bool { n.Why, o.Why = "", ""; return n == o }
		if !slices.ContainsFunc(once, same) {
			once = append(once, n)
		}
	}
	return once
}

// existing is how the agent stands to a cluster that was here before.
func existing() Standing { return Standing{Adopted: true, Far: true} }

// reviewsAtOnce bounds how many questions are asked at the same time.
const reviewsAtOnce = 8

// Missing asks the API server, by SelfSubjectAccessReview, which of these needs are not allowed. It changes nothing. Who may neither
// escalate nor bind may still give the rights of a role that they all have themselves, which is asked then.
func (c *Client) Missing(ctx context.Context, needs []Need) ([]Need, error) {
	missing, err := c.denied(ctx, needs)
	if err != nil || !slices.ContainsFunc(missing, isGrant) {
		return missing, err
	}
	var held []Need
	for _, r := range Rights(existing()) {
		held = append(held, r.needs()...)
	}
	lacks, err := c.denied(ctx, held)
	if err != nil || len(lacks) > 0 {
		return missing, err
	}
	return slices.DeleteFunc(missing, isGrant), nil
}

// isGrant reports whether a need is one to give the rights of the account, which those who have them all have too.
func isGrant(n Need) bool { return n.Verb == "escalate" || n.Verb == "bind" && n.Name == Account }

// needs lists what one has who has the right.
func (r Right) needs() []Need {
	names := r.Names
	if len(names) == 0 {
		names = []string{""}
	}
	var all []Need
	for _, verb := range r.Verbs {
		if r.Path != "" {
			all = append(all, Need{Verb: verb, Resource: r.Path})
			continue
		}
		for _, name := range names {
			all = append(all, Need{Verb: verb, Group: r.Group, Resource: r.Resource, Namespace: r.Namespace, Name: name})
		}
	}
	return all
}

// denied returns the needs that are not allowed, in their order.
func (c *Client) denied(ctx context.Context, needs []Need) ([]Need, error) {
	allowed := make([]bool, len(needs))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(reviewsAtOnce)
	for i, n := range needs {
		group.Go(func() (err error) {
			allowed[i], err = c.allowed(ctx, n)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	var missing []Need
	for i, n := range needs {
		if !allowed[i] {
			missing = append(missing, n)
		}
	}
	return missing, nil
}

func (c *Client) allowed(ctx context.Context, n Need) (bool, error) {
	spec := map[string]any{}
	if strings.HasPrefix(n.Resource, "/") {
		spec["nonResourceAttributes"] = map[string]any{"path": n.Resource, "verb": n.Verb}
	} else {
		resource, sub, _ := strings.Cut(n.Resource, "/")
		spec["resourceAttributes"] = map[string]any{
			"verb": n.Verb, "group": n.Group, "resource": resource, "subresource": sub, "namespace": n.Namespace, "name": n.Name,
		}
	}
	review := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview", "spec": spec,
	}}
	answer, err := c.resource("authorization.k8s.io", "v1", "selfsubjectaccessreviews").Create(ctx, review, metav1.CreateOptions{FieldManager: wire.FieldManager})
	if err != nil {
		return false, fmt.Errorf("cannot ask whether one may %s: %w", n, err)
	}
	allowed, _, _ := unstructured.NestedBool(answer.Object, "status", "allowed")
	return allowed, nil
}

// WhoAmI returns the name by which the API server knows who asks; "" where it is too old to say so (before 1.28).
func (c *Client) WhoAmI(ctx context.Context) string {
	review := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}}
	answer, err := c.resource("authentication.k8s.io", "v1", "selfsubjectreviews").Create(ctx, review, metav1.CreateOptions{})
	if err != nil {
		return ""
	}
	name, _, _ := unstructured.NestedString(answer.Object, "status", "userInfo", "username")
	return name
}

package cluster

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/dynamic"

	"github.com/pipeopshq/pipeops-agent/internal/reason"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

// Namespace holds what the agent has in a cluster for itself; Account is the name of its service account there, and of the roles
// and bindings that give that account its [Rights].
const (
	Namespace = "pipeops-system"
	Account   = "pipeops-agent"
)

const (
	managedByLabel = "app.kubernetes.io/managed-by"
	rbacGroup      = "rbac.authorization.k8s.io"
	rbacVersion    = rbacGroup + "/v1"
)

// AccountObjects returns the objects of the account, in rounds: those of one round need only those of earlier ones.
func AccountObjects(s Standing) [][]*unstructured.Unstructured {
	byNamespace := map[string][]any{}
	var namespaces []string // in the order of the rights
	for _, r := range Rights(s) {
		if _, seen := byNamespace[r.Namespace]; !seen {
			namespaces = append(namespaces, r.Namespace)
		}
		byNamespace[r.Namespace] = append(byNamespace[r.Namespace], r.rule())
	}
	account := accountObject("v1", "ServiceAccount", Namespace, Account)
	account.Object["automountServiceAccountToken"] = false
	first := []*unstructured.Unstructured{accountObject("v1", "Namespace", "", Namespace)}
	second := []*unstructured.Unstructured{account}
	var third []*unstructured.Unstructured
	for _, namespace := range namespaces {
		kind := "Role"
		if namespace == "" {
			kind = "ClusterRole"
		}
		role := accountObject(rbacVersion, kind, namespace, Account)
		role.Object["rules"] = byNamespace[namespace]
		binding := accountObject(rbacVersion, kind+"Binding", namespace, Account)
		binding.Object["roleRef"] = map[string]any{"apiGroup": rbacGroup, "kind": kind, "name": Account}
		binding.Object["subjects"] = []any{map[string]any{"kind": "ServiceAccount", "namespace": Namespace, "name": Account}}
		if namespace == Namespace { // it must be there
			second, third = append(second, role), append(third, binding)
		} else {
			first, second = append(first, role), append(second, binding)
		}
	}
	return [][]*unstructured.Unstructured{first, second, third}
}

func accountObject(version, kind, namespace, name string) *unstructured.Unstructured {
	metadata := map[string]any{"name": name, "labels": map[string]any{managedByLabel: wire.FieldManager}}
	if namespace != "" {
		metadata["namespace"] = namespace
	}
	return &unstructured.Unstructured{Object: map[string]any{"apiVersion": version, "kind": kind, "metadata": metadata}}
}

// access is the client of an object of the account, by its kind.
func (c *Client) access(o *unstructured.Unstructured) dynamic.ResourceInterface {
	var all dynamic.NamespaceableResourceInterface
	switch o.GetKind() {
	case "Namespace":
		all = c.core("namespaces")
	case "ServiceAccount":
		all = c.core("serviceaccounts")
	default: // Role, ClusterRole and their bindings
		all = c.rbac(strings.ToLower(o.GetKind()) + "s")
	}
	if o.GetNamespace() == "" {
		return all
	}
	return all.Namespace(o.GetNamespace())
}

// MakeAccount makes the objects of the account as they should be. It may be called again and again. CLUSTER_OBJECT_TAKEN means
// that somebody else has something of its names; a namespace of somebody else's is used as it is.
func (c *Client) MakeAccount(ctx context.Context, s Standing) error {
	for _, round := range AccountObjects(s) {
		group, ctx := errgroup.WithContext(ctx)
		for _, o := range round {
			group.Go(func() error { return c.ensure(ctx, o) })
		}
		if err := group.Wait(); err != nil {
			return err
		}
	}
	return nil
}

// ensure creates an object, or makes one of ours what it should be.
func (c *Client) ensure(ctx context.Context, o *unstructured.Unstructured) error {
	called := called(o)
	_, err := c.access(o).Create(ctx, o.DeepCopy(), metav1.CreateOptions{FieldManager: wire.FieldManager})
	if err == nil {
		return nil
	}
	if !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("cannot create the %s: %w", called, err)
	}
	held, err := c.access(o).Get(ctx, o.GetName(), metav1.GetOptions{})
	switch {
	case err != nil:
		return fmt.Errorf("cannot read the %s: %w", called, err)
	case held.GetDeletionTimestamp() != nil:
		return fmt.Errorf("cannot make the %s: it is being removed", called)
	case o.GetKind() == "Namespace": // whosever it is
		return nil
	case taken(held) != nil:
		return taken(held)
	case asWanted(held, o):
		return nil
	}
	if !same(held, o, "roleRef") { // which cannot be changed
		if err := c.removeObject(ctx, o); err != nil {
			return err
		}
		_, err = c.access(o).Create(ctx, o.DeepCopy(), metav1.CreateOptions{FieldManager: wire.FieldManager})
	} else {
		_, err = c.access(o).Apply(ctx, o.GetName(), o.DeepCopy(), metav1.ApplyOptions{FieldManager: wire.FieldManager, Force: true})
	}
	if err != nil {
		return fmt.Errorf("cannot change the %s: %w", called, err)
	}
	return nil
}

// asWanted reports whether an object of ours gives what it should give.
func asWanted(held, want *unstructured.Unstructured) bool {
	for _, field := range []string{"rules", "roleRef", "subjects", "automountServiceAccountToken"} {
		if !same(held, want, field) {
			return false
		}
	}
	return true
}

// same compares one field as it would be written. The API server fills in the apiGroup of a subject, which is "" here.
func same(held, want *unstructured.Unstructured, field string) bool {
	a, errA := json.Marshal(held.Object[field])
	b, errB := json.Marshal(want.Object[field])
	return errors.Join(errA, errB) == nil && bytes.Equal(a, b)
}

// AccountMade reports whether all objects of the account are as MakeAccount makes them.
func (c *Client) AccountMade(ctx context.Context, s Standing) (bool, error) {
	all := slices.Concat(AccountObjects(s)...)
	made := make([]bool, len(all))
	group, ctx := errgroup.WithContext(ctx)
	for i, o := range all {
		group.Go(func() error {
			held, err := c.access(o).Get(ctx, o.GetName(), metav1.GetOptions{})
			if apierrors.IsNotFound(err) {
				return nil
			}
			if err != nil {
				return fmt.Errorf("cannot read the %s: %w", called(o), err)
			}
			made[i] = asWanted(held, o) && held.GetDeletionTimestamp() == nil
			return nil
		})
	}
	err := group.Wait()
	return err == nil && !slices.Contains(made, false), err
}

// AccountTaken returns CLUSTER_OBJECT_TAKEN where somebody else has something of the names of the account, or of the binding of the
// gateway's administrators. A namespace may be anybody's.
func (c *Client) AccountTaken(ctx context.Context, s Standing) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, o := range append(slices.Concat(AccountObjects(s)...), adminsBinding()) {
		group.Go(func() error {
			held, err := c.access(o).Get(ctx, o.GetName(), metav1.GetOptions{})
			switch {
			case apierrors.IsNotFound(err) || err == nil && o.GetKind() == "Namespace":
				return nil
			case err != nil:
				return fmt.Errorf("cannot read the %s: %w", called(o), err)
			}
			return taken(held)
		})
	}
	return group.Wait()
}

func taken(held *unstructured.Unstructured) error {
	if held.GetLabels()[managedByLabel] == wire.FieldManager {
		return nil
	}
	return reason.Newf(reason.ClusterObjectTaken, "the %s has no label %s=%s", called(held), managedByLabel, wire.FieldManager)
}

// RemoveAccount deletes the objects of the account that are ours, and with the account every token of it. It returns what stays, with
// the reason. It may be called again and again.
func (c *Client) RemoveAccount(ctx context.Context, s Standing) (left []string, err error) {
	rounds := AccountObjects(s)
	var errs []error
	for _, round := range slices.Backward(rounds) {
		for _, o := range slices.Backward(round) {
			if o.GetKind() == "Namespace" {
				continue
			}
			errs = append(errs, c.removeObject(ctx, o))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	namespace := rounds[0][0]
	others, err := c.others(ctx, Namespace)
	switch {
	case err != nil: // what cannot be seen may be somebody's
		return []string{fmt.Sprintf("%s: %v", called(namespace), err)}, nil
	case len(others) > 0:
		return []string{fmt.Sprintf("%s: somebody else has put %s into it", called(namespace), strings.Join(others, ", "))}, nil
	}
	return nil, c.removeObject(ctx, namespace)
}

// removeObject deletes an object if it is ours, and the one that was looked at.
func (c *Client) removeObject(ctx context.Context, o *unstructured.Unstructured) error {
	held, err := c.access(o).Get(ctx, o.GetName(), metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err == nil && held.GetLabels()[managedByLabel] == wire.FieldManager {
		uid := held.GetUID()
		err = c.access(o).Delete(ctx, o.GetName(), metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &uid}})
	}
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("cannot delete the %s: %w", called(o), err)
	}
	return nil
}

// maxOthers is how many objects of somebody else's are named.
const maxOthers = 5

// others names what is in a namespace beside that which every namespace has, as far as people put it there by hand.
func (c *Client) others(ctx context.Context, namespace string) ([]string, error) {
	var found []string
	for _, k := range []struct {
		kind string
		all  dynamic.NamespaceableResourceInterface
	}{
		{"pod", c.core("pods")}, {"service", c.core("services")}, {"secret", c.core("secrets")}, {"configmap", c.core("configmaps")},
		{"claim", c.core("persistentvolumeclaims")}, {"service account", c.core("serviceaccounts")},
		{"resource quota", c.core("resourcequotas")}, {"limit range", c.core("limitranges")},
		{"role", c.rbac("roles")}, {"role binding", c.rbac("rolebindings")}, {"replica set", c.resource("apps", "v1", "replicasets")},
		{"ingress", c.resource("networking.k8s.io", "v1", "ingresses")}, {"network policy", c.resource("networking.k8s.io", "v1", "networkpolicies")},
		{"disruption budget", c.resource("policy", "v1", "poddisruptionbudgets")}, {"autoscaler", c.resource("autoscaling", "v2", "horizontalpodautoscalers")},
		{"deployment", c.resource("apps", "v1", "deployments")}, {"stateful set", c.resource("apps", "v1", "statefulsets")},
		{"daemon set", c.resource("apps", "v1", "daemonsets")}, {"job", c.resource("batch", "v1", "jobs")}, {"cron job", c.resource("batch", "v1", "cronjobs")},
	} {
		list, err := k.all.Namespace(namespace).List(ctx, metav1.ListOptions{Limit: maxOthers})
		if apierrors.IsNotFound(err) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("cannot see what is in the namespace %s: %w", namespace, err)
		}
		for i := range list.Items {
			name := list.Items[i].GetName()
			if k.kind == "configmap" && name == "kube-root-ca.crt" || k.kind == "service account" && name == "default" {
				continue
			}
			if found = append(found, k.kind+" "+name); len(found) == maxOthers {
				return found, nil
			}
		}
	}
	return found, nil
}

// called names an object for people.
func called(o *unstructured.Unstructured) string {
	if o.GetNamespace() == "" {
		return o.GetKind() + " " + o.GetName()
	}
	return o.GetKind() + " " + o.GetNamespace() + "/" + o.GetName()
}

package cluster

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

// AdminsBinding is the name of the ClusterRoleBinding that GrantAdmins makes.
const AdminsBinding = "pipeops-admins"

// GrantAdmins binds the group of the gateway's administrators to the role cluster-admin. The agent impersonates its
// members; without this binding they may do nothing. It may be called again and again.
func (c *Client) GrantAdmins(ctx context.Context) error {
	binding := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "rbac.authorization.k8s.io/v1",
		"kind":       "ClusterRoleBinding",
		"metadata": map[string]any{
			"name":   AdminsBinding,
			"labels": map[string]any{"app.kubernetes.io/managed-by": wire.FieldManager},
		},
		"roleRef":  map[string]any{"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
		"subjects": []any{map[string]any{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": wire.GroupAdmins}},
	}}
	options := metav1.ApplyOptions{FieldManager: wire.FieldManager, Force: true}
	if _, err := c.rbac("clusterrolebindings").Apply(ctx, AdminsBinding, binding, options); err != nil {
		return fmt.Errorf("cannot bind %s to cluster-admin: %w", wire.GroupAdmins, err)
	}
	return nil
}

// AdminsGranted reports whether the binding is as GrantAdmins makes it.
func (c *Client) AdminsGranted(ctx context.Context) (bool, error) {
	binding, err := c.rbac("clusterrolebindings").Get(ctx, AdminsBinding, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("cannot read the binding of %s: %w", wire.GroupAdmins, err)
	}
	role, _, _ := unstructured.NestedString(binding.Object, "roleRef", "name")
	subjects, _, _ := unstructured.NestedSlice(binding.Object, "subjects")
	if role != "cluster-admin" || len(subjects) != 1 {
		return false, nil
	}
	subject, _ := subjects[0].(map[string]any)
	return subject["kind"] == "Group" && subject["name"] == wire.GroupAdmins, nil
}

// RevokeAdmins deletes what GrantAdmins made, unless it is somebody else's by now. It may be called again and again.
func (c *Client) RevokeAdmins(ctx context.Context) error {
	binding, err := c.rbac("clusterrolebindings").Get(ctx, AdminsBinding, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err == nil && binding.GetLabels()["app.kubernetes.io/managed-by"] == wire.FieldManager {
		uid := binding.GetUID()
		err = c.rbac("clusterrolebindings").Delete(ctx, AdminsBinding, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &uid}})
	}
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("cannot delete the ClusterRoleBinding %s: %w", AdminsBinding, err)
	}
	return nil
}

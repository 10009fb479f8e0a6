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

func adminsBinding() *unstructured.Unstructured {
	binding := accountObject(rbacVersion, "ClusterRoleBinding", "", AdminsBinding)
	binding.Object["roleRef"] = map[string]any{"apiGroup": rbacGroup, "kind": "ClusterRole", "name": "cluster-admin"}
	binding.Object["subjects"] = []any{map[string]any{"apiGroup": rbacGroup, "kind": "Group", "name": wire.GroupAdmins}}
	return binding
}

// GrantAdmins binds the group of the gateway's administrators to the role cluster-admin. The agent impersonates its
// members; without this binding they may do nothing. It may be called again and again. CLUSTER_OBJECT_TAKEN means that somebody else
// has a binding of its name.
func (c *Client) GrantAdmins(ctx context.Context) error {
	if err := c.ensure(ctx, adminsBinding()); err != nil {
		return fmt.Errorf("cannot bind %s to cluster-admin: %w", wire.GroupAdmins, err)
	}
	return nil
}

// AdminsGranted reports whether the binding is as GrantAdmins makes it.
func (c *Client) AdminsGranted(ctx context.Context) (bool, error) {
	want := adminsBinding()
	held, err := c.access(want).Get(ctx, AdminsBinding, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("cannot read the binding of %s: %w", wire.GroupAdmins, err)
	}
	return asWanted(held, want), nil
}

// RevokeAdmins deletes what GrantAdmins made, unless it is somebody else's by now. It may be called again and again.
func (c *Client) RevokeAdmins(ctx context.Context) error { return c.removeObject(ctx, adminsBinding()) }

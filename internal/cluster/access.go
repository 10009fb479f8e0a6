package cluster

import (
	"context"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

// adminsBinding is the name of the binding that GrantAdmins makes.
const adminsBinding = "pipeops-admins"

// GrantAdmins binds the group of the gateway's administrators to the role cluster-admin. The agent impersonates its
// members; without this binding they may do nothing. It may be called again and again.
func (c *Client) GrantAdmins(ctx context.Context) error {
	binding := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "rbac.authorization.k8s.io/v1",
		"kind":       "ClusterRoleBinding",
		"metadata": map[string]any{
			"name":   adminsBinding,
			"labels": map[string]any{"app.kubernetes.io/managed-by": wire.FieldManager},
		},
		"roleRef":  map[string]any{"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
		"subjects": []any{map[string]any{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": wire.GroupAdmins}},
	}}
	options := metav1.ApplyOptions{FieldManager: wire.FieldManager, Force: true}
	if _, err := c.rbac("clusterrolebindings").Apply(ctx, adminsBinding, binding, options); err != nil {
		return fmt.Errorf("cannot bind %s to cluster-admin: %w", wire.GroupAdmins, err)
	}
	return nil
}

package cluster

import (
	"context"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

// customDNS is the ConfigMap from which the CoreDNS of k3s takes what users add: keys that end in .server are zones.
const customDNS = "coredns-custom"

// SetDNSZone gives the CoreDNS of k3s a zone, under a key of ours. What others have in the same ConfigMap stays. It may be
// called again and again; CoreDNS takes a change up within a minute or two.
func (c *Client) SetDNSZone(ctx context.Context, key, zone string) error {
	object := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1",
		"kind":       "ConfigMap",
		"metadata":   map[string]any{"name": customDNS, "namespace": proofNamespace},
		"data":       map[string]any{key: zone},
	}}
	options := metav1.ApplyOptions{FieldManager: wire.FieldManager, Force: true}
	if _, err := c.core("configmaps").Namespace(proofNamespace).Apply(ctx, customDNS, object, options); err != nil {
		return fmt.Errorf("cannot give the cluster's DNS a zone: %w", err)
	}
	return nil
}

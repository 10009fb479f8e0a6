package cluster

import (
	"context"
	"fmt"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// youth is how long a node may be ready and still without its pod network: k3s calls it ready some seconds before flannel has
// written its file. A pod that comes in between is tried again by the kubelet only some 12 s later.
const youth = time.Minute

// flannelPrefix begins the annotations that flannel puts on its node when it takes a subnet for it.
const flannelPrefix = "flannel.alpha.coreos.com/"

// NetworkUp reports whether a pod that is made now finds a pod network. It is false only while no node has it, and all of
// them, or a cluster without any, are so young that it is still to come.
func (c *Client) NetworkUp(ctx context.Context) (bool, error) {
	seen, up := false, false
	err := c.eachNode(ctx, func(node *unstructured.Unstructured) bool {
		seen, up = true, hasNetwork(node)
		return !up
	})
	if err != nil || up {
		return up, err
	}
	if seen {
		return c.dnsHasAddress(ctx)
	}
	namespace, err := c.core("namespaces").Get(ctx, metav1.NamespaceSystem, metav1.GetOptions{}) // as old as the cluster
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("cannot read the namespace %s: %w", metav1.NamespaceSystem, err)
	}
	return !young(namespace), nil
}

// networkUpOn is NetworkUp for pods of one node.
func (c *Client) networkUpOn(ctx context.Context, name string) (bool, error) {
	node, err := c.core("nodes").Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return false, fmt.Errorf("cannot read the node: %w", err)
	}
	if hasNetwork(node) {
		return true, nil
	}
	return c.dnsHasAddress(ctx)
}

// hasNetwork reports whether a node is old or has its subnet of flannel.
func hasNetwork(node *unstructured.Unstructured) bool {
	if !young(node) {
		return true
	}
	for name := range node.GetAnnotations() {
		if strings.HasPrefix(name, flannelPrefix) {
			return true
		}
	}
	return false
}

// dnsHasAddress reports whether the first pods that there are, those of the DNS, have an address.
func (c *Client) dnsHasAddress(ctx context.Context) (bool, error) {
	pods, err := c.core("pods").Namespace(proofNamespace).List(ctx, metav1.ListOptions{LabelSelector: "k8s-app=kube-dns"})
	if err != nil {
		return false, fmt.Errorf("cannot list the DNS pods: %w", err)
	}
	for i := range pods.Items {
		if ip, _, _ := unstructured.NestedString(pods.Items[i].Object, "status", "podIP"); ip != "" {
			return true, nil
		}
	}
	return false, nil
}

// young reports whether an object was made just now. One of a time that is still to come was made while the clock was ahead.
func young(object *unstructured.Unstructured) bool {
	return time.Since(object.GetCreationTimestamp().Time).Abs() < youth
}

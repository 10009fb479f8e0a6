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
	list, err := c.core("nodes").List(ctx, metav1.ListOptions{})
	if err != nil {
		return false, fmt.Errorf("cannot list the nodes: %w", err)
	}
	if len(list.Items) > 0 {
		return c.networkOn(ctx, list.Items...)
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
func (c *Client) networkUpOn(ctx context.Context, node string) (bool, error) {
	object, err := c.core("nodes").Get(ctx, node, metav1.GetOptions{})
	if err != nil {
		return false, fmt.Errorf("cannot read the node: %w", err)
	}
	return c.networkOn(ctx, *object)
}

// networkOn wants one of the nodes to be old or to have its subnet of flannel, or the first pods that there are, those of the
// DNS, to have an address.
func (c *Client) networkOn(ctx context.Context, nodes ...unstructured.Unstructured) (bool, error) {
	for i := range nodes {
		if !young(&nodes[i]) {
			return true, nil
		}
		for name := range nodes[i].GetAnnotations() {
			if strings.HasPrefix(name, flannelPrefix) {
				return true, nil
			}
		}
	}
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

package cluster

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/pipeopshq/pipeops-agent/internal/health"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

// votes is the condition by which k3s tells that the etcd of a server counts in a majority; until then it only learns.
const votes = "EtcdIsVoter"

// The reason of a layer that cannot be proved: there is no pod on another node that could be asked.
const nothingElsewhere = "NothingElsewhere"

// NodeLayer is this machine's own node, which is known by its name; etcd says that it keeps the state of the cluster, too.
func NodeLayer(name string, etcd bool) Layer {
	title := "This node is ready"
	if etcd {
		title = "This node is ready, and its etcd counts"
	}
	return Layer{
		ID: LayerNode, Title: title, Condition: health.NodesReady, Code: reason.LayerNode, First: 5 * time.Minute, Again: 30 * time.Second,
		Check: func(ctx context.Context, c *Client) (string, error) { return c.OwnNode(ctx, name, etcd) },
	}
}

// OwnNode returns nil if the node is ready, with what was seen. The rights of its own kubelet suffice.
func (c *Client) OwnNode(ctx context.Context, name string, etcd bool) (string, error) {
	node, err := c.core("nodes").Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return "", fmt.Errorf("cannot see the node %s: %w", name, err)
	}
	if !conditionTrue(node, "Ready") {
		return "", fmt.Errorf("the node %s is not ready%s", name, conditionSays(node, "Ready"))
	}
	if etcd && !conditionTrue(node, votes) {
		return "", fmt.Errorf("the etcd of node %s does not count yet%s", name, conditionSays(node, votes))
	}
	return "the node " + name + " is ready", nil
}

// conditionSays returns ": reason: message" of a condition, "" if there is none.
func conditionSays(object *unstructured.Unstructured, kind string) string {
	conditions, _, _ := unstructured.NestedSlice(object.Object, "status", "conditions")
	for _, entry := range conditions {
		condition, _ := entry.(map[string]any)
		if condition["type"] != kind {
			continue
		}
		said := ""
		for _, key := range []string{"reason", "message"} {
			if text, _ := condition[key].(string); text != "" {
				said += ": " + text
			}
		}
		return said
	}
	return ""
}

// AcrossLayer sends packets from this machine to pods on other nodes and back, through the network of pods.
func AcrossLayer(name string) Layer {
	return Layer{
		ID: LayerNetwork, Title: "Packets go to pods on other nodes", Condition: health.PodNetwork, Code: reason.LayerPodNetwork, First: 2 * time.Minute, Again: 30 * time.Second,
		Check: func(ctx context.Context, c *Client) (string, error) { return c.Across(ctx, name) },
	}
}

// Across asks the DNS pods on other nodes than this one, at their own addresses. No service address is in the way. The rights of
// kube-proxy suffice.
func (c *Client) Across(ctx context.Context, self string) (string, error) {
	pods, err := c.dnsElsewhere(ctx, self)
	if err != nil {
		return "", err
	}
	if len(pods) == 0 {
		return "", &UnprovableError{Reason: nothingElsewhere, Message: "no DNS pod is ready on another node"}
	}
	var seen []string
	for _, p := range pods {
		if err := resolves(ctx, p.address); err != nil {
			return "", fmt.Errorf("this machine gets no answer of the pod at %s on node %s: %w", p.address, p.node, err)
		}
		seen = append(seen, p.address+" on "+p.node)
	}
	return "this machine to " + strings.Join(seen, ", "), nil
}

// placed is the address of a pod, and its node.
type placed struct{ address, node string }

// maxAsked is how many pods are asked: one on each of the first nodes.
const maxAsked = 3

// dnsElsewhere returns DNS pods that are ready, one on each other node.
func (c *Client) dnsElsewhere(ctx context.Context, self string) ([]placed, error) {
	list, err := c.resource("discovery.k8s.io", "v1", "endpointslices").Namespace(proofNamespace).
		List(ctx, metav1.ListOptions{LabelSelector: "kubernetes.io/service-name=kube-dns"})
	if err != nil {
		return nil, fmt.Errorf("cannot list the DNS pods: %w", err)
	}
	var all []placed
	for i := range list.Items {
		endpoints, _, _ := unstructured.NestedSlice(list.Items[i].Object, "endpoints")
		for _, entry := range endpoints {
			endpoint, _ := entry.(map[string]any)
			node, _, _ := unstructured.NestedString(endpoint, "nodeName")
			ready, said, _ := unstructured.NestedBool(endpoint, "conditions", "ready")
			addresses, _, _ := unstructured.NestedStringSlice(endpoint, "addresses")
			if node == "" || node == self || said && !ready || len(addresses) == 0 || len(all) == maxAsked {
				continue
			}
			if _, err := netip.ParseAddr(addresses[0]); err != nil {
				return nil, errors.New("the address of a DNS pod cannot be read")
			}
			if !slices.ContainsFunc(all, func(p placed) bool { return p.node == node }) {
				all = append(all, placed{addresses[0], node})
			}
		}
	}
	return all, nil
}

// DeleteNode removes a node. It is no error if there is none.
func (c *Client) DeleteNode(ctx context.Context, name string) error {
	err := c.core("nodes").Delete(ctx, name, metav1.DeleteOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("cannot remove the node %s: %w", name, err)
	}
	return nil
}

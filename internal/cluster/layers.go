package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

// Layer is one thing that must work before a cluster is of use. Layers build on each other.
type Layer struct {
	ID    string
	Title string
	Check func(ctx context.Context, c *Client) error // nil: it works now
}

// PodLayer is the id of the layer that runs a pod of its own, for a moment.
const PodLayer = "pod"

// API returns the first layer, on which all others build.
func API() Layer {
	return Layer{"api", "The API server answers", func(ctx context.Context, c *Client) error { return c.Ready(ctx) }}
}

// Layers returns the further layers in the order in which they come up. onNode says that this machine is a node of the
// cluster and so reaches its service addresses; elsewhere DNS is judged by what the API says of it.
func Layers(onNode bool) []Layer {
	return []Layer{
		{"node", "A node is ready", checkNode},
		{"dns", "Names resolve inside the cluster", func(ctx context.Context, c *Client) error { return c.checkDNS(ctx, onNode) }},
		{PodLayer, "A pod runs", checkPod},
	}
}

func checkNode(ctx context.Context, c *Client) error {
	all, ready, err := c.Nodes(ctx)
	if err != nil {
		return err
	}
	if ready == 0 {
		return fmt.Errorf("0 of %d nodes are ready", all)
	}
	return nil
}

// clusterName is a name that every cluster with the usual DNS domain resolves.
const clusterName = "kubernetes.default.svc.cluster.local."

func (c *Client) checkDNS(ctx context.Context, onNode bool) error {
	dns, err := c.core("services").Namespace("kube-system").Get(ctx, "kube-dns", metav1.GetOptions{})
	if err != nil {
		return fmt.Errorf("cannot find the DNS service: %w", err)
	}
	address, _, _ := unstructured.NestedString(dns.Object, "spec", "clusterIP")
	if !onNode {
		return c.checkDNSPods(ctx)
	}
	resolver := net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, network, net.JoinHostPort(address, "53"))
	}}
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	if _, err := resolver.LookupHost(ctx, clusterName); err != nil {
		return fmt.Errorf("the DNS service at %s does not resolve %s: %w", address, clusterName, err)
	}
	return nil
}

func (c *Client) checkDNSPods(ctx context.Context) error {
	list, err := c.core("pods").Namespace("kube-system").List(ctx, metav1.ListOptions{LabelSelector: "k8s-app=kube-dns"})
	if err != nil {
		return fmt.Errorf("cannot list the DNS pods: %w", err)
	}
	for i := range list.Items {
		if conditionTrue(&list.Items[i], "Ready") {
			return nil
		}
	}
	return fmt.Errorf("0 of %d DNS pods are ready", len(list.Items))
}

// proofPod is the name of the pod that proves that pods run; it lives in the namespace kube-system for a few seconds.
const proofPod = "pipeops-proof"

// checkPod runs a pod from an image that a node already has, and takes it away again.
func checkPod(ctx context.Context, c *Client) error {
	api := c.core("pods").Namespace("kube-system")
	pod, err := api.Get(ctx, proofPod, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		image, err := c.pauseImage(ctx)
		if err != nil {
			return err
		}
		if _, err := api.Create(ctx, pauseAs(proofPod, image), metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
			return fmt.Errorf("cannot create a pod: %w", err)
		}
		return errors.New("the pod was created just now")
	}
	if err != nil {
		return fmt.Errorf("cannot read the pod: %w", err)
	}
	phase, _, _ := unstructured.NestedString(pod.Object, "status", "phase")
	if phase != "Running" {
		return fmt.Errorf("the pod is %s%s", phase, waitingReason(pod))
	}
	now := int64(0)
	if err := api.Delete(ctx, proofPod, metav1.DeleteOptions{GracePeriodSeconds: &now}); err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("cannot delete the pod: %w", err)
	}
	return nil
}

// waitingReason returns ": reason: message" of the first container that waits, or nothing.
func waitingReason(pod *unstructured.Unstructured) string {
	statuses, _, _ := unstructured.NestedSlice(pod.Object, "status", "containerStatuses")
	for _, entry := range statuses {
		status, _ := entry.(map[string]any)
		reason, _, _ := unstructured.NestedString(status, "state", "waiting", "reason")
		message, _, _ := unstructured.NestedString(status, "state", "waiting", "message")
		if reason != "" {
			return strings.TrimRight(": "+reason+": "+message, ": ")
		}
	}
	return ""
}

// pauseImage returns the name of a pause image that a node already has: no registry needs to be reached for it.
func (c *Client) pauseImage(ctx context.Context) (string, error) {
	list, err := c.core("nodes").List(ctx, metav1.ListOptions{})
	if err != nil {
		return "", fmt.Errorf("cannot list the nodes: %w", err)
	}
	for i := range list.Items {
		images, _, _ := unstructured.NestedSlice(list.Items[i].Object, "status", "images")
		for _, entry := range images {
			image, _ := entry.(map[string]any)
			names, _, _ := unstructured.NestedStringSlice(image, "names")
			for _, name := range names {
				if strings.Contains(name, "pause:") && !strings.Contains(name, "@") {
					return name, nil
				}
			}
		}
	}
	return "", errors.New("no node has a pause image yet")
}

func pauseAs(name, image string) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1",
		"kind":       "Pod",
		"metadata":   map[string]any{"name": name, "labels": map[string]any{"app.kubernetes.io/managed-by": wire.FieldManager}},
		"spec": map[string]any{
			"automountServiceAccountToken":  false,
			"enableServiceLinks":            false,
			"terminationGracePeriodSeconds": int64(0),
			"containers": []any{map[string]any{
				"name": "pause", "image": image, "imagePullPolicy": "IfNotPresent",
				"securityContext": map[string]any{"allowPrivilegeEscalation": false, "runAsNonRoot": true, "runAsUser": int64(65535)},
			}},
		},
	}}
}

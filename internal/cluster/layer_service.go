package cluster

import (
	"context"
	"fmt"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/pipeopshq/pipeops-agent/internal/health"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

// serviceLayer goes by service addresses: from this machine to the pod, from the pod to itself, which takes a hairpin, and
// from the pod to the API server.
func serviceLayer(p Probe) Layer {
	return Layer{
		ID: LayerService, Title: "Service addresses lead to pods", Condition: health.ServiceAddress, Code: reason.LayerService,
		After: []string{LayerNetwork}, Probe: true, First: time.Minute, Again: 15 * time.Second,
		Check: p.checkService,
	}
}

func (p Probe) checkService(ctx context.Context, c *Client) (string, error) {
	pod, err := p.server(ctx, c)
	if err != nil {
		return "", err
	}
	address, err := p.service(ctx, c)
	if err != nil {
		return "", err
	}
	if err := p.answers(ctx, address, servicePort); err != nil { // from afar: the pod behind it, as pages of projects are reached
		return "", fmt.Errorf("%s does not reach the service address %s of the pod %s: %w", p.asker(), address, pod.ip, err)
	}
	if err := p.fromPod(ctx, pod, "page", address, servicePort); err != nil {
		return "", fmt.Errorf("the pod %s does not reach itself by its service address %s (hairpin): %w", pod.ip, address, err)
	}
	kubernetes, err := c.core("services").Namespace("default").Get(ctx, "kubernetes", metav1.GetOptions{})
	if err != nil {
		return "", fmt.Errorf("cannot find the service of the API server: %w", err)
	}
	api, _, _ := unstructured.NestedString(kubernetes.Object, "spec", "clusterIP")
	if err := p.fromPod(ctx, pod, "tcp", api, 443); err != nil {
		return "", fmt.Errorf("the pod %s does not reach the API server by its service address %s: %w", pod.ip, api, err)
	}
	return fmt.Sprintf("%s from %s and from its own pod, %s from the pod", address, strings.TrimSuffix(p.asker(), ","), api), nil
}

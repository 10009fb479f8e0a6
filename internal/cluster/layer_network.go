package cluster

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/pipeopshq/pipeops-agent/internal/health"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

// networkLayer sends packets from this machine to the pod, from the pod to the API server at its own address, and from pod
// to pod: to the DNS, if that runs. No service address is in the way.
func networkLayer(p Probe) Layer {
	return Layer{
		ID: LayerNetwork, Title: "Packets go to and from pods", Condition: health.PodNetwork, Code: reason.LayerPodNetwork,
		After: []string{LayerPod}, Behind: []string{LayerDNS}, Probe: true, First: time.Minute, Again: 15 * time.Second,
		Check: p.checkNetwork,
	}
}

func (p Probe) checkNetwork(ctx context.Context, c *Client) (string, error) {
	pod, err := p.server(ctx, c)
	if err != nil {
		return "", err
	}
	if err := p.answers(ctx, pod.ip, podPort); err != nil {
		return "", fmt.Errorf("%s does not reach the pod at %s: %w", p.asker(), pod.ip, err)
	}
	seen := []string{strings.TrimSuffix(p.asker(), ",") + " to " + pod.ip}
	api, port, err := c.apiEndpoint(ctx)
	if err != nil {
		return "", err
	}
	if err := p.fromPod(ctx, pod, "tcp", api, port); err != nil {
		return "", fmt.Errorf("the pod at %s does not reach the API server at %s: %w", pod.ip, net.JoinHostPort(api, strconv.Itoa(port)), err)
	}
	seen = append(seen, "pod to the API server at "+api)
	ready, _, err := c.dnsPods(ctx)
	if err != nil {
		return "", err
	}
	if len(ready) > 0 {
		if err := p.fromPod(ctx, pod, "dns", ready[0], 53); err != nil {
			return "", fmt.Errorf("the pod at %s gets no answer of the DNS pod at %s: %w", pod.ip, ready[0], err)
		}
		seen = append(seen, "pod to the DNS pod at "+ready[0])
	}
	return strings.Join(seen, ", "), nil
}

// apiEndpoint returns an address of the API server that is no service address.
func (c *Client) apiEndpoint(ctx context.Context) (ip string, port int, err error) {
	list, err := c.resource("discovery.k8s.io", "v1", "endpointslices").Namespace("default").
		List(ctx, metav1.ListOptions{LabelSelector: "kubernetes.io/service-name=kubernetes"})
	if err != nil {
		return "", 0, fmt.Errorf("cannot list the endpoints of the API server: %w", err)
	}
	for i := range list.Items {
		endpoints, _, _ := unstructured.NestedSlice(list.Items[i].Object, "endpoints")
		ports, _, _ := unstructured.NestedSlice(list.Items[i].Object, "ports")
		if len(endpoints) == 0 || len(ports) == 0 {
			continue
		}
		first, _ := endpoints[0].(map[string]any)
		addresses, _, _ := unstructured.NestedStringSlice(first, "addresses")
		entry, _ := ports[0].(map[string]any)
		number, _, _ := unstructured.NestedInt64(entry, "port")
		if len(addresses) > 0 && number > 0 {
			return addresses[0], int(number), nil
		}
	}
	return "", 0, fmt.Errorf("the API server has no endpoint yet")
}

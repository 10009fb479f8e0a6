package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strconv"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// Far reaches pods and services of a cluster that this machine is no node of: its nodes are containers, or other machines, and
// their networks do not lead here. A connection goes through the API server and the kubelet to the port of a pod, as that of
// kubectl port-forward does. The API server's proxy would not do: it changes pages and headers.
type Far struct{ Source *Source }

// DialContext connects to the address of a pod, or of a Service, behind which it picks a pod that is ready. It takes TCP only.
func (f Far) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	client, err := f.Source.Client()
	if err != nil {
		return nil, err
	}
	host, text, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("cannot reach %q: %w", address, err)
	}
	ip, err := netip.ParseAddr(host)
	port, portErr := strconv.ParseUint(text, 10, 16)
	if err = errors.Join(err, portErr); err != nil || network != "tcp" && network != "tcp4" && network != "tcp6" {
		return nil, errors.Join(fmt.Errorf("cannot reach %s %s by way of the API server", network, address), err)
	}
	to, err := client.target(ctx, ip, int(port))
	if err != nil {
		return nil, err
	}
	return client.forward(ctx, to)
}

// podTarget is a port of a pod.
type podTarget struct {
	namespace, name string
	port            int
}

// target finds the pod that an address belongs to, or one behind it that is ready.
func (c *Client) target(ctx context.Context, ip netip.Addr, port int) (podTarget, error) {
	pods, err := c.core("pods").List(ctx, metav1.ListOptions{FieldSelector: "status.podIP=" + ip.String(), Limit: 16})
	if err != nil {
		return podTarget{}, fmt.Errorf("cannot look for the pod at %s: %w", ip, err)
	}
	for _, pod := range pods.Items {
		onHost, _, _ := unstructured.NestedBool(pod.Object, "spec", "hostNetwork")
		its, _, _ := unstructured.NestedString(pod.Object, "status", "podIP")
		if phase, _, _ := unstructured.NestedString(pod.Object, "status", "phase"); its == ip.String() && phase == "Running" && !onHost {
			return podTarget{pod.GetNamespace(), pod.GetName(), port}, nil
		}
	}
	services, err := c.core("services").List(ctx, metav1.ListOptions{FieldSelector: "spec.clusterIP=" + ip.String(), Limit: 16})
	if err != nil {
		return podTarget{}, fmt.Errorf("cannot look for the service at %s: %w", ip, err)
	}
	for i := range services.Items {
		s := &services.Items[i]
		if its, _, _ := unstructured.NestedString(s.Object, "spec", "clusterIP"); its == ip.String() {
			return c.behind(ctx, s, port)
		}
	}
	return podTarget{}, fmt.Errorf("no pod that runs and no service of the cluster is at %s", ip)
}

// behind picks the first pod behind a Service that is ready.
func (c *Client) behind(ctx context.Context, service *unstructured.Unstructured, port int) (podTarget, error) {
	name, known := servicePortName(service, port)
	if !known {
		return podTarget{}, fmt.Errorf("the service %s has no port %d", service.GetName(), port)
	}
	slices, err := c.resource("discovery.k8s.io", "v1", "endpointslices").Namespace(service.GetNamespace()).
		List(ctx, metav1.ListOptions{LabelSelector: "kubernetes.io/service-name=" + service.GetName()})
	if err != nil {
		return podTarget{}, fmt.Errorf("cannot list what is behind the service %s: %w", service.GetName(), err)
	}
	for _, slice := range slices.Items {
		number := portOfSlice(&slice, name)
		endpoints, _, _ := unstructured.NestedSlice(slice.Object, "endpoints")
		for _, entry := range endpoints {
			endpoint, _ := entry.(map[string]any)
			ready, told, _ := unstructured.NestedBool(endpoint, "conditions", "ready")
			kind, _, _ := unstructured.NestedString(endpoint, "targetRef", "kind")
			pod, _, _ := unstructured.NestedString(endpoint, "targetRef", "name")
			if number > 0 && kind == "Pod" && pod != "" && (ready || !told) { // as kube-proxy takes it
				return podTarget{service.GetNamespace(), pod, number}, nil
			}
		}
	}
	return podTarget{}, fmt.Errorf("no pod behind the service %s is ready", service.GetName())
}

// servicePortName returns the name of a port, which is "" where there is only one.
func servicePortName(service *unstructured.Unstructured, port int) (string, bool) {
	ports, _, _ := unstructured.NestedSlice(service.Object, "spec", "ports")
	for _, entry := range ports {
		p, _ := entry.(map[string]any)
		if number, _, _ := unstructured.NestedInt64(p, "port"); number == int64(port) {
			name, _, _ := unstructured.NestedString(p, "name")
			return name, true
		}
	}
	return "", false
}

// portOfSlice returns the number of the pods' port of this name, 0 if there is none.
func portOfSlice(slice *unstructured.Unstructured, name string) int {
	ports, _, _ := unstructured.NestedSlice(slice.Object, "ports")
	for _, entry := range ports {
		p, _ := entry.(map[string]any)
		if its, _, _ := unstructured.NestedString(p, "name"); its == name {
			number, _, _ := unstructured.NestedInt64(p, "port")
			return int(number)
		}
	}
	return 0
}

// forward opens a connection to a port of a pod.
func (c *Client) forward(ctx context.Context, to podTarget) (net.Conn, error) {
	if c.config == nil {
		return nil, errors.New("cannot reach pods: no API server is known")
	}
	where := c.Base.JoinPath("api", "v1", "namespaces", to.namespace, "pods", to.name, "portforward")
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, where.String(), nil)
	if err != nil {
		return nil, fmt.Errorf("cannot reach the pod %s: %w", to.name, err)
	}
	conn, err := forwardTo(request, c.config, to.port)
	if err != nil {
		return nil, fmt.Errorf("cannot reach port %d of the pod %s/%s: %w", to.port, to.namespace, to.name, err)
	}
	return conn, nil
}

// Forward opens a connection to a port of a pod by way of the API server and its kubelet, for who is no node of the cluster. The
// kubelet connects from within the pod, to its loopback.
func (c *Client) Forward(ctx context.Context, namespace, pod string, port int) (net.Conn, error) {
	return c.forward(ctx, podTarget{namespace, pod, port})
}

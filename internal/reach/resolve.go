package reach

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/netip"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/pipeopshq/pipeops-agent/internal/cluster"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

//nolint:gochecknoglobals // names; nothing changes them
var (
	podsResource     = schema.GroupVersionResource{Version: "v1", Resource: "pods"}
	nodesResource    = schema.GroupVersionResource{Version: "v1", Resource: "nodes"}
	servicesResource = schema.GroupVersionResource{Version: "v1", Resource: "services"}
	slicesResource   = schema.GroupVersionResource{Group: "discovery.k8s.io", Version: "v1", Resource: "endpointslices"}
)

// place is a port of a pod.
type place struct {
	namespace, pod string
	uid            string
	address        netip.Addr
	port           int
}

// found is what a target is, at this moment.
type found struct {
	port       int // of the target, as a number
	serviceUID string
	places     []place // at least one; those that may be dialled, in the order in which to try them
}

// resolve asks the Kubernetes API what a target is now. Every place of the answer is a port of a pod with a network of its own. The error
// is CONNECT_UNKNOWN, CONNECT_ADDRESS, CONNECT_UNREACHABLE or one of the API server.
func (r *Reach) resolve(ctx context.Context, client *cluster.Client, t wire.Target) (found, error) {
	if t.Kind == wire.KindPod {
		return r.resolvePod(ctx, client, t)
	}
	service, err := serviceOf(ctx, client, t.Namespace, t.Name)
	switch {
	case err != nil:
		return found{}, err
	case service == nil:
		return found{}, reason.Newf(reason.ConnectUnknown, "%s: there is no such service", t)
	}
	if kind, _, _ := unstructured.NestedString(service.Object, "spec", "type"); kind == "ExternalName" {
		return found{}, reason.Newf(reason.ConnectAddress, "%s is a name elsewhere (ExternalName), which nobody looks up here", t)
	}
	number, name, ok := portOfService(service, t)
	if !ok {
		return found{}, reason.Newf(reason.ConnectUnknown, "%s: the service has no such port of %s", t, strings.ToUpper(t.Network))
	}
	slices, err := slicesOf(ctx, client, t.Namespace, t.Name)
	if err != nil {
		return found{}, err
	}
	out := found{port: number, serviceUID: string(service.GetUID())}
	var refused error
	candidates := behind(slices, name, t)
	rand.Shuffle(len(candidates), func(i, j int) { candidates[i], candidates[j] = candidates[j], candidates[i] })
	for _, c := range candidates {
		if len(out.places) == maxPlaces {
			break
		}
		switch err := r.verify(ctx, client, &c); {
		case err == nil:
			out.places = append(out.places, c)
		case reason.Is(err, reason.ConnectAddress):
			refused = err
		default:
			return found{}, err
		}
	}
	switch {
	case len(out.places) > 0:
		return out, nil
	case refused != nil:
		return found{}, refused
	}
	return found{}, reason.Newf(reason.ConnectUnreachable, "%s: no pod behind the service is ready", t)
}

// maxPlaces is how many pods of a service are tried.
const maxPlaces = 3

// resolvePod is resolve of a pod.
func (r *Reach) resolvePod(ctx context.Context, client *cluster.Client, t wire.Target) (found, error) {
	pod, err := podOf(ctx, client, t.Namespace, t.Name)
	switch {
	case err != nil:
		return found{}, err
	case pod == nil:
		return found{}, reason.Newf(reason.ConnectUnknown, "%s: there is no such pod", t)
	}
	port := t.Number()
	if port == 0 {
		if port = portOfPod(pod, t); port == 0 {
			return found{}, reason.Newf(reason.ConnectUnknown, "%s: no container of the pod has such a port of %s", t, strings.ToUpper(t.Network))
		}
	}
	ips := podAddresses(pod)
	if phase, _, _ := unstructured.NestedString(pod.Object, "status", "phase"); phase != "Running" || len(ips) == 0 {
		return found{}, reason.Newf(reason.ConnectUnreachable, "%s: the pod does not run (%s)", t, phase)
	}
	out := found{port: port}
	var refused error
	for _, ip := range ips {
		p := place{t.Namespace, t.Name, string(pod.GetUID()), ip, port}
		if err := r.allowed(ctx, client, pod, p); err != nil {
			refused = err
			continue
		}
		out.places = append(out.places, p)
	}
	if len(out.places) == 0 {
		return found{}, refused
	}
	return out, nil
}

// verify sees that a place which an EndpointSlice names is what it says: the address of that pod. Who may write the slice could have
// written any address.
func (r *Reach) verify(ctx context.Context, client *cluster.Client, p *place) error {
	if p.pod == "" {
		if err := r.guard.check(ctx, client, p.address); err != nil {
			return reason.Newf(reason.ConnectAddress, "the service leads to no pod: %v", err)
		}
		return reason.Newf(reason.ConnectAddress, "the service leads to %s, which is no pod", p.address)
	}
	pod, err := podOf(ctx, client, p.namespace, p.pod)
	if err != nil {
		return err
	}
	if pod == nil {
		return reason.Newf(reason.ConnectAddress, "the service leads to the pod %s, which there is not", p.pod)
	}
	its := false
	for _, ip := range podAddresses(pod) {
		its = its || ip == p.address
	}
	if !its {
		return reason.Newf(reason.ConnectAddress, "the service leads to %s, which is not the address of its pod %s", p.address, p.pod)
	}
	p.uid = string(pod.GetUID())
	return r.allowed(ctx, client, pod, *p)
}

// allowed returns CONNECT_ADDRESS if a pod is not to be dialled at an address.
func (r *Reach) allowed(ctx context.Context, client *cluster.Client, pod *unstructured.Unstructured, p place) error {
	if onHost, _, _ := unstructured.NestedBool(pod.Object, "spec", "hostNetwork"); onHost {
		return reason.Newf(reason.ConnectAddress, "the pod %s uses the network of its node (hostNetwork), so that its address is the node's", p.pod)
	}
	err := r.guard.check(ctx, client, p.address)
	if err == nil {
		return nil
	}
	var api apierrors.APIStatus
	if errors.As(err, &api) {
		return err
	}
	return reason.Newf(reason.ConnectAddress, "the pod %s: %v", p.pod, err)
}

// behind returns the places that EndpointSlices name for a port of this name, those that are ready.
func behind(slices []unstructured.Unstructured, name string, t wire.Target) []place {
	var out []place
	for i := range slices {
		port := 0
		ports, _, _ := unstructured.NestedSlice(slices[i].Object, "ports")
		for _, entry := range ports {
			p, _ := entry.(map[string]any)
			its, _, _ := unstructured.NestedString(p, "name")
			number, _, _ := unstructured.NestedInt64(p, "port")
			if its == name && speaks(p, t.Network) && number > 0 && number < 1<<16 {
				port = int(number)
			}
		}
		if port == 0 {
			continue
		}
		endpoints, _, _ := unstructured.NestedSlice(slices[i].Object, "endpoints")
		for _, entry := range endpoints {
			e, _ := entry.(map[string]any)
			if ready, told, _ := unstructured.NestedBool(e, "conditions", "ready"); told && !ready { // as kube-proxy takes it
				continue
			}
			pod := ""
			if kind, _, _ := unstructured.NestedString(e, "targetRef", "kind"); kind == "Pod" {
				pod, _, _ = unstructured.NestedString(e, "targetRef", "name")
			}
			addresses, _, _ := unstructured.NestedStringSlice(e, "addresses")
			for _, text := range addresses {
				if a, err := netip.ParseAddr(text); err == nil { // a slice of names (FQDN) has none
					out = append(out, place{namespace: t.Namespace, pod: pod, address: a, port: port})
				}
			}
		}
	}
	return out
}

// portOfService finds the port that a target names: its number and its name, which is "" where there is only one.
func portOfService(service *unstructured.Unstructured, t wire.Target) (number int, name string, ok bool) {
	ports, _, _ := unstructured.NestedSlice(service.Object, "spec", "ports")
	for _, entry := range ports {
		p, _ := entry.(map[string]any)
		its, _, _ := unstructured.NestedString(p, "name")
		n, _, _ := unstructured.NestedInt64(p, "port")
		if speaks(p, t.Network) && (t.Number() != 0 && n == int64(t.Number()) || t.Number() == 0 && its == t.Port) {
			return int(n), its, true
		}
	}
	return 0, "", false
}

// portOfPod finds the number of a port that a container of a pod names.
func portOfPod(pod *unstructured.Unstructured, t wire.Target) int {
	containers, _, _ := unstructured.NestedSlice(pod.Object, "spec", "containers")
	for _, entry := range containers {
		c, _ := entry.(map[string]any)
		ports, _, _ := unstructured.NestedSlice(c, "ports")
		for _, entry := range ports {
			p, _ := entry.(map[string]any)
			its, _, _ := unstructured.NestedString(p, "name")
			n, _, _ := unstructured.NestedInt64(p, "containerPort")
			if its == t.Port && speaks(p, t.Network) && n > 0 && n < 1<<16 {
				return int(n)
			}
		}
	}
	return 0
}

// speaks reports whether a port is one of a network; it is one of TCP where it does not say.
func speaks(port map[string]any, network string) bool {
	protocol, _, _ := unstructured.NestedString(port, "protocol")
	return strings.EqualFold(protocol, network) || protocol == "" && network == "tcp"
}

func podAddresses(pod *unstructured.Unstructured) []netip.Addr {
	var texts []string
	ips, _, _ := unstructured.NestedSlice(pod.Object, "status", "podIPs")
	for _, entry := range ips {
		e, _ := entry.(map[string]any)
		text, _, _ := unstructured.NestedString(e, "ip")
		texts = append(texts, text)
	}
	if len(texts) == 0 {
		text, _, _ := unstructured.NestedString(pod.Object, "status", "podIP")
		texts = append(texts, text)
	}
	var out []netip.Addr
	for _, text := range texts {
		if a, err := netip.ParseAddr(text); err == nil {
			out = append(out, a)
		}
	}
	return out
}

// serviceOf returns a service; nil if there is none.
func serviceOf(ctx context.Context, client *cluster.Client, namespace, name string) (*unstructured.Unstructured, error) {
	service, err := client.Dynamic.Resource(servicesResource).Namespace(namespace).Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	return service, err
}

// slicesOf returns the EndpointSlices of a service.
func slicesOf(ctx context.Context, client *cluster.Client, namespace, service string) ([]unstructured.Unstructured, error) {
	list, err := client.Dynamic.Resource(slicesResource).Namespace(namespace).
		List(ctx, metav1.ListOptions{LabelSelector: "kubernetes.io/service-name=" + service})
	if err != nil {
		return nil, err
	}
	return list.Items, nil
}

// podOf returns a pod; nil if there is none. It is listed, which is what the agent's account may do.
func podOf(ctx context.Context, client *cluster.Client, namespace, name string) (*unstructured.Unstructured, error) {
	list, err := client.Dynamic.Resource(podsResource).Namespace(namespace).List(ctx, metav1.ListOptions{FieldSelector: "metadata.name=" + name})
	if err != nil {
		return nil, err
	}
	for i := range list.Items {
		if list.Items[i].GetName() == name {
			return &list.Items[i], nil
		}
	}
	return nil, nil
}

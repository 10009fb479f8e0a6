package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/pipeopshq/pipeops-agent/internal/health"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

// clusterName is a name that every cluster with the usual DNS domain resolves.
const clusterName = "kubernetes.default.svc.cluster.local."

// lookupTimeout is what one look-up gets: the service address is at most one hop away.
const lookupTimeout = 3 * time.Second

func dnsLayer(p Probe) Layer {
	return Layer{
		ID: LayerDNS, Title: "Names resolve inside the cluster", Condition: health.DNS, Code: reason.LayerDNS,
		After: []string{LayerNode}, First: 5 * time.Minute, Again: 30 * time.Second,
		Check: func(ctx context.Context, c *Client) (string, error) { return c.DNS(ctx, !p.Adopted && !p.Far) },
	}
}

// DNS asks the DNS of the cluster for a name at its service address. Where this machine is no node of the cluster, and so
// does not reach that address, it is judged by whether its pods are ready. It returns what it saw.
func (c *Client) DNS(ctx context.Context, onNode bool) (string, error) {
	dns, err := c.core("services").Namespace(proofNamespace).Get(ctx, "kube-dns", metav1.GetOptions{})
	if err != nil {
		return "", fmt.Errorf("cannot find the DNS service: %w", err)
	}
	pods, all, err := c.dnsPods(ctx)
	if err == nil && len(pods) == 0 { // before, a look-up would only wait for an answer that cannot come
		err = fmt.Errorf("0 of %d DNS pods are ready", all)
	}
	if err != nil || !onNode {
		return fmt.Sprintf("%d of %d DNS pods are ready", len(pods), all), err
	}
	address, _, _ := unstructured.NestedString(dns.Object, "spec", "clusterIP")
	if err := resolves(ctx, address); err != nil {
		return "", fmt.Errorf("the DNS service at %s does not resolve %s: %w", address, clusterName, err)
	}
	return "the DNS service at " + address + " resolves", nil
}

// resolves asks the DNS at an address.
func resolves(ctx context.Context, address string) error {
	resolver := net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, network, net.JoinHostPort(address, "53"))
	}}
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	_, err := resolver.LookupHost(ctx, clusterName)
	if dns := (*net.DNSError)(nil); errors.As(err, &dns) { // its own text names the server of /etc/resolv.conf
		err = errors.New(dns.Err)
	}
	return err
}

// dnsPods returns the addresses of the DNS pods that are ready, and how many there are.
func (c *Client) dnsPods(ctx context.Context) (ready []string, all int, err error) {
	list, err := c.core("pods").Namespace(proofNamespace).List(ctx, metav1.ListOptions{LabelSelector: "k8s-app=kube-dns"})
	if err != nil {
		return nil, 0, fmt.Errorf("cannot list the DNS pods: %w", err)
	}
	for i := range list.Items {
		if conditionTrue(&list.Items[i], "Ready") {
			address, _, _ := unstructured.NestedString(list.Items[i].Object, "status", "podIP")
			ready = append(ready, address)
		}
	}
	return ready, len(list.Items), nil
}

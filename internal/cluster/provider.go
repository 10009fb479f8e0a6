package cluster

import (
	"context"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// maxProvider bounds the name of a provider that is not in the table, in bytes.
const maxProvider = 32

// Provider names who runs a cluster, by one of its nodes and the version of its API server: "eks", "gke", "aks", another service or
// cloud, "k3s", "kind"; "" where nothing says so. Each says so in its own way: the scheme of spec.providerID (set by the cloud's
// controller), the version (EKS: v1.30.4-eks-a737599, GKE: v1.30.5-gke.1014001), labels of nodes (AKS).
func Provider(node *unstructured.Unstructured, version string) string {
	id, _, _ := unstructured.NestedString(node.Object, "spec", "providerID")
	labels := node.GetLabels()
	has := func(prefix string) bool {
		for name := range labels {
			if strings.HasPrefix(name, prefix) {
				return true
			}
		}
		return false
	}
	scheme, _, found := strings.Cut(id, "://")
	if !found {
		scheme = ""
	}
	switch {
	case strings.Contains(version, "-eks-"), scheme == "aws" && has("eks.amazonaws.com/"):
		return "eks"
	case strings.Contains(version, "-gke."), scheme == "gce" && has("cloud.google.com/gke-"):
		return "gke"
	case scheme == "azure" && has("kubernetes.azure.com/"):
		return "aks"
	case strings.HasPrefix(id, "ocid1."): // OKE writes it without a scheme
		return "oracle"
	}
	switch scheme {
	case "gce":
		return "gcp" // on machines of that cloud, but not its service
	case "hcloud":
		return "hetzner"
	case "oci":
		return "oracle"
	}
	for _, mark := range []struct{ in, name string }{{"+k3s", "k3s"}, {"+rke2", "rke2"}, {"+k0s", "k0s"}} {
		if strings.Contains(version, mark.in) && (scheme == "" || scheme == "k3s") {
			return mark.name
		}
	}
	if len(scheme) > maxProvider || strings.Trim(scheme, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
		return ""
	}
	return scheme
}

// Provider asks the cluster for what names who runs it.
func (c *Client) Provider(ctx context.Context, version string) (string, error) {
	provider := ""
	err := c.eachNode(ctx, func(node *unstructured.Unstructured) bool {
		provider = Provider(node, version)
		return provider == ""
	})
	return provider, err
}

// Package nodes is about the Nodes of a cluster: it lists them, says how a machine becomes one, drains and removes them. It
// reaches the API server by a dynamic client, on a machine of the cluster as well as through a tunnel.
package nodes

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
)

// Labels and annotations of k3s.
const (
	labelControlPlane = "node-role.kubernetes.io/control-plane"
	labelEtcd         = "node-role.kubernetes.io/etcd"
	annotationArgs    = "k3s.io/node-args" // the arguments of its k3s, those of the configuration file too, without secrets
)

const (
	system = "kube-system"
	// page is how many objects are read at a time: a Node has some 10 to 20 KiB.
	page = 100
	// maxNodes bounds a list: more than Kubernetes itself supports.
	maxNodes = 5000
)

// Node is a Node as far as it matters here.
type Node struct {
	Name      string    `json:"name"`
	Server    bool      `json:"server"` // it runs the control plane
	Etcd      bool      `json:"etcd"`   // it holds a copy of the cluster's state
	Ready     string    `json:"ready"`  // True, False, Unknown
	Reason    string    `json:"reason,omitempty"`
	Message   string    `json:"message,omitempty"`
	Pressures []string  `json:"pressures"` // the conditions that are True and should not be, such as DiskPressure
	Cordoned  bool      `json:"cordoned"`  // it takes no new pods
	Version   string    `json:"version"`   // of its kubelet
	Internal  []string  `json:"internal"`  // addresses
	External  []string  `json:"external"`
	OS        string    `json:"os,omitempty"`
	Arch      string    `json:"arch,omitempty"`
	Created   time.Time `json:"created"`
	BootID    string    `json:"-"`
	uid       string
	args      []string
}

// Role names what a node is, as people call it.
func (n Node) Role() string {
	switch {
	case n.Server && n.Etcd:
		return "server, etcd"
	case n.Server:
		return "server"
	case n.Etcd:
		return "etcd"
	}
	return "worker"
}

func core(client dynamic.Interface, resource string) dynamic.NamespaceableResourceInterface {
	return client.Resource(schema.GroupVersionResource{Version: "v1", Resource: resource})
}

// List returns the nodes of a cluster by name.
func List(ctx context.Context, client dynamic.Interface) ([]Node, error) {
	var list []Node
	err := each(ctx, core(client, "nodes"), metav1.ListOptions{}, func(o *unstructured.Unstructured) error {
		n, err := parseNode(o)
		if err != nil {
			return err
		}
		if list = append(list, n); len(list) > maxNodes {
			return fmt.Errorf("more than %d", maxNodes)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("cannot list the nodes: %w", err)
	}
	slices.SortFunc(list, func(a, b Node) int { return strings.Compare(a.Name, b.Name) })
	return list, nil
}

// each visits the objects of a list page by page.
func each(ctx context.Context, resource dynamic.ResourceInterface, options metav1.ListOptions, visit func(*unstructured.Unstructured) error) error {
	options.Limit = page
	for {
		list, err := resource.List(ctx, options)
		if err != nil {
			return err
		}
		for i := range list.Items {
			if err := visit(&list.Items[i]); err != nil {
				return err
			}
		}
		if options.Continue = list.GetContinue(); options.Continue == "" {
			return nil
		}
	}
}

// parseNode reads a Node. What is missing stays empty, and Ready is Unknown.
func parseNode(o *unstructured.Unstructured) (Node, error) {
	raw, err := o.MarshalJSON()
	if err != nil {
		return Node{}, fmt.Errorf("cannot read a node: %w", err)
	}
	var held struct {
		Metadata struct {
			Name              string            `json:"name"`
			UID               string            `json:"uid"`
			Labels            map[string]string `json:"labels"`
			Annotations       map[string]string `json:"annotations"`
			CreationTimestamp time.Time         `json:"creationTimestamp"`
		} `json:"metadata"`
		Spec struct {
			Unschedulable bool `json:"unschedulable"`
		} `json:"spec"`
		Status struct {
			Conditions []struct{ Type, Status, Reason, Message string } `json:"conditions"`
			Addresses  []struct{ Type, Address string }                 `json:"addresses"`
			NodeInfo   struct {
				KubeletVersion, OSImage, Architecture, BootID string
			} `json:"nodeInfo"`
		} `json:"status"`
	}
	if err := json.Unmarshal(raw, &held); err != nil {
		return Node{}, fmt.Errorf("cannot read a node: %w", err)
	}
	n := Node{
		Name: held.Metadata.Name, Ready: "Unknown", Pressures: []string{}, Cordoned: held.Spec.Unschedulable, Version: held.Status.NodeInfo.KubeletVersion,
		Internal: []string{}, External: []string{}, OS: held.Status.NodeInfo.OSImage, Arch: held.Status.NodeInfo.Architecture,
		Created: held.Metadata.CreationTimestamp, BootID: held.Status.NodeInfo.BootID, uid: held.Metadata.UID,
	}
	_, n.Server = held.Metadata.Labels[labelControlPlane]
	_, n.Etcd = held.Metadata.Labels[labelEtcd]
	for _, c := range held.Status.Conditions {
		switch {
		case c.Type == "Ready":
			n.Ready, n.Reason, n.Message = c.Status, c.Reason, c.Message
		case c.Status == "True" && (strings.HasSuffix(c.Type, "Pressure") || c.Type == "NetworkUnavailable"):
			n.Pressures = append(n.Pressures, c.Type)
		}
	}
	for _, a := range held.Status.Addresses {
		switch {
		case net.ParseIP(a.Address) == nil: // names are nothing to dial
		case a.Type == "InternalIP":
			n.Internal = append(n.Internal, a.Address)
		case a.Type == "ExternalIP":
			n.External = append(n.External, a.Address)
		}
	}
	_ = json.Unmarshal([]byte(held.Metadata.Annotations[annotationArgs]), &n.args) // a node of another distribution has none
	return n, nil
}

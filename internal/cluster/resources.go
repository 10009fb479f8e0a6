package cluster

import (
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
)

// core returns the client of a resource of the core group, such as "pods".
func (c *Client) core(resource string) dynamic.NamespaceableResourceInterface {
	return c.Dynamic.Resource(schema.GroupVersionResource{Version: "v1", Resource: resource})
}

// rbac returns the client of a resource of the RBAC group.
func (c *Client) rbac(resource string) dynamic.NamespaceableResourceInterface {
	return c.Dynamic.Resource(schema.GroupVersionResource{Group: "rbac.authorization.k8s.io", Version: "v1", Resource: resource})
}

// resource returns the client of a resource of another group.
func (c *Client) resource(group, version, name string) dynamic.NamespaceableResourceInterface {
	return c.Dynamic.Resource(schema.GroupVersionResource{Group: group, Version: version, Resource: name})
}

// Package clustertest is a stand-in for an API server in the process of a test: client-go's own object tracker, which
// keeps objects and runs no controllers.
package clustertest

import (
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/pipeopshq/pipeops-agent/internal/cluster"
)

// New returns a client of an empty API server that holds the given objects. Only its Dynamic part is there.
func New(objects ...*unstructured.Unstructured) *cluster.Client {
	lists := map[schema.GroupVersionResource]string{
		{Version: "v1", Resource: "pods"}:                                      "PodList",
		{Version: "v1", Resource: "nodes"}:                                     "NodeList",
		{Version: "v1", Resource: "services"}:                                  "ServiceList",
		{Group: "discovery.k8s.io", Version: "v1", Resource: "endpointslices"}: "EndpointSliceList",
		{Group: "storage.k8s.io", Version: "v1", Resource: "storageclasses"}:   "StorageClassList",
	}
	held := make([]runtime.Object, len(objects))
	for i, o := range objects {
		held[i] = o
	}
	server := fake.NewSimpleDynamicClientWithCustomListKinds(runtime.NewScheme(), lists, held...)
	// the tracker applies to objects that are there already; a real server makes them too
	server.PrependReactor("patch", "*", func(action clienttesting.Action) (bool, runtime.Object, error) {
		patch := action.(clienttesting.PatchAction)
		applied := &unstructured.Unstructured{}
		if err := applied.UnmarshalJSON(patch.GetPatch()); err != nil {
			return true, nil, err
		}
		held, err := server.Tracker().Get(patch.GetResource(), patch.GetNamespace(), patch.GetName())
		if err != nil {
			return true, applied, server.Tracker().Create(patch.GetResource(), applied, patch.GetNamespace())
		}
		applied.Object["status"] = held.(*unstructured.Unstructured).Object["status"]
		return true, applied, server.Tracker().Update(patch.GetResource(), applied, patch.GetNamespace())
	})
	return &cluster.Client{Dynamic: server}
}

package cluster_test

import (
	"errors"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/pipeopshq/pipeops-agent/internal/cluster"
	"github.com/pipeopshq/pipeops-agent/internal/cluster/clustertest"
)

func nodeObject(name string, labels map[string]any, conditions ...string) *unstructured.Unstructured {
	var list []any
	for _, c := range conditions {
		kind, status, _ := strings.Cut(c, "=")
		list = append(list, map[string]any{"type": kind, "status": status, "reason": "Because", "message": "of this"})
	}
	return &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "Node",
		"metadata": map[string]any{"name": name, "labels": labels}, "status": map[string]any{"conditions": list}}}
}

func TestOwnNode(t *testing.T) {
	etcd := map[string]any{"node-role.kubernetes.io/etcd": "true"}
	c := clustertest.New(nodeObject("ready", nil, "Ready=True"), nodeObject("late", nil, "Ready=False"),
		nodeObject("voter", etcd, "Ready=True", "EtcdIsVoter=True"), nodeObject("learner", etcd, "Ready=True", "EtcdIsVoter=False"))
	for _, tt := range []struct {
		name string
		etcd bool
		want string // of the error; "" is none
	}{
		{"ready", false, ""},
		{"voter", true, ""},
		{"late", false, "is not ready: Because: of this"},
		{"learner", true, "does not count yet: Because: of this"},
		{"ready", true, "does not count yet"},
		{"gone", false, "cannot see the node gone"},
	} {
		_, err := c.OwnNode(t.Context(), tt.name, tt.etcd)
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s, etcd %v: %v", tt.name, tt.etcd, err)
		}
	}
	for range 2 { // the second time it is gone already
		if err := c.DeleteNode(t.Context(), "voter"); err != nil {
			t.Error(err)
		}
	}
	if _, err := c.OwnNode(t.Context(), "voter", true); err == nil || !strings.Contains(err.Error(), "cannot see the node voter") {
		t.Errorf("it is still there: %v", err)
	}
}

// TestAcross: only pods on other nodes say something of the network between nodes.
func TestAcross(t *testing.T) {
	slice := func(endpoints ...any) *unstructured.Unstructured {
		return &unstructured.Unstructured{Object: map[string]any{"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
			"metadata":  map[string]any{"name": "kube-dns-1", "namespace": "kube-system", "labels": map[string]any{"kubernetes.io/service-name": "kube-dns"}},
			"endpoints": endpoints}}
	}
	at := func(node, address string, ready bool) any {
		return map[string]any{"nodeName": node, "addresses": []any{address}, "conditions": map[string]any{"ready": ready}}
	}
	var cannot *cluster.UnprovableError
	for name, c := range map[string]*cluster.Client{
		"none":      clustertest.New(),
		"own":       clustertest.New(slice(at("me", "127.0.0.2", true))),
		"not ready": clustertest.New(slice(at("other", "127.0.0.2", false))),
	} {
		if _, err := c.Across(t.Context(), "me"); !errors.As(err, &cannot) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := clustertest.New(slice(at("other", "127.0.0.2", true))).Across(t.Context(), "me"); err == nil || !strings.Contains(err.Error(), "at 127.0.0.2 on node other") {
		t.Errorf("nobody answers there: %v", err)
	}
	if _, err := clustertest.New(slice(at("other", "x;y", true))).Across(t.Context(), "me"); err == nil || errors.As(err, &cannot) {
		t.Errorf("no address: %v", err)
	}
}

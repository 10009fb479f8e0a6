package cluster_test

import (
	"net/netip"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/pipeopshq/pipeops-agent/internal/cluster"
	"github.com/pipeopshq/pipeops-agent/internal/cluster/clustertest"
)

func thing(kind, apiVersion, namespace, name string, more map[string]any) *unstructured.Unstructured {
	o := map[string]any{"apiVersion": apiVersion, "kind": kind, "metadata": map[string]any{"name": name, "namespace": namespace}}
	for k, v := range more {
		if k == "labels" {
			o["metadata"].(map[string]any)[k] = v
			continue
		}
		o[k] = v
	}
	return &unstructured.Unstructured{Object: o}
}

// TestTarget finds the pod for an address. That a connection comes of it is tested with a real cluster, end to end.
func TestTarget(t *testing.T) {
	pod := func(name, ip, phase string, onHost bool) *unstructured.Unstructured {
		return thing("Pod", "v1", "web", name, map[string]any{"spec": map[string]any{"hostNetwork": onHost}, "status": map[string]any{"podIP": ip, "phase": phase}})
	}
	endpoint := func(name string, ready bool) any {
		return map[string]any{"addresses": []any{"10.42.0.9"}, "conditions": map[string]any{"ready": ready}, "targetRef": map[string]any{"kind": "Pod", "name": name}}
	}
	service := func(name, ip string) *unstructured.Unstructured {
		return thing("Service", "v1", "web", name, map[string]any{"spec": map[string]any{"clusterIP": ip,
			"ports": []any{map[string]any{"name": "admin", "port": int64(81)}, map[string]any{"name": "http", "port": int64(80)}}}})
	}
	slice := func(service string, endpoints ...any) *unstructured.Unstructured {
		return thing("EndpointSlice", "discovery.k8s.io/v1", "web", service+"-x", map[string]any{
			"labels": map[string]any{"kubernetes.io/service-name": service}, "endpoints": endpoints,
			"ports": []any{map[string]any{"name": "admin", "port": int64(8081)}, map[string]any{"name": "http", "port": int64(8080)}}})
	}
	client := clustertest.New(
		pod("one", "10.42.0.5", "Running", false), pod("old", "10.42.0.6", "Succeeded", false), pod("host", "172.20.0.3", "Running", true),
		service("page", "10.43.0.9"), slice("page", endpoint("late", false), endpoint("one", true)),
		service("empty", "10.43.0.10"), slice("empty", endpoint("late", false)),
	)
	for _, tt := range []struct {
		ip    string
		port  int
		want  string
		fails string
	}{
		{"10.42.0.5", 8080, "web/one 8080", ""},
		{"10.43.0.9", 80, "web/one 8080", ""},
		{"10.43.0.9", 81, "web/one 8081", ""},
		{"10.43.0.9", 82, "", "has no port 82"},
		{"10.43.0.10", 80, "", "no pod behind the service empty is ready"},
		{"10.42.0.6", 80, "", "no pod that runs"},
		{"172.20.0.3", 22, "", "no pod that runs"}, // the node itself
		{"127.0.0.1", 22, "", "no pod that runs"},
	} {
		got, err := cluster.TargetOf(t.Context(), client, netip.MustParseAddr(tt.ip), tt.port)
		if got != tt.want && tt.fails == "" || (err == nil) != (tt.fails == "") || err != nil && !strings.Contains(err.Error(), tt.fails) {
			t.Errorf("%s:%d: %q, %v", tt.ip, tt.port, got, err)
		}
	}
	far := cluster.Far{Source: &cluster.Source{Fixed: client}}
	for address, network := range map[string]string{"10.42.0.5:8080": "udp", "name:80": "tcp", "10.42.0.5": "tcp", "10.43.0.9:80": "tcp"} {
		if _, err := far.DialContext(t.Context(), network, address); err == nil {
			t.Errorf("%s %s is reached", network, address)
		}
	}
}

package cluster_test

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/pipeopshq/pipeops-agent/internal/cluster/clustertest"
)

func TestNetworkUp(t *testing.T) {
	const young, old = 10 * time.Second, 2 * time.Minute
	made := func(kind, name string, age time.Duration, edit func(*unstructured.Unstructured)) *unstructured.Unstructured {
		o := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": kind}}
		o.SetName(name)
		o.SetCreationTimestamp(metav1.NewTime(time.Now().Add(-age)))
		edit(o)
		return o
	}
	plain := func(*unstructured.Unstructured) {}
	flannel := func(o *unstructured.Unstructured) {
		o.SetAnnotations(map[string]string{"flannel.alpha.coreos.com/backend-type": "vxlan"})
	}
	dns := func(ip string) func(*unstructured.Unstructured) {
		return func(o *unstructured.Unstructured) {
			o.SetNamespace("kube-system")
			o.SetLabels(map[string]string{"k8s-app": "kube-dns"})
			o.Object["status"] = map[string]any{"podIP": ip}
		}
	}
	for _, tt := range []struct {
		name    string
		objects []*unstructured.Unstructured
		want    bool
	}{
		{"nothing yet", nil, false},
		{"no node, a young cluster", []*unstructured.Unstructured{made("Namespace", "kube-system", young, plain)}, false},
		{"no node, a cluster that waits for one", []*unstructured.Unstructured{made("Namespace", "kube-system", old, plain)}, true},
		{"a young node", []*unstructured.Unstructured{made("Node", "one", young, plain)}, false},
		{"an old node", []*unstructured.Unstructured{made("Node", "one", old, plain)}, true},
		{"a node from when the clock was ahead", []*unstructured.Unstructured{made("Node", "one", -time.Hour, plain)}, true},
		{"a young node beside an old one", []*unstructured.Unstructured{made("Node", "one", young, plain), made("Node", "two", old, plain)}, true},
		{"flannel has its subnet", []*unstructured.Unstructured{made("Node", "one", young, flannel)}, true},
		{"DNS waits", []*unstructured.Unstructured{made("Node", "one", young, plain), made("Pod", "coredns", young, dns(""))}, false},
		{"DNS has an address", []*unstructured.Unstructured{made("Node", "one", young, plain), made("Pod", "coredns", young, dns("10.42.0.2"))}, true},
	} {
		got, err := clustertest.New(tt.objects...).NetworkUp(t.Context())
		if err != nil || got != tt.want {
			t.Errorf("%s: %v %v, want %v", tt.name, got, err, tt.want)
		}
	}
}

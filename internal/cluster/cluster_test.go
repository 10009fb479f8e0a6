package cluster_test

import (
	"context"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/pipeopshq/pipeops-agent/internal/cluster"
	"github.com/pipeopshq/pipeops-agent/internal/cluster/clustertest"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

// kubeconfig names a server, and the CA of one that there is.
func kubeconfig(server, user string, ca ...*x509.Certificate) string {
	authority := ""
	for _, c := range ca {
		block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})
		authority = `,"certificate-authority-data":"` + base64.StdEncoding.EncodeToString(block) + `"`
	}
	return `{"apiVersion":"v1","kind":"Config","current-context":"c","contexts":[{"name":"c","context":{"cluster":"c","user":"u"}}],` +
		`"clusters":[{"name":"c","cluster":{"server":"` + server + `"` + authority + `}}],"users":[{"name":"u","user":` + user + `}]}`
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestSourceFollowsItsFile(t *testing.T) {
	answer := http.StatusOK
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer secret" {
			t.Error("a request without the token")
		}
		w.WriteHeader(answer)
		_, _ = w.Write([]byte(`{"gitVersion":"v1.33.2"}`))
	}))
	defer server.Close()
	source := &cluster.Source{Path: filepath.Join(t.TempDir(), "kubeconfig")}
	if _, err := source.Client(); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("without a file: %v", err)
	}
	write(t, source.Path, kubeconfig(server.URL, `{"token":"secret"}`, server.Certificate()))
	first, err := source.Client()
	if err != nil {
		t.Fatal(err)
	}
	if version, err := first.Version(t.Context()); err != nil || version != "v1.33.2" {
		t.Errorf("version %q, %v", version, err)
	}
	if again, err := source.Client(); err != nil || again != first {
		t.Errorf("the same file gives another client: %v", err)
	}
	write(t, source.Path, kubeconfig("http://127.0.0.1:1", `{"token":"secret"}`))
	other, err := source.Client()
	if err != nil || other == first || other.Base.Port() != "1" {
		t.Errorf("another file gives the same client: %v", err)
	}
	answer = http.StatusInternalServerError
	if err := first.Ready(t.Context()); err == nil || !strings.Contains(err.Error(), "500") {
		t.Errorf("a server that is not ready: %v", err)
	}
}

func TestConnectRefuses(t *testing.T) {
	path := filepath.Join(t.TempDir(), "kubeconfig")
	for name, content := range map[string]string{
		"no yaml":         "{",
		"no context":      `{"apiVersion":"v1","kind":"Config"}`,
		"a program":       kubeconfig("https://x", `{"exec":{"apiVersion":"client.authentication.k8s.io/v1","command":"/bin/true","interactiveMode":"Never"}}`),
		"a provider":      kubeconfig("https://x", `{"auth-provider":{"name":"gcp"}}`),
		"a missing token": kubeconfig("https://x", `{"tokenFile":"/none/such","client-certificate":"/none/such"}`),
	} {
		write(t, path, content)
		if _, err := cluster.Connect(path); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func node(ready string, images ...any) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "Node", "metadata": map[string]any{"name": "n"},
		"status": map[string]any{
			"conditions": []any{map[string]any{"type": "Ready", "status": ready}},
			"images":     []any{map[string]any{"names": images}},
		},
	}}
}

// layer returns a layer by its id.
func layer(t *testing.T, id string) cluster.Layer {
	t.Helper()
	for _, l := range cluster.Layers(false) {
		if l.ID == id {
			return l
		}
	}
	t.Fatalf("there is no layer %s", id)
	return cluster.Layer{}
}

func TestNodeLayer(t *testing.T) {
	check := layer(t, "node").Check
	if err := check(t.Context(), clustertest.New()); err == nil {
		t.Error("a cluster without nodes passes")
	}
	if err := check(t.Context(), clustertest.New(node("False"))); err == nil {
		t.Error("a node that is not ready passes")
	}
	if err := check(t.Context(), clustertest.New(node("True"))); err != nil {
		t.Error(err)
	}
}

// TestPodLayer plays the kubelet: the layer makes a pod from an image of the node, wants it to run, and takes it away.
func TestPodLayer(t *testing.T) {
	ctx := t.Context()
	client := clustertest.New(node("True", "docker.io/other:1", "docker.io/rancher/mirrored-pause@sha256:12", "docker.io/rancher/mirrored-pause:3.6"))
	check := layer(t, cluster.PodLayer).Check
	pods := client.Dynamic.Resource(schema.GroupVersionResource{Version: "v1", Resource: "pods"}).Namespace("kube-system")

	if err := check(ctx, client); err == nil {
		t.Fatal("a pod that was only created passes")
	}
	pod, err := pods.Get(ctx, "pipeops-proof", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	containers, _, _ := unstructured.NestedSlice(pod.Object, "spec", "containers")
	if image := containers[0].(map[string]any)["image"]; image != "docker.io/rancher/mirrored-pause:3.6" {
		t.Errorf("the pod runs %v", image)
	}
	pod.Object["status"] = map[string]any{"phase": "Pending", "containerStatuses": []any{
		map[string]any{"state": map[string]any{"waiting": map[string]any{"reason": "CreateContainerError", "message": "can't get final child's PID"}}}}}
	if _, err := pods.Update(ctx, pod, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := check(ctx, client); err == nil || !strings.Contains(err.Error(), "CreateContainerError: can't get final child's PID") {
		t.Errorf("a pod that waits: %v", err)
	}
	pod.Object["status"] = map[string]any{"phase": "Running"}
	if _, err := pods.Update(ctx, pod, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := check(ctx, client); err != nil {
		t.Error(err)
	}
	if _, err := pods.Get(ctx, "pipeops-proof", metav1.GetOptions{}); err == nil {
		t.Error("the pod is still there")
	}
	if err := check(ctx, clustertest.New(node("True", "docker.io/other:1"))); err == nil {
		t.Error("a node without a pause image passes")
	}
}

func TestAdminsAreGrantedOnce(t *testing.T) {
	client := clustertest.New()
	if granted, err := client.AdminsGranted(t.Context()); err != nil || granted {
		t.Errorf("before: %v, %v", granted, err)
	}
	for range 2 {
		if err := client.GrantAdmins(t.Context()); err != nil {
			t.Fatal(err)
		}
		if granted, err := client.AdminsGranted(t.Context()); err != nil || !granted {
			t.Errorf("after: %v, %v", granted, err)
		}
	}
}

func TestUntilWaitsAndGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := &cluster.Source{Fixed: clustertest.New()}
		asked := 0
		third := cluster.Layer{ID: "third", Check: func(context.Context, *cluster.Client) error {
			if asked++; asked < 3 {
				return errors.New("not yet")
			}
			return nil
		}}
		if err := cluster.Until(t.Context(), source, third); err != nil || asked != 3 {
			t.Errorf("%v after %d questions", err, asked)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		never := cluster.Layer{ID: "never", Check: func(context.Context, *cluster.Client) error { return errors.New("no pod is ready") }}
		err := cluster.Until(ctx, source, never)
		if !reason.Is(err, reason.ClusterUnhealthy) || !strings.Contains(err.Error(), "never: no pod is ready") {
			t.Errorf("got %v", err)
		}
	})
}

package cluster_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/pipeopshq/pipeops-agent/internal/cluster"
	"github.com/pipeopshq/pipeops-agent/internal/cluster/clustertest"
)

type object = unstructured.Unstructured

func node(ready string, images ...any) *object {
	return &object{Object: map[string]any{
		"apiVersion": "v1", "kind": "Node", "metadata": map[string]any{"name": "n"},
		"status": map[string]any{
			"conditions": []any{map[string]any{"type": "Ready", "status": ready}},
			"images":     []any{map[string]any{"names": images}},
		},
	}}
}

const (
	busybox = "docker.io/rancher/mirrored-library-busybox:1.36.1"
	pause   = "docker.io/rancher/mirrored-pause:3.6"
	podIP   = "10.42.0.9"
	apiIP   = "192.0.2.1"
	dnsIP   = "10.42.0.2"
	ownVIP  = "10.43.0.99"
	apiVIP  = "10.43.0.1"
	another = "some/other:1"
)

// stage is a cluster whose kubelet, provisioner and network are played by the test.
type stage struct {
	t      *testing.T
	client *cluster.Client
	probe  cluster.Probe

	cut   map[string]bool // what does not get through: an address from this machine, or "program address" from the pod
	small bool            // only small packets get from the pod to this machine
	wrong bool            // what the pod receives is not what was sent
	away  bool            // the pod sends everybody somewhere else
}

func newStage(t *testing.T, more ...*object) *stage {
	dnsPod := &object{Object: map[string]any{"apiVersion": "v1", "kind": "Pod",
		"metadata": map[string]any{"name": "coredns", "namespace": "kube-system", "labels": map[string]any{"k8s-app": "kube-dns"}},
		"status":   map[string]any{"podIP": dnsIP, "conditions": []any{map[string]any{"type": "Ready", "status": "True"}}}}}
	kubernetes := &object{Object: map[string]any{"apiVersion": "v1", "kind": "Service",
		"metadata": map[string]any{"name": "kubernetes", "namespace": "default"}, "spec": map[string]any{"clusterIP": apiVIP}}}
	endpoints := &object{Object: map[string]any{"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
		"metadata":  map[string]any{"name": "kubernetes", "namespace": "default", "labels": map[string]any{"kubernetes.io/service-name": "kubernetes"}},
		"endpoints": []any{map[string]any{"addresses": []any{apiIP}}}, "ports": []any{map[string]any{"port": int64(6443)}}}}
	s := &stage{t: t, client: clustertest.New(append(more, node("True", another, busybox, pause), dnsPod, kubernetes, endpoints)...), cut: map[string]bool{}}
	s.probe = cluster.Probe{Name: "proof", Dial: s.dial}
	return s
}

func (s *stage) check(id string) (string, error) {
	s.t.Helper()
	for _, l := range cluster.Layers(s.probe) {
		if l.ID == id {
			return l.Check(s.t.Context(), s.client)
		}
	}
	s.t.Fatalf("there is no layer %s", id)
	return "", nil
}

func (s *stage) objects(resource string) interface {
	Get(context.Context, string, metav1.GetOptions, ...string) (*object, error)
	Update(context.Context, *object, metav1.UpdateOptions, ...string) (*object, error)
} {
	return s.client.Dynamic.Resource(schema.GroupVersionResource{Version: "v1", Resource: resource}).Namespace("kube-system")
}

// change changes an object as the cluster's own controllers would.
func (s *stage) change(resource, name string, change func(o map[string]any)) {
	s.t.Helper()
	o, err := s.objects(resource).Get(s.t.Context(), name, metav1.GetOptions{})
	if err != nil {
		s.t.Fatal(err)
	}
	change(o.Object)
	if _, err := s.objects(resource).Update(s.t.Context(), o, metav1.UpdateOptions{}); err != nil {
		s.t.Fatal(err)
	}
}

// runs lets the pod of the probe run.
func (s *stage) runs() {
	s.t.Helper()
	if _, err := s.check(cluster.LayerPod); err == nil {
		s.t.Fatal("a pod that was only created passes")
	}
	s.change("pods", "proof", func(o map[string]any) { o["status"] = map[string]any{"phase": "Running", "podIP": podIP} })
	s.change("services", "proof", func(o map[string]any) { o["spec"].(map[string]any)["clusterIP"] = ownVIP })
}

// dial leads to the pod, which lives on the other end of a pipe.
func (s *stage) dial(ctx context.Context, _, address string) (net.Conn, error) {
	if s.cut[address] {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	here, there := net.Pipe()
	listener := &oneConn{there, make(chan net.Conn, 1)}
	listener.conns <- there
	server := &http.Server{Handler: http.HandlerFunc(s.serve), ReadHeaderTimeout: time.Minute}
	go func() { _ = server.Serve(listener) }()
	return here, nil
}

// oneConn is a listener for one connection.
type oneConn struct {
	net.Conn
	conns chan net.Conn
}

func (l *oneConn) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	default:
		return nil, io.EOF
	}
}
func (l *oneConn) Close() error   { return nil }
func (l *oneConn) Addr() net.Addr { return l.LocalAddr() }

func (s *stage) serve(w http.ResponseWriter, r *http.Request) {
	var size int
	if n, err := fmt.Sscanf(r.URL.Path, "/%d", &size); n == 1 && err == nil {
		content := strings.Repeat("0123456789abcde\n", size/16)
		if s.small && size > 1400 {
			w.Header().Set("Content-Length", fmt.Sprint(size))
			_, _ = io.WriteString(w, content[:1000])
			w.(http.Flusher).Flush()
			<-r.Context().Done()
			return
		}
		_, _ = io.WriteString(w, content)
		return
	}
	program := strings.TrimPrefix(r.URL.Path, "/cgi-bin/")
	switch {
	case s.away && r.Host != "elsewhere":
		http.Redirect(w, r, "http://elsewhere/ok", http.StatusFound)
	case r.URL.Path == "/ok":
		_, _ = io.WriteString(w, "ok\n")
	case program == "sum":
		body, _ := io.ReadAll(r.Body)
		if s.wrong && len(body) > 1400 {
			body[1000] ^= 1
		}
		_, _ = fmt.Fprintf(w, "%x  -\n", sha256.Sum256(body))
	case s.cut[program+" "+r.URL.RawQuery]:
		_, _ = io.WriteString(w, "no connection within 2 s\n")
	default:
		_, _ = io.WriteString(w, "ok\n")
	}
}

func TestNodeLayer(t *testing.T) {
	for _, l := range cluster.Layers(cluster.Probe{}) {
		if l.ID != cluster.LayerNode {
			continue
		}
		for _, nodes := range [][]*object{{}, {node("False")}} {
			if _, err := l.Check(t.Context(), clustertest.New(nodes...)); err == nil {
				t.Errorf("%d nodes that are not ready pass", len(nodes))
			}
		}
		if seen, err := l.Check(t.Context(), clustertest.New(node("True"))); err != nil || seen != "1 of 1 nodes are ready" {
			t.Error(seen, err)
		}
	}
}

// TestPodLayer plays the kubelet: the layer makes a pod from an image of the node, wants it to run, and it can be removed.
func TestPodLayer(t *testing.T) {
	s := newStage(t)
	s.runs()
	pod, err := s.objects("pods").Get(t.Context(), "proof", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	containers, _, _ := unstructured.NestedSlice(pod.Object, "spec", "containers")
	container := containers[0].(map[string]any)
	if container["image"] != busybox || container["imagePullPolicy"] != "Never" {
		t.Errorf("the pod runs %v, pull policy %v", container["image"], container["imagePullPolicy"])
	}
	if seen, err := s.check(cluster.LayerPod); err != nil || !strings.Contains(seen, busybox) {
		t.Error(seen, err)
	}
	for status, want := range map[*map[string]any]string{
		{"phase": "Pending", "containerStatuses": []any{map[string]any{"state": map[string]any{"waiting": map[string]any{
			"reason": "CreateContainerError", "message": "can't get final child's PID"}}}}}: "CreateContainerError: can't get final child's PID",
		{"phase": "Pending", "conditions": []any{map[string]any{"type": "PodScheduled", "status": "False",
			"reason": "Unschedulable", "message": "Too many pods"}}}: "Unschedulable: Too many pods",
	} {
		s.change("pods", "proof", func(o map[string]any) { o["status"] = *status })
		if _, err := s.check(cluster.LayerPod); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("a pod that waits: %v, want %s", err, want)
		}
	}
	s.change("pods", "proof", func(o map[string]any) { o["status"] = map[string]any{"phase": "Running"} })
	if err := s.probe.Remove(t.Context(), s.client); err != nil {
		t.Fatal(err)
	}
	for _, resource := range []string{"pods", "services"} {
		if _, err := s.objects(resource).Get(t.Context(), "proof", metav1.GetOptions{}); err == nil {
			t.Errorf("of the %s, one is still there", resource)
		}
	}
	if err := s.probe.Remove(t.Context(), s.client); err != nil {
		t.Errorf("again: %v", err)
	}
}

// TestPodWaitsForTheNetwork: on a node that has just come, a pod comes after the first address.
func TestPodWaitsForTheNetwork(t *testing.T) {
	for _, tt := range []struct {
		age  time.Duration
		ip   string
		made bool
	}{{10 * time.Second, "", false}, {10 * time.Second, dnsIP, true}, {2 * time.Minute, "", true}} {
		s := newStage(t)
		n := node("True", busybox)
		n.SetCreationTimestamp(metav1.NewTime(time.Now().Add(-tt.age)))
		if _, err := s.client.Dynamic.Resource(schema.GroupVersionResource{Version: "v1", Resource: "nodes"}).Update(t.Context(), n, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
		s.change("pods", "coredns", func(o map[string]any) { o["status"].(map[string]any)["podIP"] = tt.ip })
		_, err := s.check(cluster.LayerPod)
		if _, missing := s.objects("pods").Get(t.Context(), "proof", metav1.GetOptions{}); (missing == nil) != tt.made {
			t.Errorf("a node of %v with address %q: %v", tt.age, tt.ip, err)
		}
		if _, missing := s.objects("services").Get(t.Context(), "proof", metav1.GetOptions{}); (missing == nil) != tt.made {
			t.Errorf("a node of %v with address %q: the service", tt.age, tt.ip)
		}
	}
}

// TestPodOfAnotherProof: what a killed proof left is used, unless another version made it or it has ended.
func TestPodOfAnotherProof(t *testing.T) {
	s := newStage(t)
	s.runs()
	again := *s
	if _, err := again.check(cluster.LayerPod); err != nil {
		t.Errorf("ours: %v", err)
	}
	for what, change := range map[string]func(o map[string]any){
		"of another version": func(o map[string]any) {
			o["metadata"].(map[string]any)["labels"].(map[string]any)["pipeops.io/proof"] = "old"
		},
		"one that ended": func(o map[string]any) { o["status"] = map[string]any{"phase": "Failed"} },
	} {
		s.change("pods", "proof", change)
		if _, err := s.check(cluster.LayerPod); err == nil || !strings.Contains(err.Error(), "made anew") {
			t.Errorf("%s: %v", what, err)
		}
		if _, err := s.objects("pods").Get(t.Context(), "proof", metav1.GetOptions{}); err == nil {
			t.Errorf("%s is still there", what)
		}
		s.runs()
	}
}

func TestOrphansAreRemovedWhenOld(t *testing.T) {
	s := newStage(t)
	s.runs()
	made := time.Now()
	s.change("pods", "proof", func(o map[string]any) {
		o["metadata"].(map[string]any)["creationTimestamp"] = made.UTC().Format(time.RFC3339)
	})
	for _, tt := range []struct {
		age  time.Duration
		left bool
	}{{29 * time.Minute, true}, {31 * time.Minute, false}} {
		if err := s.probe.RemoveOrphans(t.Context(), s.client, made.Add(tt.age)); err != nil {
			t.Fatal(err)
		}
		if _, err := s.objects("pods").Get(t.Context(), "proof", metav1.GetOptions{}); (err == nil) != tt.left {
			t.Errorf("after %v: %v", tt.age, err)
		}
	}
}

// TestWithoutBusybox: a pod still runs, and the layers above say why they cannot be proved.
func TestWithoutBusybox(t *testing.T) {
	s := newStage(t)
	s.client = clustertest.New(node("True", another, "rancher/mirrored-pause@sha256:12", pause), &object{Object: map[string]any{
		"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "provisioner": "p", "metadata": map[string]any{
			"name": "c", "annotations": map[string]any{"storageclass.kubernetes.io/is-default-class": "true"}}}})
	if _, err := s.check(cluster.LayerPod); err == nil {
		t.Fatal("a pod that was only created passes")
	}
	s.change("pods", "proof", func(o map[string]any) { o["status"] = map[string]any{"phase": "Running", "podIP": podIP} })
	if seen, err := s.check(cluster.LayerPod); err != nil || !strings.Contains(seen, pause) {
		t.Error(seen, err)
	}
	for _, id := range []string{cluster.LayerNetwork, cluster.LayerService, cluster.LayerPacket, cluster.LayerStorage} {
		var u *cluster.UnprovableError
		if _, err := s.check(id); !errors.As(err, &u) || u.Reason != "NoImage" {
			t.Errorf("%s: %v", id, err)
		}
	}
	s.client = clustertest.New(node("True", another))
	var u *cluster.UnprovableError
	if _, err := s.check(cluster.LayerPod); err == nil || errors.As(err, &u) {
		t.Errorf("a node without any image: %v", err)
	}
	cordoned := node("True", busybox)
	cordoned.Object["spec"] = map[string]any{"unschedulable": true}
	s.client = clustertest.New(cordoned)
	if _, err := s.check(cluster.LayerPod); !errors.As(err, &u) || u.Reason != "Cordoned" {
		t.Errorf("a node that takes no pods: %v", err)
	}
}

// TestDataPath cuts each way that packets take, and wants the layer of that way, and none below it, to say which it is.
func TestDataPath(t *testing.T) {
	tests := []struct {
		name string
		cut  string
		bad  func(s *stage)
		fail string // layer
		want string
	}{
		{name: "all is well"},
		{name: "host to pod", cut: podIP + ":8080", fail: cluster.LayerNetwork, want: "this machine does not reach the pod at " + podIP},
		{name: "pod to API", cut: "tcp " + apiIP + ",6443", fail: cluster.LayerNetwork, want: "does not reach the API server at " + apiIP + ":6443: no connection"},
		{name: "pod to DNS pod", cut: "dns " + dnsIP + ",53", fail: cluster.LayerNetwork, want: "no answer of the DNS pod at " + dnsIP},
		{name: "host to service", cut: ownVIP + ":80", fail: cluster.LayerService, want: "this machine does not reach the service address " + ownVIP},
		{name: "hairpin", cut: "page " + ownVIP + ",80", fail: cluster.LayerService, want: "(hairpin)"},
		{name: "pod to API service", cut: "tcp " + apiVIP + ",443", fail: cluster.LayerService, want: "API server by its service address " + apiVIP},
		{name: "large from pod", bad: func(s *stage) { s.small = true }, fail: cluster.LayerPacket,
			want: "1024 bytes each way passed; 65536 bytes from the pod " + podIP + " to this machine did not: no more came within 3.0 s, after 1000 bytes"},
		{name: "large to pod, damaged", bad: func(s *stage) { s.wrong = true }, fail: cluster.LayerPacket,
			want: "65536 bytes from this machine to the pod " + podIP + " did not: what came is not what was sent"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStage(t)
				s.runs()
				s.cut[tt.cut] = true
				if tt.bad != nil {
					tt.bad(s)
				}
				for _, id := range []string{cluster.LayerPod, cluster.LayerNetwork, cluster.LayerService, cluster.LayerPacket} {
					seen, err := s.check(id)
					switch {
					case id == tt.fail:
						if err == nil || !strings.Contains(err.Error(), tt.want) {
							t.Errorf("%s: %v, want %s", id, err, tt.want)
						}
						if id == cluster.LayerNetwork {
							return // the others build on it
						}
					case err != nil || seen == "":
						t.Errorf("%s: %q, %v", id, seen, err)
					}
				}
			})
		})
	}
}

// TestAnswersThatLeadElsewhere: whoever answers for the pod does not make root ask others.
func TestAnswersThatLeadElsewhere(t *testing.T) {
	s := newStage(t)
	s.runs()
	s.away = true
	if _, err := s.check(cluster.LayerNetwork); err == nil || !strings.Contains(err.Error(), "302") {
		t.Errorf("got %v", err)
	}
}

// TestNetworkWithoutDNS: a DNS that is down is the DNS layer's to tell.
func TestNetworkWithoutDNS(t *testing.T) {
	s := newStage(t)
	s.runs()
	s.change("pods", "coredns", func(o map[string]any) { delete(o, "status") })
	s.cut["dns "+dnsIP+",53"] = true
	if seen, err := s.check(cluster.LayerNetwork); err != nil || strings.Contains(seen, "DNS") {
		t.Error(seen, err)
	}
}

func TestStorageLayer(t *testing.T) {
	var u *cluster.UnprovableError
	if _, err := newStage(t).check(cluster.LayerStorage); err == nil || errors.As(err, &u) {
		t.Errorf("a cluster that is just coming up: %v", err)
	}
	dns := &object{Object: map[string]any{"apiVersion": "v1", "kind": "Service", "metadata": map[string]any{"name": "kube-dns", "namespace": "kube-system"}}}
	if _, err := newStage(t, dns).check(cluster.LayerStorage); !errors.As(err, &u) || u.Reason != "NoStorageClass" {
		t.Errorf("without a class: %v", err)
	}
	class := &object{Object: map[string]any{"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "provisioner": "rancher.io/local-path",
		"metadata": map[string]any{"name": "local-path", "annotations": map[string]any{"storageclass.kubernetes.io/is-default-class": "true"}}}}
	s := newStage(t, class)
	status := func(phase string, more map[string]any) {
		t.Helper()
		s.change("pods", "proof-storage", func(o map[string]any) {
			o["status"] = map[string]any{"phase": phase}
			if more != nil {
				o["status"].(map[string]any)["containerStatuses"] = []any{map[string]any{"state": map[string]any{"terminated": more}}}
			}
		})
	}
	want := func(what string) {
		t.Helper()
		if _, err := s.check(cluster.LayerStorage); err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("got %v, want %s", err, what)
		}
	}
	want("created just now")
	status("Pending", nil)
	s.change("persistentvolumeclaims", "proof-storage", func(o map[string]any) { o["status"] = map[string]any{"phase": "Pending"} })
	want("the provisioner rancher.io/local-path of local-path has made no volume: the claim is Pending, the pod Pending")
	s.change("persistentvolumeclaims", "proof-storage", func(o map[string]any) { o["status"] = map[string]any{"phase": "Bound"} })
	want("the pod with a volume of local-path is Pending")
	status("Failed", map[string]any{"exitCode": int64(1), "message": "dd: can't open '/data/proof':\n Read-only file system\n"})
	want("a volume of local-path cannot be written: dd: can't open '/data/proof': Read-only file system")
	want("created just now") // tried again
	status("Failed", map[string]any{"exitCode": int64(137)})
	want("exit code 137")
	want("created just now")
	status("Succeeded", nil)
	if seen, err := s.check(cluster.LayerStorage); err != nil || !strings.Contains(seen, "1 MiB") {
		t.Error(seen, err)
	}
	if err := s.probe.Remove(t.Context(), s.client); err != nil {
		t.Fatal(err)
	}
	if _, err := s.objects("persistentvolumeclaims").Get(t.Context(), "proof-storage", metav1.GetOptions{}); err == nil {
		t.Error("the claim is still there")
	}
}

package nodes

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/crypto/nacl/box"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/pipeopshq/pipeops-agent/internal/reason"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

// api is a stand-in for an API server: client-go's tracker of objects.
func api(objects ...*unstructured.Unstructured) *fake.FakeDynamicClient {
	held := make([]runtime.Object, len(objects))
	for i, o := range objects {
		held[i] = o
	}
	client := fake.NewSimpleDynamicClientWithCustomListKinds(runtime.NewScheme(), map[schema.GroupVersionResource]string{
		{Version: "v1", Resource: "nodes"}:                                     "NodeList",
		{Version: "v1", Resource: "pods"}:                                      "PodList",
		{Version: "v1", Resource: "secrets"}:                                   "SecretList",
		{Group: "discovery.k8s.io", Version: "v1", Resource: "endpointslices"}: "EndpointSliceList",
	}, held...)
	client.PrependReactor("create", "secrets", func(action clienttesting.Action) (bool, runtime.Object, error) {
		o := action.(clienttesting.CreateAction).GetObject().(*unstructured.Unstructured)
		o.SetCreationTimestamp(metav1.Now()) // as a server does
		return false, nil, nil
	})
	return client
}

// node makes a Node. roles are "server" and "etcd".
func node(name, address, ready string, roles ...string) *unstructured.Unstructured {
	labels := map[string]any{}
	if slices.Contains(roles, "server") {
		labels[labelControlPlane] = "true"
	}
	if slices.Contains(roles, "etcd") {
		labels[labelEtcd] = "true"
	}
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "Node",
		"metadata": map[string]any{"name": name, "uid": "uid of " + name, "labels": labels, "annotations": map[string]any{
			annotationArgs: `["server","--cluster-init","true","--disable","traefik","--disable","servicelb","--secrets-encryption","--tls-san","a.example","--token","********","--node-name","` + name + `"]`,
		}},
		"status": map[string]any{
			"nodeInfo":   map[string]any{"kubeletVersion": "v1.33.2+k3s1"},
			"addresses":  []any{map[string]any{"type": "InternalIP", "address": address}, map[string]any{"type": "Hostname", "address": name}},
			"conditions": []any{map[string]any{"type": "Ready", "status": ready}, map[string]any{"type": "DiskPressure", "status": "False"}},
		},
	}}
}

func advertise(port int64, addresses ...any) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
		"metadata":  map[string]any{"name": "kubernetes", "namespace": "default", "labels": map[string]any{"kubernetes.io/service-name": "kubernetes"}},
		"ports":     []any{map[string]any{"name": "https", "port": port}},
		"endpoints": []any{map[string]any{"addresses": addresses}},
	}}
}

// authority makes a CA certificate, self-signed or signed by another one.
func authority(t *testing.T, name string, parent *x509.Certificate, parentKey *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey, []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	if parent == nil {
		parent, parentKey = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), parentKey)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert, key, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// newcomer is a machine that joins.
type newcomer struct {
	public, private *[32]byte
	wire.AgentJoinRequest
}

func arrive(t *testing.T, role wire.Role, name string) newcomer {
	t.Helper()
	public, private, err := box.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return newcomer{public, private, wire.AgentJoinRequest{
		Version: 1, Machine: "0123456789abcdef", Role: role, NodeName: name, SealKey: base64.StdEncoding.EncodeToString(public[:]),
	}}
}

func (n newcomer) open(t *testing.T, answer wire.JoinAnswer) string {
	t.Helper()
	raw, err := base64.StdEncoding.DecodeString(answer.Sealed)
	if err != nil {
		t.Fatal(err)
	}
	plain, ok := box.OpenAnonymous(nil, raw, n.public, n.private)
	if !ok {
		t.Fatal("the seal does not open")
	}
	return string(plain)
}

func TestAWorkerIsToldTheWay(t *testing.T) {
	_, _, ca := authority(t, "k3s-server-ca", nil, nil)
	sum := sha256.Sum256(ca)
	client := api(node("two", "10.0.0.2", "False", "server", "etcd"), node("one", "10.0.0.1", "True", "server", "etcd"),
		advertise(7443, "10.0.0.2", "10.0.0.1", "not an address"))
	c := Cluster{Dynamic: client, CACerts: func(context.Context) ([]byte, error) { return ca, nil }}
	d := Door{Distro: k3s}
	n := arrive(t, wire.RoleWorker, "three")
	for range 2 { // the second time the first token is taken away
		answer, err := d.Answer(t.Context(), c, n.AgentJoinRequest)
		if err != nil {
			t.Fatal(err)
		}
		if want := []string{"https://10.0.0.1:7443", "https://10.0.0.2:7443"}; !slices.Equal(answer.Servers, want) {
			t.Errorf("servers %v, want %v: the one that is ready first", answer.Servers, want)
		}
		if answer.K3sVersion != "v1.33.2+k3s1" || len(answer.Settings) != 0 {
			t.Errorf("%+v", answer)
		}
		token := n.open(t, answer)
		digest, secret, _ := strings.Cut(strings.TrimPrefix(token, "K10"), "::")
		if digest != hex.EncodeToString(sum[:]) {
			t.Errorf("the token does not name the CA: %s", token)
		}
		list, err := core(client, "secrets").Namespace(system).List(t.Context(), metav1.ListOptions{})
		if err != nil || len(list.Items) != 1 {
			t.Fatalf("%d tokens, %v", len(list.Items), err)
		}
		o := list.Items[0]
		data, _, _ := unstructured.NestedStringMap(o.Object, "stringData")
		expires, err := time.Parse(time.RFC3339, data["expiration"])
		if secret != data["token-id"]+"."+data["token-secret"] || o.GetName() != "bootstrap-token-"+data["token-id"] || o.Object["type"] != tokenType ||
			data["auth-extra-groups"] != nodeGroup || data["usage-bootstrap-authentication"] != "true" || err != nil || time.Until(expires) > TokenLife || time.Until(expires) < TokenLife-time.Minute {
			t.Errorf("token %q, secret %+v", secret, o.Object)
		}
		if len(data["token-id"]) != 6 || len(data["token-secret"]) != 16 {
			t.Errorf("%v is no bootstrap token", data)
		}
	}
}

func TestAServerIsToldTheWay(t *testing.T) {
	root, rootKey, rootPEM := authority(t, "root", nil, nil)
	_, _, ca := authority(t, "k3s-server-ca", root, rootKey)
	sum := sha256.Sum256(root.Raw) // of several certificates the root counts
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "server"), 0o700); err != nil {
		t.Fatal(err)
	}
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, "server", "token"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("K10" + strings.Repeat("0", 64) + "::server:secret\n")
	client := api(node("one", "10.0.0.1", "True", "server", "etcd"), node("w", "10.0.0.9", "True"))
	c := Cluster{Dynamic: client, CACerts: func(context.Context) ([]byte, error) { return append(slices.Clone(ca), rootPEM...), nil }}
	d := Door{Distro: k3s, DataDir: dir}
	n := arrive(t, wire.RoleServer, "two")
	if _, err := d.Answer(t.Context(), c, n.AgentJoinRequest); !reason.Is(err, reason.JoinUnavailable) {
		t.Errorf("no address: %v", err)
	}
	if _, err := client.Resource(schema.GroupVersionResource{Group: "discovery.k8s.io", Version: "v1", Resource: "endpointslices"}).Namespace("default").
		Create(t.Context(), advertise(6443, "10.0.0.1"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	answer, err := d.Answer(t.Context(), c, n.AgentJoinRequest)
	if err != nil {
		t.Fatal(err)
	}
	if got := n.open(t, answer); got != "K10"+hex.EncodeToString(sum[:])+"::server:secret" {
		t.Errorf("token %s", got)
	}
	want := map[string][]string{"disable": {"traefik", "servicelb"}, "secrets-encryption": {"true"}, "tls-san": {"a.example"}}
	if len(answer.Settings) != len(want) || !slices.Equal(answer.Settings["disable"], want["disable"]) || !slices.Equal(answer.Settings["secrets-encryption"], want["secrets-encryption"]) {
		t.Errorf("settings %v, want %v", answer.Settings, want)
	}
	if list, err := core(client, "secrets").Namespace(system).List(t.Context(), metav1.ListOptions{}); err != nil || len(list.Items) != 0 {
		t.Errorf("a server needs no bootstrap token: %v, %v", list, err)
	}
	for _, bad := range []string{"", "secret", "K10" + strings.Repeat("0", 64) + "::node:secret", strings.Repeat("x", 5000)} {
		write(bad)
		if _, err := d.Answer(t.Context(), c, n.AgentJoinRequest); !reason.Is(err, reason.JoinUnavailable) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%.20q: %v", bad, err)
		}
	}
}

func TestRefusals(t *testing.T) {
	_, _, ca := authority(t, "k3s-server-ca", nil, nil)
	sqlite := []*unstructured.Unstructured{node("one", "10.0.0.1", "True", "server"), advertise(6443, "10.0.0.1")}
	foreign := node("one", "10.0.0.1", "True", "server", "etcd")
	_ = unstructured.SetNestedField(foreign.Object, "v1.33.2", "status", "nodeInfo", "kubeletVersion")
	broken := api()
	broken.PrependReactor("list", "nodes", func(clienttesting.Action) (bool, runtime.Object, error) { return true, nil, errors.New("refused") })
	with := func(edit func(*wire.AgentJoinRequest)) wire.AgentJoinRequest {
		r := arrive(t, wire.RoleWorker, "two").AgentJoinRequest
		edit(&r)
		return r
	}
	tests := []struct {
		name    string
		door    Door
		client  *fake.FakeDynamicClient
		request wire.AgentJoinRequest
		want    reason.Code
	}{
		{"closed", Door{Distro: k3s, Closed: true}, api(sqlite...), with(func(*wire.AgentJoinRequest) {}), reason.JoinForbidden},
		{"k3d", Door{Distro: "k3d"}, api(sqlite...), with(func(*wire.AgentJoinRequest) {}), reason.JoinNotK3s},
		{"another Kubernetes", Door{Distro: k3s}, api(foreign, advertise(6443, "10.0.0.1")), with(func(*wire.AgentJoinRequest) {}), reason.JoinNotK3s},
		{"no etcd", Door{Distro: k3s}, api(sqlite...), with(func(r *wire.AgentJoinRequest) { r.Role = wire.RoleServer }), reason.JoinNoEtcd},
		{"name taken", Door{Distro: k3s}, api(sqlite...), with(func(r *wire.AgentJoinRequest) { r.NodeName = "one" }), reason.JoinNameTaken},
		{"the only server comes again", Door{Distro: k3s}, api(sqlite...), with(func(r *wire.AgentJoinRequest) { r.NodeName, r.Again = "one", true }), reason.JoinUnavailable},
		{"version", Door{Distro: k3s}, api(sqlite...), with(func(r *wire.AgentJoinRequest) { r.K3sVersions = []string{"v1.34.0+k3s1"} }), reason.JoinVersion},
		{"no name", Door{Distro: k3s}, api(sqlite...), with(func(r *wire.AgentJoinRequest) { r.NodeName = "" }), reason.Usage},
		{"no server", Door{Distro: k3s}, api(), with(func(*wire.AgentJoinRequest) {}), reason.JoinUnavailable},
		{"API server away", Door{Distro: k3s}, broken, with(func(*wire.AgentJoinRequest) {}), reason.JoinUnavailable},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := tt.door.Answer(t.Context(), Cluster{Dynamic: tt.client, CACerts: func(context.Context) ([]byte, error) { return ca, nil }}, tt.request)
			if !reason.Is(err, tt.want) {
				t.Errorf("got %v, want %s", err, tt.want)
			}
			for _, action := range tt.client.Actions() {
				if action.GetVerb() != "list" && action.GetVerb() != "get" {
					t.Errorf("it changed something: %v", action)
				}
			}
		})
	}
}

// TestSweep: a token is taken away when its node has come, or its time is over, and no earlier.
func TestSweep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, _, ca := authority(t, "k3s-server-ca", nil, nil)
		foreign := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "Secret", "metadata": map[string]any{"name": "bootstrap-token-foreig", "namespace": system}}}
		client := api(node("one", "10.0.0.1", "True", "server"), advertise(6443, "10.0.0.1"), foreign)
		c := Cluster{Dynamic: client, CACerts: func(context.Context) ([]byte, error) { return ca, nil }}
		d := Door{Distro: k3s}
		sweep := func(want int) {
			t.Helper()
			if left, err := d.Sweep(t.Context(), client, slog.New(slog.DiscardHandler)); err != nil || left != want {
				t.Errorf("%d left, want %d; %v", left, want, err)
			}
			if list, err := core(client, "secrets").Namespace(system).List(t.Context(), metav1.ListOptions{}); err != nil || len(list.Items) != want+1 {
				t.Errorf("%d secrets, want %d; %v", len(list.Items), want+1, err)
			}
		}
		sweep(0)
		if _, err := d.Answer(t.Context(), c, arrive(t, wire.RoleWorker, "two").AgentJoinRequest); err != nil {
			t.Fatal(err)
		}
		late := arrive(t, wire.RoleWorker, "three").AgentJoinRequest
		late.Machine = "fedcba9876543210"
		if _, err := d.Answer(t.Context(), c, late); err != nil {
			t.Fatal(err)
		}
		sweep(2)
		two := node("two", "10.0.0.2", "False")
		if _, err := core(client, "nodes").Create(t.Context(), two, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		sweep(2) // it is there, and not ready
		if _, err := core(client, "nodes").Update(t.Context(), node("two", "10.0.0.2", "True"), metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
		sweep(1)
		time.Sleep(TokenLife - time.Second)
		sweep(1)
		time.Sleep(2 * time.Second)
		sweep(0)
	})
}

func TestChoose(t *testing.T) {
	tests := []struct {
		cluster string
		offers  []string
		role    wire.Role
		want    string
	}{
		{"v1.33.2+k3s1", nil, wire.RoleServer, "v1.33.2+k3s1"},
		{"v1.33.2+k3s1", []string{"v1.34.0+k3s1", "v1.33.2+k3s1"}, wire.RoleServer, "v1.33.2+k3s1"},
		{"v1.33.2+k3s1", []string{"v1.33.1+k3s1", "v1.33.4+k3s2", "v1.33.4+k3s1", "v1.32.9+k3s1"}, wire.RoleServer, "v1.33.4+k3s2"},
		{"v1.33.2+k3s1", []string{"v1.33.1+k3s1", "v1.33.4+k3s1", "v1.32.9+k3s1"}, wire.RoleWorker, "v1.33.1+k3s1"},
		{"v1.33.2+k3s1", []string{"v1.30.0+k3s1", "v1.29.9+k3s1"}, wire.RoleWorker, "v1.30.0+k3s1"},
		{"v1.33.2+k3s1", []string{"v1.29.9+k3s1"}, wire.RoleWorker, ""},
		{"v1.33.2+k3s1", []string{"v1.32.9+k3s1"}, wire.RoleServer, ""},
		{"v1.33.2+k3s1", []string{"v1.33.2+k3s2"}, wire.RoleWorker, ""},
		{"v1.33.2+k3s1", []string{"v1.33.2-rc1+k3s1"}, wire.RoleWorker, "v1.33.2-rc1+k3s1"},
		{"v1.33.2", nil, wire.RoleWorker, ""},
		{"v1.33.2", []string{"v1.33.2+k3s1"}, wire.RoleWorker, ""},
	}
	for _, tt := range tests {
		if got, ok := choose(tt.cluster, tt.offers, tt.role); ok != (tt.want != "") || ok && got != tt.want {
			t.Errorf("%s of %v as %s: %q", tt.cluster, tt.offers, tt.role, got)
		}
	}
}

// FuzzShared: whatever the arguments of a server are, only settings that servers share come of them.
func FuzzShared(f *testing.F) {
	f.Add("server\x00--disable\x00traefik\x00--cluster-cidr=10.0.0.0/16\x00--secrets-encryption")
	f.Add("--disable")
	f.Add("--disable=\x00--tls-san\x00--token\x00x")
	f.Fuzz(func(t *testing.T, args string) {
		for name, values := range shared(strings.Split(args, "\x00")) {
			if !slices.Contains(wire.SharedSettings(), name) || len(values) == 0 || slices.Contains(values, "") {
				t.Errorf("%q: %s=%q", args, name, values)
			}
		}
	})
}

// FuzzParseRelease: what can be compared is equal to itself and no less than itself.
func FuzzParseRelease(f *testing.F) {
	f.Add("v1.33.2+k3s1")
	f.Add("v1.33.2-rc1+k3s99999999999999999999")
	f.Fuzz(func(t *testing.T, text string) {
		if r, ok := parseRelease(text); ok && (r.compare(r) != 0 || r.text != text) {
			t.Errorf("%q", text)
		}
	})
}

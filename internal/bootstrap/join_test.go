package bootstrap

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io/fs"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/crypto/nacl/box"

	"github.com/pipeopshq/pipeops-agent/internal/distro"
	"github.com/pipeopshq/pipeops-agent/internal/gateway/gatewaytest"
	"github.com/pipeopshq/pipeops-agent/internal/host"
	"github.com/pipeopshq/pipeops-agent/internal/identity"
	"github.com/pipeopshq/pipeops-agent/internal/nodes"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
	"github.com/pipeopshq/pipeops-agent/internal/trial"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

// doorman is a stand-in for a gateway and the agent behind it: it answers joins, and nothing else.
type doorman struct {
	address string
	token   wire.Token
	role    wire.Role
	answer  wire.JoinAnswer
	k3s     string // the token that is sealed
	asked   []wire.JoinRequest
}

func newDoorman(t *testing.T, role wire.Role, servers ...string) *doorman {
	t.Helper()
	d := &doorman{role: role, answer: wire.JoinAnswer{Servers: servers, K3sVersion: distro.K3sVersion}}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	sign := func(template *x509.Certificate, parent *x509.Certificate, public any) []byte {
		template.SerialNumber, template.NotBefore, template.NotAfter = big.NewInt(time.Now().UnixNano()), time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
		if parent == nil {
			parent, template.NotAfter = template, time.Now().Add(24*time.Hour)
		}
		der, err := x509.CreateCertificate(rand.Reader, template, parent, public, key)
		if err != nil {
			t.Fatal(err)
		}
		return der
	}
	caDER := sign(&x509.Certificate{Subject: pkix.Name{CommonName: "ca"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}, nil, &key.PublicKey)
	ca, err := x509.ParseCertificate(caDER)
	if err != nil {
		t.Fatal(err)
	}
	leaf := sign(&x509.Certificate{DNSNames: []string{wire.GatewayName}}, ca, &key.PublicKey)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var request wire.JoinRequest
		if err := json.NewDecoder(r.Body).Decode(&request); err != nil || r.URL.Path != wire.PathJoin || request.Token != d.token.Reveal() {
			t.Errorf("%s: %v, %+v", r.URL.Path, err, request)
		}
		d.asked = append(d.asked, request)
		block, _ := pem.Decode([]byte(request.CSR))
		csr, err := x509.ParseCertificateRequest(block.Bytes)
		if err != nil {
			t.Error(err)
		}
		uri, _ := url.Parse(wire.MachineURI("0123456789abcdef", "fedcba9876543210"))
		client := sign(&x509.Certificate{URIs: []*url.URL{uri}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}, ca, csr.PublicKey)
		public, err := wire.ParseSealKey(request.SealKey)
		if err != nil {
			t.Error(err)
		}
		sealed, err := box.SealAnonymous(nil, []byte(d.k3s), public, rand.Reader)
		if err != nil {
			t.Error(err)
		}
		answer := wire.JoinResponse{Certificate: certificate(client), CA: certificate(caDER), Cluster: "shop", ClusterID: "0123456789abcdef",
			Machine: "fedcba9876543210", Role: d.role, JoinAnswer: d.answer}
		answer.Sealed = base64.StdEncoding.EncodeToString(sealed)
		_ = json.NewEncoder(w).Encode(answer)
	}))
	server.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{leaf, caDER}, PrivateKey: key}}}
	server.StartTLS()
	t.Cleanup(server.Close)
	d.address, d.token = server.Listener.Addr().String(), wire.NewNodeToken(caDER)
	return d
}

func certificate(der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

// k3sServer is a stand-in for a server of k3s: it hands out the CA of its cluster.
func k3sServer(t *testing.T, name string) (address, digest string) {
	t.Helper()
	bundle := ""
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/cacerts" {
			t.Errorf("it is asked for %s", r.URL.Path)
		}
		_, _ = w.Write([]byte(bundle))
	}))
	t.Cleanup(server.Close)
	bundle = certificate(server.Certificate().Raw) + "# " + name + "\n" // all have the same certificate
	sum := sha256.Sum256([]byte(bundle))
	return server.URL, hex.EncodeToString(sum[:])
}

// joinOptions are those of a machine that asks a doorman.
func joinOptions(t *testing.T, d *doorman) (Options, *[]wire.Event) {
	t.Helper()
	o, told := options(t, "debian12-vm"), &[]wire.Event{}
	o.Gateway = d.address
	o.Node = &NodeOptions{}
	o.Events = func(e wire.Event) { *told = append(*told, e) }
	o.Token = func() (wire.Token, error) { return d.token, nil }
	o.become(nil, identity.Joined{})
	return o, told
}

// ask does what a join does up to its first change, but for the list of versions, which needs a mirror.
func ask(t *testing.T, o *Options) (identity.Joined, distro.Decision, error) {
	t.Helper()
	facts := host.Collect(t.Context(), o.Host)
	o.tried = trial.Of(o.Host)
	first := distro.Decide(facts, o.tried, o.Request)
	o.prepareNode(facts, first)
	token, _ := o.Token()
	id, way, err := identity.Join(t.Context(), identity.JoinOptions{
		Options: identity.Options{Dir: o.identityDir(), Gateway: o.Gateway, Token: token}, NodeName: o.Install.NodeName, Role: o.Node.Role,
	})
	if err != nil {
		return way, first, err
	}
	decision, err := o.judgeAs(t.Context(), id, way, facts)
	if err == nil {
		o.prepareNode(facts, decision)
		o.Install.Join.Server, err = o.findServer(t.Context(), way, facts)
	}
	return way, decision, err
}

// TestJoinAsksFirst: the token is exchanged once; what the cluster says is kept for a run that goes on, in files of root's.
func TestJoinAsksFirst(t *testing.T) {
	server, ca := k3sServer(t, "shop")
	d := newDoorman(t, wire.RoleWorker, server)
	d.k3s = "K10" + ca + "::abcdef.0123456789abcdef"
	o, _ := joinOptions(t, d)
	way, decision, err := ask(t, &o)
	if err != nil || way.Token() != d.k3s || o.Install.Join.Server != server || decision.Kubeconfig != "/var/lib/rancher/k3s/agent/kubelet.kubeconfig" {
		t.Fatalf("%v: %+v, %+v, %q", err, way, o.Install.Join, decision.Kubeconfig)
	}
	if len(d.asked) != 1 || d.asked[0].NodeName != "node1" || d.asked[0].Role != "" {
		t.Errorf("asked: %+v", d.asked)
	}
	if st, err := os.Stat(filepath.Join(o.identityDir(), "joined.json")); err != nil || st.Mode() != 0o600 {
		t.Errorf("%v, %v", st, err)
	}

	again := o
	again.Install.Join, again.Request.Node = nil, ""
	id, kept, err := again.member()
	if err != nil || kept.Token() != d.k3s || id.Node() != "node1" || id.Cluster() != "shop" {
		t.Fatalf("later: %v, %+v", err, kept)
	}
	again.become(id, kept)
	if diff := cmp.Diff(o.Install.Join, again.Install.Join); diff != "" || again.Request.Node != wire.RoleWorker {
		t.Errorf("later:\n%s", diff)
	}
	for name, change := range map[string]func(*Options){
		"another gateway": func(o *Options) { o.Gateway = "elsewhere:8443" },
		"another role":    func(o *Options) { o.Node = &NodeOptions{Role: wire.RoleServer} },
		"another name":    func(o *Options) { o.Node = &NodeOptions{Name: "other"} },
	} {
		other := o
		change(&other)
		if _, _, err := other.member(); !reason.Is(err, reason.AlreadyEnrolled) && !reason.Is(err, reason.ClusterMember) {
			t.Errorf("%s: %v", name, err)
		}
	}
	install := o
	install.Node, install.Cluster = nil, "shop"
	if _, err := install.enroll(t.Context()); !reason.Is(err, reason.ClusterMember) {
		t.Errorf("install on a node: %v", err)
	}
}

// TestATokenThatHasEnded: a worker whose join was cut off for longer than its token of k3s lives asks again; one that has come once, or
// that is told a token which does not end, goes on with what it has.
func TestATokenThatHasEnded(t *testing.T) {
	server, ca := k3sServer(t, "shop")
	d := newDoorman(t, wire.RoleWorker, server)
	d.k3s = "K10" + ca + "::abcdef.0123456789abcdef"
	o, _ := joinOptions(t, d)
	_, decision, err := ask(t, &o)
	if err != nil {
		t.Fatal(err)
	}
	_, way, err := o.member()
	if err != nil || time.Since(way.Told) > time.Minute {
		t.Fatalf("told at %s, %v", way.Told, err)
	}
	decision.Kubeconfig = filepath.Join(t.TempDir(), "kubelet.kubeconfig")
	late := way
	late.Told = way.Told.Add(-nodes.TokenLife)
	further, older := late, late
	further.Role, older.Told = wire.RoleServer, time.Time{}
	for name, c := range map[string]struct {
		way  identity.Joined
		want bool
	}{"just told": {way, false}, "an hour ago": {late, true}, "a server": {further, false}, "of an older version": {older, false}, "asked never": {identity.Joined{}, false}} {
		if got := tokenEnded(c.way, decision); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
	if err := os.WriteFile(decision.Kubeconfig, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if tokenEnded(late, decision) {
		t.Error("a worker that has come")
	}
}

// TestJoinIsJudgedByItsRole: a machine that fits a worker, and turns out to become a server that it does not fit, is refused before
// anything is changed; what servers share is taken over.
func TestJoinIsJudgedByItsRole(t *testing.T) {
	d := newDoorman(t, wire.RoleServer, "https://127.0.0.1:1")
	d.k3s = "K10" + strings.Repeat("ab", 32) + "::server:secret"
	d.answer.Settings = map[string][]string{"cluster-cidr": {"10.142.0.0/16,fd00::/56"}, "service-cidr": {"10.143.0.0/16"}}
	o, told := joinOptions(t, d)
	o.Host = options(t, "vps-512mb").Host
	if _, _, err := ask(t, &o); !reason.Is(err, reason.HostMemoryLow) || reason.Exit(err) != reason.ExitHostRefused {
		t.Errorf("512 MB: %v", err)
	}
	if diff := cmp.Diff([]string{"10.142.0.0/16", "10.143.0.0/16"}, o.Request.Networks); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"127.0.0.1"}, o.Request.Peers); diff != "" {
		t.Error(diff)
	}
	if all := *told; len(all) < 2 || all[0].Kind != "decision" || !strings.Contains(all[1].Message, "join another one") {
		t.Errorf("told: %+v", all)
	}
}

// TestServersAreReachedFirst: one that does not answer is told, with its address; one of another cluster ends the join.
func TestServersAreReachedFirst(t *testing.T) {
	good, ca := k3sServer(t, "shop")
	other, _ := k3sServer(t, "other")
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	dead := "https://" + listener.Addr().String()
	listener.Close()
	for name, c := range map[string]struct {
		servers []string
		want    string
		code    reason.Code
		told    int
	}{
		"one":                {servers: []string{good}, want: good},
		"the first is dead":  {servers: []string{dead, good}, want: good, told: 1},
		"all are dead":       {servers: []string{dead}, code: reason.NetServerUnreachable},
		"of another cluster": {servers: []string{good, other}, code: reason.ClusterUntrusted},
	} {
		d := newDoorman(t, wire.RoleWorker, c.servers...)
		d.k3s = "K10" + ca + "::abcdef.0123456789abcdef"
		o, told := joinOptions(t, d)
		_, _, err := ask(t, &o)
		switch {
		case c.code == "" && (err != nil || o.Install.Join.Server != c.want):
			t.Errorf("%s: %v, %q", name, err, o.Install.Join.Server)
		case c.code != "" && (!reason.Is(err, c.code) || strings.Contains(err.Error(), "0123456789abcdef")):
			t.Errorf("%s: %v", name, err)
		case c.code == reason.NetServerUnreachable && !strings.Contains(err.Error(), strings.TrimPrefix(dead, "https://")+": "):
			t.Errorf("%s: it does not name the address: %v", name, err)
		}
		if len(*told) != c.told {
			t.Errorf("%s: %+v", name, *told)
		}
	}
	if err := reachServer(t.Context(), good, ca, wire.RoleServer); err == nil || !strings.Contains(err.Error(), "127.0.0.1:2379: ") {
		t.Errorf("a server without the port of etcd: %v", err)
	}
}

// TestJoinOnAServerOfItsOwn: a machine that has enrolled a cluster joins no other.
func TestJoinOnAServerOfItsOwn(t *testing.T) {
	g := gatewaytest.Start(t)
	o, _ := joinOptions(t, newDoorman(t, wire.RoleWorker, "https://127.0.0.1:1"))
	enrolled(t, g, o.StateDir)
	o.Gateway = g.Address
	if _, _, err := o.member(); !reason.Is(err, reason.AlreadyEnrolled) {
		t.Errorf("got %v", err)
	}
}

// TestNodePlans holds the steps of a join by what the machine becomes; nobody is asked for a plan.
func TestNodePlans(t *testing.T) {
	for _, c := range []struct {
		role wire.Role
		want string
	}{
		{wire.RoleWorker, "resume-unit modules k3s-download k3s-binary k3s-images sysctl k3s-token k3s-config k3s-unit agent-config agent-unit connected layer-node layer-pod-network"},
		{wire.RoleServer, "resume-unit modules k3s-download k3s-binary k3s-images sysctl k3s-token k3s-config k3s-unit agent-config agent-unit layer-api account credential-unit connected layer-node layer-pod-network"},
	} {
		o := options(t, "debian12-vm")
		o.Gateway, o.Node = "gateway:8443", &NodeOptions{Role: c.role, Config: func(string, string, []reason.Cost) ([]byte, error) { return nil, nil }}
		p, err := MakePlan(t.Context(), o, trial.Of(o.Host))
		if err != nil {
			t.Fatal(err)
		}
		var ids []string
		for _, s := range p.Steps {
			ids = append(ids, s.ID)
		}
		if diff := cmp.Diff(c.want, strings.Join(ids, " ")); diff != "" {
			t.Errorf("%s: %s", c.role, diff)
		}
		if _, err := os.Stat(o.identityDir()); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("a plan has made an identity: %v", err)
		}
	}
}

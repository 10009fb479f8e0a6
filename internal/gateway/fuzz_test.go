package gateway

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/session"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

// told is what an administrator is told of the clusters, as it goes over the socket.
func told(t *testing.T, g *Gateway, path string) string {
	t.Helper()
	w := httptest.NewRecorder()
	g.admin().ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil))
	if w.Code != http.StatusOK || !json.Valid(w.Body.Bytes()) {
		t.Fatalf("%s: %d %q", path, w.Code, w.Body)
	}
	return w.Body.String()
}

// request makes a certificate request by a template.
func request(f *testing.F, template x509.CertificateRequest, curve elliptic.Curve) string {
	f.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		f.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &template, key)
	if err != nil {
		f.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}))
}

// arriving is the session of the machine of the cluster shop, which has not said hello yet.
func arriving(t testing.TB, g *Gateway, cluster string) *peer {
	t.Helper()
	machines, err := g.store.Machines(t.Context(), cluster)
	if err != nil || len(machines) != 1 {
		t.Fatalf("%v, %v", machines, err)
	}
	g.address = &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1}
	here, there := net.Pipe()
	log := slog.New(slog.DiscardHandler)
	p := &peer{id: cluster, name: "shop", machine: machines[0].ID, role: wire.RoleServer, since: time.Now(), session: session.Server(here, log), key: []byte("shop")}
	agent := session.Client(there, log)
	t.Cleanup(func() { agent.Close(nil); p.session.Close(nil) })
	return p
}

// FuzzAgentSays: whatever an agent sends on its session it gets an answer that is none of a fault of the gateway's, an administrator can
// read on, and of another cluster nothing is known that was not known before.
func FuzzAgentSays(f *testing.F) {
	g, ids, _ := opened(f)
	p := arriving(f, g, ids[0])
	const instance = "0123456789abcdef"
	if err := g.enter(f.Context(), p, wire.Hello{Instance: instance}); err != nil {
		f.Fatal(err)
	}
	if _, err := g.store.PutDocument(f.Context(), ids[0], "Project", "web", json.RawMessage(`{"name":"web"}`)); err != nil {
		f.Fatal(err)
	}
	paths := []string{wire.PathHello, wire.PathHeartbeat, wire.PathStatus, wire.PathRenew, wire.PathDesired, wire.PathHandover + "x"}
	for i, body := range []string{
		`{"version":1,"instance":"` + instance + `","epoch":1,"standby":true,"replaces":true}`,
		`{"version":1,"agent":"v1","time":"9999-12-31T23:59:59-23:59","conditions":[{"type":"ClusterReachable","status":"False","since":"0000-01-01T00:00:00+23:59"}],"facts":{"a":1},"nodes":-1,` +
			`"audit":{"chain":"` + strings.Repeat("a", 32) + `","seq":3,"sum":"` + strings.Repeat("b", 64) + `","own":2}}`,
		`{"kind":"Project","name":"web","observed_generation":1,"conditions":[{"type":"Removed","status":"True","message":"\u0000\u202e"}]}`,
		`{"csr":"-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n"}`,
	} {
		f.Add(byte(i), []byte(body))
	}
	f.Add(byte(4), []byte("9223372036854775808"))
	f.Add(byte(1), []byte(`{"facts":`+strings.Repeat("[", 100)))
	api := g.agentAPI(p)
	f.Fuzz(func(t *testing.T, which byte, body []byte) {
		before := told(t, g, "/clusters/bank/machines")
		path := paths[int(which)%len(paths)]
		method, content := http.MethodPost, bytes.NewReader(body)
		if path == wire.PathDesired { // a good number would be answered for ever
			method, path = http.MethodGet, path+"?after="+url.QueryEscape("x"+string(body))
		}
		w := httptest.NewRecorder()
		api.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), method, path, content))
		if w.Code >= 500 || w.Body.Len() > 64<<10 {
			t.Errorf("%s %q: %d %.300q", path, body, w.Code, w.Body)
		}
		for _, path := range []string{"/clusters", "/clusters/shop/machines", "/clusters/shop/projects", "/clusters/shop/events"} {
			told(t, g, path)
		}
		if g.sessions.get(ids[0]) != p {
			t.Errorf("%s %q: the session takes no more requests", path, body)
		}
		if after := told(t, g, "/clusters/bank/machines"); after != before {
			t.Errorf("%s %q: of another cluster it is told %s, not %s", path, body, after, before)
		}
	})
}

// FuzzStrangersSay: who has no token gets nothing by what it sends to the paths that ask for no user, and leaves nothing.
func FuzzStrangersSay(f *testing.F) {
	g, _, _ := opened(f)
	paths := []string{wire.PathEnroll, wire.PathJoin, wire.PathLeave, wire.PathEvents, wire.PathTunnel}
	stolen := wire.NewToken(g.authority.cert.Raw)
	for i, body := range []string{
		`{"version":1,"token":"` + stolen.Reveal() + `","cluster":"shop","csr":` + quoted(request(f, x509.CertificateRequest{}, elliptic.P256())) + `}`,
		`{"version":1,"token":"` + wire.NewNodeToken(g.authority.cert.Raw).Reveal() + `","node_name":"two","arch":"amd64","seal_key":"` + strings.Repeat("A", 43) + `="}`,
		`{}`, `{"time":"2026-01-01T00:00:00Z","kind":"step"}` + "\n",
	} {
		f.Add(byte(i), []byte(body))
	}
	handler := g.https(f.Context())
	f.Fuzz(func(t *testing.T, which byte, body []byte) {
		before := told(t, g, "/clusters") + told(t, g, "/tokens")
		path := paths[int(which)%len(paths)]
		method := http.MethodPost
		if path == wire.PathTunnel {
			method = http.MethodGet
		}
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), method, "https://gateway"+path, bytes.NewReader(body)))
		if w.Code < 400 || w.Code >= 500 || w.Body.Len() > 16<<10 {
			t.Errorf("%s %q: %d %.300q", path, body, w.Code, w.Body)
		}
		if strings.Contains(w.Body.String(), stolen.Secret) {
			t.Errorf("%s: the secret of a token is in the answer %s", path, w.Body)
		}
		if after := told(t, g, "/clusters") + told(t, g, "/tokens"); after != before {
			t.Errorf("%s %q: it is told %s, not %s", path, body, after, before)
		}
	})
}

func quoted(s string) string {
	raw, _ := json.Marshal(s) // a string never fails
	return string(raw)
}

// FuzzEnroll: whatever a machine with a token asks for, it gets a certificate for the key of its request and for the cluster of that
// name, or nothing.
func FuzzEnroll(f *testing.F) {
	g, _, _ := opened(f)
	pool := x509.NewCertPool()
	pool.AddCert(g.authority.cert)
	f.Add("new", request(f, x509.CertificateRequest{}, elliptic.P256()), "v1")
	f.Add("new", request(f, x509.CertificateRequest{Subject: pkix.Name{CommonName: "pipeops://cluster/0123456789abcdef"}, DNSNames: []string{wire.GatewayName}, URIs: []*url.URL{{Scheme: "pipeops", Host: "gateway", Path: "/0123456789abcdef"}}}, elliptic.P256()), "v1")
	f.Add("a/../b", request(f, x509.CertificateRequest{ExtraExtensions: []pkix.Extension{{Id: []int{2, 5, 29, 19}, Critical: true, Value: []byte{0x30, 3, 1, 1, 0xff}}}}, elliptic.P384()), "\x00")
	f.Fuzz(func(t *testing.T, name, csr, agent string) {
		token := wire.NewToken(g.authority.cert.Raw)
		if _, err := g.store.AddToken(t.Context(), token, "", time.Hour); err != nil {
			t.Fatal(err)
		}
		body, err := json.Marshal(wire.EnrollRequest{Version: wire.Version, Token: token.Reveal(), Cluster: name, CSR: csr, Agent: agent})
		if err != nil {
			t.Skip()
		}
		w := httptest.NewRecorder()
		g.enroll(w, httptest.NewRequestWithContext(t.Context(), http.MethodPost, wire.PathEnroll, bytes.NewReader(body)))
		if w.Code != http.StatusOK {
			if w.Code >= 500 {
				t.Errorf("%d %s", w.Code, w.Body)
			}
			return
		}
		var answer wire.EnrollResponse
		if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil {
			t.Fatal(err)
		}
		block, _ := pem.Decode([]byte(answer.Certificate))
		leaf, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		asked, _ := pem.Decode([]byte(csr))
		parsed, err := x509.ParseCertificateRequest(asked.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := leaf.Verify(x509.VerifyOptions{Roots: pool, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
			t.Error(err)
		}
		switch key, ok := parsed.PublicKey.(*ecdsa.PublicKey); {
		case !ok || !key.Equal(leaf.PublicKey):
			t.Error("the certificate is for another key")
		case leaf.IsCA || len(leaf.DNSNames)+len(leaf.IPAddresses)+len(leaf.EmailAddresses) > 0 || len(leaf.URIs) != 1 ||
			leaf.URIs[0].String() != wire.MachineURI(answer.ClusterID, ""), slices.Contains(leaf.ExtKeyUsage, x509.ExtKeyUsageServerAuth), leaf.NotAfter.Sub(leaf.NotBefore) > 2*clientLife:
			t.Errorf("the certificate is for %v %v, CA %v, until %s", leaf.URIs, leaf.DNSNames, leaf.IsCA, leaf.NotAfter)
		case !wire.ValidName(answer.Cluster) || answer.Cluster != name:
			t.Errorf("the cluster is called %q", answer.Cluster)
		}
		if err := g.store.RemoveCluster(t.Context(), answer.ClusterID); err != nil { // so that the next of this name is new
			t.Fatal(err)
		}
	})
}

// FuzzBetween: whatever the header and the path of a request of another gateway are, it is let through only to the cluster of its
// grant, in the name of the grant or in nobody's, and to paths that gateways ask agents for.
func FuzzBetween(f *testing.F) {
	g, ids, grant := opened(f)
	permit, err := g.fleet.permit(ids[0])(f.Context())
	if err != nil {
		f.Fatal(err)
	}
	alice, admin := wire.UserPrefix+"alice", wire.UserPrefix+"admin"
	f.Add(wire.PathAgentKube+"/api", ids[0], ids[0], grant.ID, alice, strings.Join(grant.Groups, "\n"))
	f.Add(wire.PathAgentKube+"/api", ids[1], ids[1], grant.ID, alice, wire.GroupAdmins)
	f.Add(wire.PathAgentJoin, ids[0], ids[0], permit, "", "")
	f.Add(wire.PathAgentProject+"/web/", ids[0], ids[0], permit, wire.UserPublic, "")
	f.Add(wire.PathAgentKube+"/../goodbye", ids[0], ids[0], permit, admin, wire.GroupAdmins)
	f.Add(wire.PathAgentConnect+"/tcp/svc/a/b/80", ids[0], ids[0], grant.ID, alice+"\n"+admin, "")
	f.Fuzz(func(t *testing.T, path, cluster, machine, by, users, groups string) {
		u, err := url.ParseRequestURI(path)
		if err != nil || u.Host != "" {
			t.Skip()
		}
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "http://gateway/", nil)
		r.URL = u
		for name, values := range map[string]string{wire.HeaderUser: users, wire.HeaderGroup: groups} {
			if values != "" {
				r.Header[name] = strings.Split(values, "\n")
			}
		}
		r.Header.Set(wire.HeaderCluster, cluster)
		r.Header.Set(wire.HeaderMachine, machine)
		r.Header.Set(wire.HeaderGrant, by)
		w := httptest.NewRecorder()
		g.between(w, r)
		if w.Code >= 500 {
			t.Errorf("%q: %d %s", path, w.Code, w.Body)
		}
		if w.Code != http.StatusMisdirectedRequest { // there is no session, so this is what is let through
			return
		}
		own := by == grant.ID && users == alice && groups == strings.Join(grant.Groups, "\n")
		ours := by == permit && users == admin && groups == wire.GroupAdmins
		page := strings.HasPrefix(path, wire.PathAgentProject+"/")
		nobody := (by == grant.ID || by == permit) && groups == "" && (users == "" || users == wire.UserPublic) && (u.Path == wire.PathAgentJoin || page)
		asked := page || u.Path == wire.PathAgentJoin || strings.HasPrefix(path, wire.PathAgentKube+"/") || strings.HasPrefix(path, wire.PathAgentConnect+"/")
		if cluster != ids[0] || !asked || !own && !ours && !nobody {
			t.Errorf("let through: %q to %q by %q as %q of %q", path, cluster, by, users, groups)
		}
	})
}

// FuzzRead: the body of a request is read to its bound and no further, whatever it is.
func FuzzRead(f *testing.F) {
	f.Add([]byte(`{"csr":"`), byte('['), uint32(1<<22))
	f.Add([]byte(`{"csr":`), byte('"'), uint32(wire.MaxDocument))
	f.Add([]byte(``), byte(' '), uint32(1<<24))
	f.Fuzz(func(t *testing.T, begin []byte, again byte, n uint32) {
		const most = 1 << 24
		body := &counting{Reader: io.MultiReader(bytes.NewReader(begin), io.LimitReader(repeated(again), int64(n%most)))}
		var request wire.Heartbeat
		err := read(httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", body), &request)
		if body.n > wire.MaxDocument {
			t.Errorf("%d bytes were read", body.n)
		}
		if err == nil && len(request.Facts) > wire.MaxDocument {
			t.Errorf("%d bytes are kept", len(request.Facts))
		}
	})
}

type repeated byte

func (b repeated) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = byte(b)
	}
	return len(p), nil
}

type counting struct {
	io.Reader
	n int64
}

func (c *counting) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.n += int64(n)
	return n, err
}

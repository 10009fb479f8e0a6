package gateway

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/gateway/store"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

// opened is a gateway that does not serve, with two clusters and a grant of alice's for the first.
func opened(t testing.TB) (g *Gateway, ids [2]string, grant store.Grant) {
	t.Helper()
	g, err := Open(t.Context(), Options{Data: t.TempDir(), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = g.Close() })
	for i, name := range []string{"shop", "bank"} {
		token := wire.NewToken(g.authority.cert.Raw)
		if _, err := g.store.AddToken(t.Context(), token, "", time.Hour); err != nil {
			t.Fatal(err)
		}
		e, err := g.store.Enroll(t.Context(), token, name, []byte(name), "v1")
		if err != nil {
			t.Fatal(err)
		}
		ids[i] = e.ID
	}
	secret, _, err := g.store.AddUserToken(t.Context(), "alice", []string{wire.GroupAdmins}, ids[0], time.Hour)
	if err == nil {
		grant, err = g.store.Authenticate(t.Context(), secret)
	}
	if err != nil {
		t.Fatal(err)
	}
	return g, ids, grant
}

// TestAGatewayAsksByARightOnly: whatever another gateway sends, it reaches no cluster but that of the grant, and in nobody else's name.
func TestAGatewayAsksByARightOnly(t *testing.T) {
	g, ids, grant := opened(t)
	permit, err := g.fleet.permit(ids[0])(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	alice, admin := wire.UserPrefix+"alice", wire.UserPrefix+"admin"
	kube := wire.PathAgentKube + "/api"
	for name, c := range map[string]struct {
		path, cluster, grant string
		users, groups        []string
		want                 int
	}{
		"as it should be":       {kube, ids[0], grant.ID, []string{alice}, grant.Groups, http.StatusMisdirectedRequest}, // there is no session
		"an administrator":      {kube, ids[0], permit, []string{admin}, []string{wire.GroupAdmins}, http.StatusMisdirectedRequest},
		"a join":                {wire.PathAgentJoin, ids[0], permit, nil, nil, http.StatusMisdirectedRequest},
		"another cluster":       {kube, ids[1], grant.ID, []string{alice}, grant.Groups, http.StatusUnauthorized},
		"another one's permit":  {kube, ids[1], permit, []string{admin}, []string{wire.GroupAdmins}, http.StatusUnauthorized},
		"a join elsewhere":      {wire.PathAgentJoin, ids[1], permit, nil, nil, http.StatusUnauthorized},
		"another user":          {kube, ids[0], grant.ID, []string{wire.UserPrefix + "bob"}, grant.Groups, http.StatusUnauthorized},
		"two users":             {kube, ids[0], grant.ID, []string{alice, admin}, grant.Groups, http.StatusUnauthorized},
		"more groups":           {kube, ids[0], grant.ID, []string{alice}, append([]string{"pipeops:more"}, grant.Groups...), http.StatusUnauthorized},
		"nobody":                {kube, ids[0], grant.ID, nil, nil, http.StatusUnauthorized},
		"groups of nobody":      {wire.PathAgentJoin, ids[0], permit, nil, grant.Groups, http.StatusUnauthorized},
		"no grant":              {kube, ids[0], "", []string{alice}, grant.Groups, http.StatusUnauthorized},
		"a grant that is none":  {kube, ids[0], strings.Repeat("0", 16), []string{alice}, grant.Groups, http.StatusUnauthorized},
		"a path of the agent's": {wire.PathAgentGoodbye, ids[0], grant.ID, []string{alice}, grant.Groups, http.StatusBadRequest},
		"news":                  {wire.PathAgentNews, ids[0], grant.ID, []string{alice}, grant.Groups, http.StatusBadRequest},
	} {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "http://gateway"+c.path, nil)
		r.Header[wire.HeaderUser], r.Header[wire.HeaderGroup] = c.users, c.groups
		r.Header.Set(wire.HeaderCluster, c.cluster)
		r.Header.Set(wire.HeaderMachine, ids[0])
		r.Header.Set(wire.HeaderGrant, c.grant)
		w := httptest.NewRecorder()
		g.between(w, r)
		if w.Code != c.want {
			t.Errorf("%s: %d %s, want %d", name, w.Code, w.Body, c.want)
		}
	}
}

// TestCertificatesAreForOneUse: that of a gateway opens no tunnel, and that of a machine is no gateway's.
func TestCertificatesAreForOneUse(t *testing.T) {
	g, ids, _ := opened(t)
	asker, err := g.authority.asGateway(g.fleet.id)
	if err != nil {
		t.Fatal(err)
	}
	machine, err := g.authority.certify(ids[0], "", asker.Leaf.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode([]byte(machine))
	leaf, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	pair := tls.Certificate{Leaf: leaf}
	for name, c := range map[string]struct {
		by       *tls.Certificate
		protocol string
		ok       bool
	}{
		"a gateway among gateways": {asker, wire.ALPNGateway, true},
		"a machine on a tunnel":    {&pair, wire.ALPN, true},
		"a machine by HTTPS":       {&pair, "http/1.1", true},
		"a machine as a gateway":   {&pair, wire.ALPNGateway, false},
		"a gateway on a tunnel":    {asker, wire.ALPN, false},
		"a gateway by HTTPS":       {asker, "http/1.1", false},
		"nobody as a gateway":      {nil, wire.ALPNGateway, false},
		"nobody on a tunnel":       {nil, wire.ALPN, false},
		"nobody by HTTPS":          {nil, "http/1.1", true},
	} {
		state := tls.ConnectionState{NegotiatedProtocol: c.protocol}
		if c.by != nil {
			state.PeerCertificates = append(state.PeerCertificates, c.by.Leaf)
		}
		if err := g.authority.verify(state); (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
	// one that has ended is of no use at all between gateways
	g.authority.now = func() time.Time { return time.Now().Add(2 * clientLife) }
	if err := g.authority.verify(tls.ConnectionState{NegotiatedProtocol: wire.ALPNGateway, PeerCertificates: []*x509.Certificate{asker.Leaf}}); err == nil {
		t.Error("a gateway's certificate outlives itself")
	}
}

// TestAdmission: places are kept, and nobody gets two.
func TestAdmission(t *testing.T) {
	const burst = admitBurst * admitRate
	var a admission
	now := time.Unix(1_800_000_000, 0)
	told := map[string]time.Duration{}
	in := 0
	for i := range 3 * burst {
		name := string(rune('a'+i%26)) + time.Duration(i).String()
		if wait := a.place(name, admitRate, now); wait > 0 {
			told[name] = wait
		} else {
			in++
		}
	}
	if in != burst+1 || len(told) != 2*burst-1 {
		t.Fatalf("%d came in, %d were told to wait", in, len(told))
	}
	latest := time.Duration(0)
	for name, wait := range told {
		latest = max(latest, wait)
		if again := a.place(name, admitRate, now.Add(wait/2)); again != wait-wait/2 {
			t.Errorf("%s was told %s, and after half of it %s", name, wait, again)
		}
	}
	if want := time.Duration(2*burst-1) * time.Second / admitRate; latest != want {
		t.Errorf("the last one is told to wait %s, not %s", latest, want)
	}
	for name, wait := range told {
		if again := a.place(name, admitRate, now.Add(wait)); again != 0 {
			t.Errorf("%s came in time, and is to wait %s", name, again)
		}
	}
	for range 100_000 { // however many come, what is kept is bounded, and so is the wait
		if wait := a.place(time.Duration(len(a.kept)).String()+"x", admitRate, now.Add(latest)); wait > spreadMost {
			t.Fatalf("told to wait %s", wait)
		}
	}
	if most := int(spreadMost/time.Second)*admitRate + 1; len(a.kept) > most {
		t.Errorf("%d places are kept", len(a.kept))
	}
}

// TestAWayTakesEachRequestOnce: a body goes elsewhere whole, or not at all.
func TestAWayTakesEachRequestOnce(t *testing.T) {
	text := strings.Repeat("body", maxHeld)
	asked := 0
	refuses := func(read int) http.RoundTripper {
		return tripper(func(r *http.Request) (*http.Response, error) {
			asked++
			if r.Body != nil {
				_, _ = io.CopyN(io.Discard, r.Body, int64(read))
				_ = r.Body.Close()
			}
			return nil, errNotTaken
		})
	}
	takes := tripper(func(r *http.Request) (*http.Response, error) {
		asked++
		raw, err := io.ReadAll(r.Body)
		return &http.Response{StatusCode: len(raw), Body: http.NoBody}, err
	})
	for name, c := range map[string]struct {
		list []http.RoundTripper
		want int // asked
		ok   bool
	}{
		"the second takes it": {[]http.RoundTripper{refuses(0), takes}, 2, true},
		"begun":               {[]http.RoundTripper{refuses(1), takes}, 2, true},
		"too much of it gone": {[]http.RoundTripper{refuses(maxHeld + 1), takes}, 1, false},
		"nobody":              {[]http.RoundTripper{refuses(0), refuses(0)}, 2 * lookAgain, false},
	} {
		asked = 0
		w := &way{name: "shop", far: func(context.Context) []http.RoundTripper { return c.list }}
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "http://agent/", strings.NewReader(text))
		response, err := w.RoundTrip(r)
		if (err == nil) != c.ok || asked != c.want {
			t.Errorf("%s: asked %d, %v", name, asked, err)
		}
		if response != nil {
			if response.StatusCode != len(text) {
				t.Errorf("%s: %d bytes came", name, response.StatusCode)
			}
			_ = response.Body.Close()
		}
	}
}

type tripper func(*http.Request) (*http.Response, error)

func (f tripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

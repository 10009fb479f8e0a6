package gateway_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"strings"
	"testing"

	"github.com/pipeopshq/pipeops-agent/internal/gateway/gatewaytest"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

// street is a gateway with an apps domain, an agent that stands for projects, and a browser.
type street struct {
	gateway *gatewaytest.Gateway
	roots   *x509.CertPool
	browser *http.Client
	token   string
	next    chan string // what an endless page says next
}

func openStreet(t testing.TB) *street {
	t.Helper()
	s := &street{gateway: gatewaytest.Start(t), next: make(chan string)}
	s.gateway.AppsDomain = "apps.test"
	s.gateway.Stop()
	s.gateway.Start()
	runAgent(t, mustEnroll(t, s.gateway, "shop"), http.HandlerFunc(s.project))
	s.gateway.WaitConnected("shop", true)
	made, err := s.gateway.Admin.CreateAccess(t.Context(), "shop", "alice", 0)
	if err != nil {
		t.Fatal(err)
	}
	s.token, s.roots = made.Token, x509.NewCertPool()
	s.roots.AppendCertsFromPEM([]byte(made.CA))
	transport := &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: s.roots}, ForceAttemptHTTP2: true,
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) { // as the DNS would lead
			return (&net.Dialer{}).DialContext(ctx, network, s.gateway.Address)
		},
	}
	t.Cleanup(transport.CloseIdleConnections)
	s.browser = &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	for _, p := range []wire.Project{{Name: "web", Image: "web", Port: 80}, {Name: "open", Image: "open", Port: 80, Public: true}} {
		if _, err := s.gateway.Admin.Apply(t.Context(), "shop", p); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// project answers for all projects, as an agent passes it on.
func (s *street) project(w http.ResponseWriter, r *http.Request) {
	_, path, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, wire.PathAgentProject+"/"), "/")
	switch {
	case path == "events":
		w.Header().Set("Content-Type", "text/event-stream")
		for {
			_ = http.NewResponseController(w).Flush()
			select {
			case line := <-s.next:
				if line == "cut" {
					panic(http.ErrAbortHandler)
				}
				_, _ = fmt.Fprintf(w, "data: %s\n\n", line)
			case <-r.Context().Done():
				return
			}
		}
	case strings.HasPrefix(path, "socket"):
		conn, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer func() { _ = conn.Close() }()
		_, _ = fmt.Fprintf(rw, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: %s\r\nSec-WebSocket-Protocol: %s\r\n\r\n", r.URL.Query().Get("to"), r.URL.Query().Get("sub"))
		_ = rw.Flush()
		_, _ = io.Copy(conn, rw)
	case path == "cookies":
		w.Header().Add("Set-Cookie", "a=1; Domain=.apps.test; Path=/; Secure")
		w.Header().Add("Set-Cookie", "b=2; domain=shop.apps.test; HttpOnly")
		w.Header().Add("Set-Cookie", "c=domain=x; Path=/")
	default:
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]any{"path": r.URL.EscapedPath(), "query": r.URL.RawQuery, "header": r.Header, "method": r.Method})
	}
}

// ask asks as a browser does that knows the password for the host, if there is one.
func (s *street) ask(t testing.TB, method, host, path, password string, header ...string) (*http.Response, string) {
	t.Helper()
	name := host
	if host == "apps.test" || host == "a.b.c.apps.test" { // which have no certificate; but on a connection for another one they can be asked for
		name = "web.shop.apps.test"
	}
	r, err := http.NewRequestWithContext(t.Context(), method, "https://"+name+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Host = host
	if password != "" {
		r.SetBasicAuth("anybody", password)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	response, err := s.browser.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response, string(body)
}

func TestAppsHaveOriginsOfTheirOwn(t *testing.T) {
	s := openStreet(t)
	mustEnroll(t, s.gateway, "other")
	const web, open = "web.shop.apps.test", "open.shop.apps.test"
	for _, tt := range []struct {
		name, method, host, path, password string
		header                             []string
		status                             int
		has, hasNot                        string
	}{
		{"with the token", "GET", web, "/a%2Fb?x=1", s.token, nil, 200, `"path":"/v1/project/web/a%2Fb"`, "Authorization"},
		{"as a bearer", "GET", web, "/", "", []string{"Authorization", "Bearer " + s.token}, 200, `"Pipeops-User":["pipeops:alice"]`, "Bearer"},
		{"with its own host", "GET", web, "/", s.token, []string{"X-Forwarded-Host", "evil"}, 200, `"X-Forwarded-Host":["web.shop.apps.test"]`, "evil"},
		{"names in capitals", "GET", "WEB.Shop.apps.test", "/", s.token, nil, 200, `/v1/project/web/`, ""},
		{"without a token", "GET", web, "/", "", nil, 401, "USER_REFUSED", ""},
		{"with a wrong one", "GET", web, "/", "put_0.x", nil, 401, "USER_REFUSED", ""},
		{"another cluster's", "GET", "web.other.apps.test", "/", s.token, nil, 401, "USER_REFUSED", ""},
		{"no such cluster", "GET", "web.none.apps.test", "/", "", nil, 401, "USER_REFUSED", ""},
		{"no project", "GET", "a.b.c.apps.test", "/", s.token, nil, 404, "404 page not found", ""},
		{"the domain itself is the gateway's", "GET", "apps.test", "/healthz", "", nil, 200, "ok\n", ""},
		{"dot segments", "GET", web, "/a/%2e%2e/b", s.token, nil, 404, "PROJECT_UNKNOWN", ""},
		{"the gateway's own paths", "GET", web, "/v1/clusters/shop/api", s.token, nil, 200, "/v1/project/web/v1/clusters/shop/api", ""},
		{"who somebody says he is", "GET", web, "/", s.token, []string{wire.HeaderUser, "pipeops:root", wire.HeaderGroup, "pipeops:x"}, 200, `"Pipeops-User":["pipeops:alice"]`, "root"},
		{"hop by hop", "GET", web, "/", s.token, []string{"Te", "trailers", "Proxy-Authorization", "x"}, 200, "", "Proxy-Auth"},
		{"a form of its own", "POST", web, "/", s.token, []string{"Origin", "https://" + web, "Sec-Fetch-Site", "same-origin"}, 200, `"POST"`, ""},
		{"a form of another project", "POST", web, "/", s.token, []string{"Origin", "https://evil.shop.apps.test", "Sec-Fetch-Site", "same-site"}, 403, "another origin", ""},
		{"a program", "POST", web, "/", s.token, nil, 200, `"POST"`, ""},
		{"public", "GET", open, "/", "", nil, 200, `"Pipeops-User":["` + wire.UserPublic + `"]`, ""},
		{"public, with its own credentials", "GET", open, "/", "", []string{"Authorization", "Bearer mine"}, 200, `"Authorization":["Bearer mine"]`, ""},
		{"public, with a user token", "GET", open, "/", s.token, nil, 200, wire.UserPublic, "Authorization"},
		{"public, from elsewhere", "POST", open, "/", "", []string{"Origin", "https://evil.example", "Sec-Fetch-Site", "cross-site"}, 200, `"POST"`, ""},
	} {
		response, body := s.ask(t, tt.method, tt.host, tt.path, tt.password, tt.header...)
		if response.StatusCode != tt.status || !strings.Contains(body, tt.has) || tt.hasNot != "" && strings.Contains(body, tt.hasNot) {
			t.Errorf("%s: %s %s, want %d with %q, without %q", tt.name, response.Status, body, tt.status, tt.has, tt.hasNot)
		}
	}
	// what is asked of the gateway's own name is not a project's
	gateway := s.gateway.Address
	if response, body := s.ask(t, "GET", gateway, "/healthz", ""); response.StatusCode != 200 || body != "ok\n" {
		t.Errorf("%s %s", response.Status, body)
	}
	if p, err := s.gateway.Admin.Project(t.Context(), "shop", "web", 0); err != nil || !strings.HasPrefix(p.URL, "https://web.shop.apps.test:") {
		t.Errorf("%s, %v", p.URL, err)
	}
	// a project that is public no longer
	if _, err := s.gateway.Admin.Apply(t.Context(), "shop", wire.Project{Name: "open", Image: "open", Port: 80}); err != nil {
		t.Fatal(err)
	}
	if response, _ := s.ask(t, "GET", open, "/", ""); response.StatusCode != 401 {
		t.Errorf("no longer public: %s", response.Status)
	}
}

// TestCookiesStayWithTheirProject: none is for a domain that other projects are in.
func TestCookiesStayWithTheirProject(t *testing.T) {
	s := openStreet(t)
	jar, _ := cookiejar.New(nil)
	s.browser.Jar = jar
	response, _ := s.ask(t, "GET", "open.shop.apps.test", "/cookies", "")
	if got := response.Header["Set-Cookie"]; len(got) != 3 || got[0] != "a=1; Path=/; Secure" || got[1] != "b=2; HttpOnly" || got[2] != "c=domain=x; Path=/" {
		t.Errorf("%q", got)
	}
	if _, body := s.ask(t, "GET", "web.shop.apps.test", "/", s.token); strings.Contains(body, "Cookie") {
		t.Errorf("another project gets them: %s", body)
	}
	if _, body := s.ask(t, "GET", "open.shop.apps.test", "/", ""); !strings.Contains(body, "a=1") {
		t.Errorf("it does not get its own: %s", body)
	}
}

// TestEventsAreNotBuffered: what a page says is there at once, and a page that is cut is no whole one.
func TestEventsAreNotBuffered(t *testing.T) {
	s := openStreet(t)
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://open.shop.apps.test/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := s.browser.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	lines := bufio.NewReader(response.Body)
	for _, said := range []string{"one", "two"} {
		s.next <- said
		if line, err := lines.ReadString('\n'); line != "data: "+said+"\n" || err != nil {
			t.Fatalf("%q, %v", line, err)
		}
		_, _ = lines.ReadString('\n')
	}
	s.next <- "cut"
	if rest, err := io.ReadAll(lines); err == nil {
		t.Errorf("it ends well after %q", rest)
	}
}

// raw connects to the gateway by TLS for a host name, with HTTP/1.1 only.
func (s *street) raw(t testing.TB, host string) *tls.Conn {
	t.Helper()
	conn, err := tls.Dial("tcp", s.gateway.Address, &tls.Config{RootCAs: s.roots, ServerName: host, NextProtos: []string{"http/1.1"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func TestWebSockets(t *testing.T) {
	s := openStreet(t)
	for _, tt := range []struct {
		host, query, origin string
		status              int
	}{
		{"open.shop.apps.test", "to=websocket&sub=chat", "", 101},
		{"open.shop.apps.test", "to=websocket&sub=chat", "https://elsewhere.example", 101},
		{"open.shop.apps.test", "to=websocket&sub=other", "", 503},
		{"open.shop.apps.test", "to=h2c&sub=chat", "", 503},
		{"web.shop.apps.test", "to=websocket&sub=chat", "https://web.shop.apps.test", 101},
		{"web.shop.apps.test", "to=websocket&sub=chat", "https://evil.shop.apps.test", 403},
		{"web.shop.apps.test", "to=websocket&sub=chat", "null", 403},
	} {
		conn := s.raw(t, tt.host)
		r, err := http.NewRequest(http.MethodGet, "https://"+tt.host+"/socket?"+tt.query, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.SetBasicAuth("anybody", s.token)
		for name, value := range map[string]string{"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Protocol": "chat", "Origin": tt.origin} {
			if value != "" {
				r.Header.Set(name, value)
			}
		}
		if err := r.Write(conn); err != nil {
			t.Fatal(err)
		}
		read := bufio.NewReader(conn)
		response, err := http.ReadResponse(read, r)
		if err != nil {
			t.Fatal(err)
		}
		if response.StatusCode != tt.status {
			t.Errorf("%s %s from %q: %s", tt.host, tt.query, tt.origin, response.Status)
		}
		if response.StatusCode == http.StatusSwitchingProtocols {
			_, _ = io.WriteString(conn, "frames of its own")
			got := make([]byte, 17)
			if _, err := io.ReadFull(read, got); err != nil || string(got) != "frames of its own" {
				t.Errorf("%q, %v", got, err)
			}
		}
		_ = conn.Close()
	}
}

// TestAnswersOfOldClientsAreNotCutSilently: an answer to HTTP/1.0 ends with its connection. One that is cut must not end like one that is
// whole.
func TestAnswersOfOldClientsAreNotCutSilently(t *testing.T) {
	s := openStreet(t)
	for _, cut := range []bool{false, true} {
		conn := s.raw(t, "open.shop.apps.test")
		_, _ = fmt.Fprintf(conn, "GET %s HTTP/1.0\r\nHost: open.shop.apps.test\r\n\r\n", map[bool]string{true: "/events", false: "/whole"}[cut])
		if cut {
			s.next <- "one"
			s.next <- "cut"
		}
		got, err := io.ReadAll(conn)
		if !strings.HasPrefix(string(got), "HTTP/1.0 200 OK") {
			t.Errorf("%q", got)
		}
		if !cut && err != nil {
			t.Errorf("a whole answer: %v", err)
		}
		if cut && (err == nil || errors.Is(err, io.EOF)) {
			t.Errorf("after %q it ends well: %v", got, err)
		}
	}
}

// TestAppCertificates: each cluster has a certificate of its own, and names that are none get that of the gateway.
func TestAppCertificates(t *testing.T) {
	s := openStreet(t)
	for host, want := range map[string]string{
		"web.shop.apps.test": "*.shop.apps.test", "open.shop.apps.test": "*.shop.apps.test", "web.other.apps.test": "*.other.apps.test",
	} {
		state := s.raw(t, host).ConnectionState()
		if got := strings.Join(state.PeerCertificates[0].DNSNames, " "); got != want {
			t.Errorf("%s: %s", host, got)
		}
	}
	for _, host := range []string{"x.web.shop.apps.test", "apps.test", "example.com"} {
		if conn, err := tls.Dial("tcp", s.gateway.Address, &tls.Config{RootCAs: s.roots, ServerName: host}); err == nil {
			_ = conn.Close()
			t.Errorf("%s is certified", host)
		}
	}
}

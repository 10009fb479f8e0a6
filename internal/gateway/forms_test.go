package gateway_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/pipeopshq/pipeops-agent/internal/apiproxy"
	"github.com/pipeopshq/pipeops-agent/internal/gateway/gatewaytest"
	"github.com/pipeopshq/pipeops-agent/internal/policy"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

const (
	reviewPath = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
	canary     = "the content of the secret"
)

// witness is an API server that remembers what it was asked, behind a gateway and an agent with a policy that forbids secrets.
type witness struct {
	gateway *gatewaytest.Gateway
	user    *user
	lax     atomic.Bool  // the policy allows everything
	other   atomic.Int32 // requests to the cluster that is none of the user's

	mu      sync.Mutex
	asked   []*http.Request
	decided []policy.Request
}

func (w *witness) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body) // so that there are trailers
	w.mu.Lock()
	w.asked = append(w.asked, r.Clone(context.Background()))
	w.mu.Unlock()
	if clean := path.Clean(r.URL.Path); strings.HasPrefix(clean, "/api/") && strings.Contains(clean, "/secrets") {
		_, _ = io.WriteString(rw, canary)
	}
}

// take returns what the API server was asked since, and what the policy was.
func (w *witness) take() ([]*http.Request, []policy.Request) {
	w.mu.Lock()
	defer w.mu.Unlock()
	asked, decided := w.asked, w.decided
	w.asked, w.decided = nil, nil
	return asked, decided
}

func newWitness(t *testing.T) *witness {
	t.Helper()
	w := &witness{gateway: gatewaytest.Start(t)}
	api := httptest.NewServer(w)
	t.Cleanup(api.Close)
	base, err := url.Parse(api.URL)
	if err != nil {
		t.Fatal(err)
	}
	forbids, err := policy.Read([]byte("version: 1\ndeny: [{resources: [secrets]}]"))
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{DisableCompression: true}
	t.Cleanup(transport.CloseIdleConnections)
	kube := apiproxy.New(apiproxy.Options{
		Log: slog.New(slog.DiscardHandler),
		Allow: func(r policy.Request) error {
			w.mu.Lock()
			w.decided = append(w.decided, r)
			w.mu.Unlock()
			if w.lax.Load() {
				return nil
			}
			return forbids.Judge(r)
		},
		Upstream: func(context.Context) (apiproxy.Upstream, error) {
			return apiproxy.Upstream{Base: base, HTTP: transport, Upgrade: transport}, nil
		},
	})
	runAgent(t, mustEnroll(t, w.gateway, "shop"), kube)
	runAgent(t, mustEnroll(t, w.gateway, "other"), http.HandlerFunc(func(http.ResponseWriter, *http.Request) { w.other.Add(1) }))
	w.gateway.WaitConnected("shop", true)
	w.gateway.WaitConnected("other", true)
	w.user = login(t, w.gateway, "shop")
	return w
}

// dial connects to the gateway's port.
func (w *witness) dial(t *testing.T, protocol string) *tls.Conn {
	t.Helper()
	pool := w.user.client.Transport.(*http.Transport).TLSClientConfig.RootCAs
	conn, err := (&tls.Dialer{Config: &tls.Config{RootCAs: pool, NextProtos: []string{protocol}}}).DialContext(t.Context(), "tcp", w.user.address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(time.Minute))
	return conn.(*tls.Conn)
}

// say sends bytes over HTTP/1.1 and returns all that comes back: the answers to a request, and to what was taken for a further one.
func (w *witness) say(t *testing.T, text string) string {
	t.Helper()
	conn := w.dial(t, "http/1.1")
	defer conn.Close()
	if _, err := io.WriteString(conn, text); err != nil {
		t.Fatal(err)
	}
	var all bytes.Buffer
	reader := bufio.NewReader(io.TeeReader(conn, &all))
	response, err := http.ReadResponse(reader, nil)
	if err != nil {
		t.Errorf("%.80q: %v", text, err)
		return ""
	}
	_, _ = io.Copy(io.Discard, response.Body)
	_ = response.Body.Close()
	_ = conn.CloseWrite() // nothing more is asked: the gateway answers what it has read, and closes
	_, _ = io.Copy(&all, reader)
	return all.String()
}

// isUsers checks that a request that the API server got is the user's and has nothing else in it.
func isUsers(t *testing.T, form string, r *http.Request) {
	t.Helper()
	allowed := []string{"Accept", "Accept-Encoding", "Content-Length", "Impersonate-Group", "Impersonate-User", "Traceparent", "User-Agent"}
	if r.Header.Get("Connection") == "Upgrade" && r.Header.Get("Upgrade") == "websocket" { // what the agent asks for by itself
		allowed = append(allowed, "Connection", "Upgrade", "Sec-Websocket-Key", "Sec-Websocket-Version", "Sec-Websocket-Protocol")
		if strings.Contains(strings.Join(r.Header["Sec-Websocket-Protocol"], ","), "bearer") {
			t.Errorf("%s: a token got through", form)
		}
	}
	for _, name := range slices.Collect(maps.Keys(r.Header)) {
		if !slices.Contains(allowed, name) {
			t.Errorf("%s: %s: %q got through", form, name, r.Header[name])
		}
	}
	if len(r.Trailer) > 0 {
		t.Errorf("%s: trailers %v got through", form, r.Trailer)
	}
	if u, g := r.Header["Impersonate-User"], r.Header["Impersonate-Group"]; !slices.Equal(u, []string{"pipeops:alice"}) || !slices.Equal(g, []string{wire.GroupAdmins}) {
		t.Errorf("%s: the API server is asked as %q of %q", form, u, g)
	}
}

func TestHeaderForms(t *testing.T) {
	w := newWitness(t)
	forms := gatewaytest.HeaderForms()
	reached := 0
	for _, form := range forms {
		answer := w.say(t, "POST "+wire.PathClusters+"/shop"+reviewPath+" HTTP/1.1\r\nHost: "+w.user.address+"\r\nAuthorization: Bearer "+w.user.token+"\r\n"+form.Header+"\r\n"+form.Body)
		asked, _ := w.take()
		for _, r := range asked {
			isUsers(t, form.Name, r)
			if r.URL.Path != reviewPath || r.Method != http.MethodPost {
				t.Errorf("%s: the API server is asked %s %s", form.Name, r.Method, r.URL)
			}
		}
		status := strings.Fields(answer)
		switch {
		case len(asked) > 1:
			t.Errorf("%s: one request became %d", form.Name, len(asked))
		case len(asked) == 1:
			reached++
		case len(status) < 2 || status[1][0] != '4' && status[1] != "501":
			t.Errorf("%s: got %.100q", form.Name, answer)
		}
	}
	t.Logf("of %d forms %d are asked as the user, and %d are refused", len(forms), reached, len(forms)-reached)
	if len(forms) < 60 || reached < 30 || len(forms)-reached < 10 {
		t.Error("these are too few to prove anything")
	}
}

// http2Forms are header fields over HTTP/2. A name that begins with "-" is left out, and what stands after "trailer" comes after the body.
func http2Forms() map[string][][2]string {
	return map[string][][2]string{
		"plain":                        {{"impersonate-user", "system:admin"}},
		"upper case":                   {{"Impersonate-User", "system:admin"}},
		"twice":                        {{"impersonate-user", "pipeops:alice"}, {"impersonate-user", "system:admin"}},
		"group, uid, extra":            {{"impersonate-group", "system:masters"}, {"impersonate-uid", "0"}, {"impersonate-extra-scopes", "all"}},
		"NUL in the value":             {{"impersonate-user", "system:admin\x00"}},
		"a line in the value":          {{"accept", "a\r\nimpersonate-user: system:admin"}},
		"a line feed in the value":     {{"accept", "a\nimpersonate-user: system:admin"}},
		"a line in the name":           {{"accept: a\r\nimpersonate-user", "system:admin"}},
		"a colon in the name":          {{"impersonate-user:", "system:admin"}},
		"a space in the name":          {{"impersonate-user ", "system:admin"}},
		"underscore":                   {{"impersonate_user", "system:admin"}},
		"an empty name":                {{"", "system:admin"}},
		"connection":                   {{"connection", "impersonate-user"}, {"impersonate-user", "system:admin"}},
		"connection upgrade":           {{"connection", "upgrade"}, {"upgrade", "websocket"}},
		"proxy-connection":             {{"proxy-connection", "impersonate-user"}},
		"keep-alive":                   {{"keep-alive", "impersonate-user"}},
		"te":                           {{"te", "trailers, impersonate-user"}},
		"transfer-encoding":            {{"transfer-encoding", "chunked"}},
		"a length that is none":        {{"content-length", "5"}},
		"two lengths":                  {{"content-length", "0"}, {"content-length", "50"}},
		"ours":                         {{"pipeops-user", "system:admin"}, {"pipeops-group", "system:masters"}},
		"a host besides":               {{"host", "kubernetes.default"}},
		"two paths":                    {{":path", wire.PathClusters + "/other/"}},
		"two methods":                  {{":method", "DELETE"}},
		"a pseudo header at the end":   {{"accept", "a"}, {":authority", "other"}},
		"an unknown pseudo header":     {{":impersonate-user", "system:admin"}},
		"extended connect":             {{":protocol", "websocket"}},
		"no path":                      {{"-:path", ""}},
		"no method":                    {{"-:method", ""}},
		"a path without slash":         {{"-:path", ""}, {":path", "v1/clusters/shop" + reviewPath}},
		"a path with a line":           {{"-:path", ""}, {":path", wire.PathClusters + "/shop" + reviewPath + " HTTP/1.1\r\nimpersonate-user: system:admin"}},
		"a path that is a URL":         {{"-:path", ""}, {":path", "https://kubernetes.default" + wire.PathClusters + "/shop" + reviewPath}},
		"a path with dot segments":     {{"-:path", ""}, {":path", wire.PathClusters + "/shop/../other" + reviewPath}},
		"a method with a line":         {{"-:method", ""}, {":method", "POST /x HTTP/1.1\r\nimpersonate-user: system:admin\r\nX: "}},
		"a scheme with a line":         {{"-:scheme", ""}, {":scheme", "https\r\nimpersonate-user: system:admin"}},
		"an authority with a line":     {{"-:authority", ""}, {":authority", "a\r\nimpersonate-user: system:admin"}},
		"a method that is CONNECT":     {{"-:method", ""}, {":method", "CONNECT"}},
		"a trailer":                    {{"trailer", "impersonate-user"}, {"trailer:", ""}, {"impersonate-user", "system:admin"}},
		"a pseudo header as a trailer": {{"trailer:", ""}, {":path", "/v1/clusters/other/"}},
		"cookies":                      {{"cookie", "a=b"}, {"cookie", "token=stolen"}},
	}
}

func TestHTTP2Forms(t *testing.T) {
	w := newWitness(t)
	reached := 0
	forms := http2Forms()
	for name, fields := range forms {
		conn := w.dial(t, "h2")
		status := speakHTTP2(t, conn, [][2]string{
			{":method", "POST"}, {":scheme", "https"}, {":authority", w.user.address}, {":path", wire.PathClusters + "/shop" + reviewPath}, {"authorization", "Bearer " + w.user.token},
		}, fields)
		_ = conn.Close()
		asked, _ := w.take()
		for _, r := range asked {
			isUsers(t, name, r)
			if r.URL.Path != reviewPath {
				t.Errorf("%s: the API server is asked for %s", name, r.URL)
			}
		}
		reached += len(asked)
		if len(asked) == 0 && status != "" && status[0] != '4' {
			t.Errorf("%s: got %s", name, status)
		}
	}
	t.Logf("of %d forms %d are asked as the user", len(forms), reached)
	if reached < 8 || reached > len(forms)-12 {
		t.Error("these are too few to prove anything")
	}
	if n := w.other.Load(); n != 0 {
		t.Errorf("%d requests came to another cluster", n)
	}
}

// speakHTTP2 sends a request whose fields need not be well-formed, and returns the status of the answer; "" if the request or the
// connection was refused.
func speakHTTP2(t *testing.T, conn *tls.Conn, usual, fields [][2]string) string {
	t.Helper()
	if _, err := io.WriteString(conn, http2.ClientPreface); err != nil {
		t.Fatal(err)
	}
	framer := http2.NewFramer(conn, conn)
	framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	framer.AllowIllegalWrites = true
	if err := framer.WriteSettings(); err != nil {
		t.Fatal(err)
	}
	var block bytes.Buffer
	encoder := hpack.NewEncoder(&block)
	var trailer [][2]string
	if i := slices.IndexFunc(fields, func(f [2]string) bool { return f[0] == "trailer:" }); i >= 0 {
		fields, trailer = fields[:i], fields[i+1:]
	}
	for _, f := range append(usual, fields...) {
		left := slices.ContainsFunc(fields, func(o [2]string) bool { return o[0] == "-"+f[0] }) && slices.Contains(usual, f)
		if !left && !strings.HasPrefix(f[0], "-") {
			_ = encoder.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]})
		}
	}
	if err := framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block.Bytes(), EndHeaders: true, EndStream: trailer == nil}); err != nil {
		t.Fatal(err)
	}
	if trailer != nil {
		block.Reset()
		for _, f := range trailer {
			_ = encoder.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]})
		}
		_ = framer.WriteData(1, false, []byte("{}"))
		_ = framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block.Bytes(), EndHeaders: true, EndStream: true})
	}
	status := ""
	for {
		frame, err := framer.ReadFrame()
		if err != nil {
			return status // the connection was refused
		}
		switch f := frame.(type) {
		case *http2.MetaHeadersFrame:
			status = f.PseudoValue("status")
			if f.StreamEnded() {
				return status
			}
		case *http2.DataFrame:
			if f.StreamEnded() {
				return status
			}
		case *http2.RSTStreamFrame, *http2.GoAwayFrame:
			return status
		}
	}
}

// lenient reads a path as the most obliging of servers does.
func lenient(escaped string) policy.Request {
	for range 5 {
		next, err := url.PathUnescape(escaped)
		if err != nil {
			break
		}
		escaped = next
	}
	segments := strings.FieldsFunc(strings.ToLower(escaped), func(r rune) bool { return r == '/' || r == '\\' })
	for i, s := range segments {
		s, _, _ = strings.Cut(s, ";")
		segments[i] = strings.TrimFunc(s, func(r rune) bool { return r <= ' ' || r == 0x7f })
	}
	return policy.Parse(http.MethodGet, path.Clean("/"+strings.Join(segments, "/")), nil)
}

func TestPathForms(t *testing.T) {
	w := newWitness(t)
	forms := gatewaytest.SecretPathForms("shop", "other")
	get := func(target string) string {
		return w.say(t, "GET "+target+" HTTP/1.1\r\nHost: "+w.user.address+"\r\nAuthorization: Bearer "+w.user.token+"\r\n\r\n")
	}
	w.lax.Store(true)
	if answer := get(forms[0]); !strings.Contains(answer, canary) {
		t.Fatalf("without a policy: %q", answer)
	}
	w.lax.Store(false)
	w.take()
	if answer := get(forms[0]); !strings.Contains(answer, "403 Forbidden") || !strings.Contains(answer, "deny[0]") {
		t.Errorf("with the policy: %q", answer)
	}
	reached := 0
	for _, target := range forms {
		w.take()
		answer := get(target)
		asked, decided := w.take()
		if strings.Contains(answer, canary) {
			t.Errorf("%q gives the secret", target)
		}
		reached += len(asked)
		for _, r := range asked {
			isUsers(t, target, r)
			read := policy.Parse(r.Method, r.URL.Path, r.URL.Query())
			if len(asked) != 1 || len(decided) != 1 || decided[0] != read {
				t.Errorf("%q: the policy decided about %v, and %v was asked", target, decided, read)
			}
			if sent := lenient(r.URL.EscapedPath()); sent.Resource == "secrets" {
				t.Errorf("%q: the API server is asked for %s", target, r.URL.EscapedPath())
			}
			t.Logf("%q: asked for %s", target, r.URL.EscapedPath())
		}
	}
	t.Logf("of %d forms %d come to the API server, none of them for a secret", len(forms), reached)
	if len(forms) < 60 {
		t.Error("these are too few")
	}
	if n := w.other.Load(); n != 0 {
		t.Errorf("%d requests came to another cluster", n)
	}
}

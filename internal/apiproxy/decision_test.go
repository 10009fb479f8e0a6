package apiproxy

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/pipeopshq/pipeops-agent/internal/policy"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

// received is what stands on the other end of the connection to the API server: the bytes of the request, read as one.
type received struct{ request *http.Request }

func (r *received) RoundTrip(out *http.Request) (*http.Response, error) {
	var sent bytes.Buffer
	if err := out.Write(&sent); err != nil {
		return nil, err
	}
	in, err := http.ReadRequest(bufio.NewReader(&sent))
	if err != nil {
		return nil, err
	}
	r.request = in
	return nil, errors.New("nobody answers")
}

// FuzzDecisionIsAboutWhatIsSent: whatever comes from the gateway, the API server reads the request that the policy was asked about, as the
// user who was named.
func FuzzDecisionIsAboutWhatIsSent(f *testing.F) {
	for _, seed := range [][3]string{
		{"GET", "/api/v1/namespaces/shop/pods", "watch=1"},
		{"GET", "/api/v1/namespaces/shop/%70ods", "watch=0;watch=1"},
		{"POST", "/api/v1/namespaces/shop/pods/web-0/exec", "command=sh&command=%2Fbin"},
		{"DELETE", "/apis/apps/v1/namespaces/a%20b/deployments/", ""},
		{"GET", "/api/v1/namespaces/shop/services/https:web:443/proxy/a b", "a=%00"},
		{"GET", "//api/v1/secrets", "%"},
		{"GET", "/api/v1/namespaces/%2e%2e/secrets", ""},
		{"GET", "/api/v1/\xc0\xae\xc0\xae/secrets", ""},
		{"G ET", "/api\r\nX: y", "a b"},
	} {
		f.Add(seed[0], seed[1], seed[2])
	}
	base, err := url.Parse("https://kubernetes.example:6443/k8s/clusters/c-1")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, method, path, query string) {
		r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(method + " " + wire.PathAgentKube + path + "?" + query + " HTTP/1.1\r\nHost: agent\r\n\r\n")))
		if err != nil {
			return // net/http hands no such request to a handler
		}
		r.Header = http.Header{wire.HeaderUser: {"pipeops:alice"}}
		var decided *policy.Request
		var got received
		New(Options{
			Log: slog.New(slog.DiscardHandler),
			Allow: func(q policy.Request) error {
				decided = &q
				return nil
			},
			Upstream: func(context.Context) (Upstream, error) { return Upstream{Base: base, HTTP: &got, Upgrade: &got}, nil },
		}).ServeHTTP(httptest.NewRecorder(), r)
		if got.request == nil {
			return
		}
		if decided == nil {
			t.Fatalf("%q was sent without a decision", got.request.RequestURI)
		}
		rest, ok := strings.CutPrefix(got.request.URL.Path, base.Path)
		if !ok {
			t.Fatalf("%q is out of %s", got.request.RequestURI, base.Path)
		}
		if read := policy.Parse(got.request.Method, rest, got.request.URL.Query()); read != *decided {
			t.Errorf("%s %q ? %q: decided about %+v, and %+v was sent", method, path, query, *decided, read)
		}
		if user := got.request.Header["Impersonate-User"]; len(user) != 1 || user[0] != "pipeops:alice" {
			t.Errorf("%q is asked as %q", got.request.RequestURI, user)
		}
	})
}

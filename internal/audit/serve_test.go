package audit

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
)

// TestWhatRunsIsOnTheDiskFirst: what runs something, or opens a connection into the cluster, is let through when its start is on the disk.
func TestWhatRunsIsOnTheDiskFirst(t *testing.T) {
	l := open(t, Options{})
	const pod = "/api/v1/namespaces/shop/pods/web"
	for name, ask := range map[string]struct {
		method, path string
		header       http.Header
	}{
		"exec":        {http.MethodPost, pod + "/exec", nil},
		"attach":      {http.MethodPost, pod + "/attach", nil},
		"portforward": {http.MethodPost, pod + "/portforward", nil},
		"upgrade":     {http.MethodGet, pod + "/proxy/x", http.Header{"Upgrade": {"websocket"}}},
		"connect":     {http.MethodConnect, pod, nil},
	} {
		r := &http.Request{Method: ask.method, URL: &url.URL{Path: ask.path}, Header: ask.header}
		before := l.Counts().Syncs
		l.Serve(httptest.NewRecorder(), r, OfKube(r, ask.path), http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			if err := Of(r.Context()).Admit(r.Context()); err != nil || l.Counts().Syncs == before {
				t.Errorf("%s: %v, and nothing is on the disk", name, err)
			}
		}))
	}
}

// TestQueryTellsNoArguments: of a command only its name is told, however its words are parted.
func TestQueryTellsNoArguments(t *testing.T) {
	for _, q := range []string{"command=sh&command=-c&command=secret", "command=sh+-c+secret", "command=sh%0asecret", "command=sh%09secret&token=secret"} {
		values, err := url.ParseQuery(q)
		if got := Query(values); err != nil || got != "command=sh" {
			t.Errorf("%s: %q, %v", q, got, err)
		}
	}
}

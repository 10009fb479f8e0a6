package lab

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync/atomic"
	"testing"
)

// TestDebian asks the proxy as apt does, with a server of this test in the place of the archive.
func TestDebian(t *testing.T) {
	var asked atomic.Int32
	archive := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		if r.URL.Path == "/debian/pool/main/g/gone/gone_1_all.deb" {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Last-Modified", "Mon, 02 Nov 2026 10:00:00 GMT")
		_, _ = io.WriteString(w, r.URL.Path)
	}))
	defer archive.Close()
	d := &Debian{dir: t.TempDir(), client: http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, archive.Listener.Addr().String())
		},
	}}}
	proxy := httptest.NewServer(d)
	defer proxy.Close()
	at, err := url.Parse(proxy.URL)
	if err != nil {
		t.Fatal(err)
	}
	client := http.Client{Transport: &http.Transport{Proxy: http.ProxyURL(at), DisableKeepAlives: true}}
	const pool = "http://deb.debian.org/debian/pool/main/d/docker.io/docker.io_1_amd64.deb"
	for _, tt := range []struct {
		url    string
		status int
		body   string
		asked  int32 // by the proxy
	}{
		{pool, 200, "/debian/pool/main/d/docker.io/docker.io_1_amd64.deb", 1},
		{pool, 200, "/debian/pool/main/d/docker.io/docker.io_1_amd64.deb", 0}, // kept
		{"http://deb.debian.org/debian/dists/bookworm/InRelease", 200, "/debian/dists/bookworm/InRelease", 1},
		{"http://deb.debian.org/debian/dists/bookworm/InRelease", 200, "/debian/dists/bookworm/InRelease", 1},
		{"http://deb.debian.org/debian/pool/main/g/gone/gone_1_all.deb", 502, "", 1},
		{"http://example.org/debian/pool/main/d/docker.io/docker.io_1_amd64.deb", 403, "", 0},
	} {
		before := asked.Load()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, tt.url, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if resp.StatusCode != tt.status || err != nil || tt.body != "" && string(body) != tt.body || asked.Load()-before != tt.asked {
			t.Errorf("%s: %d, %q, %v, asked %d times; want %+v", tt.url, resp.StatusCode, body, err, asked.Load()-before, tt)
		}
	}
}

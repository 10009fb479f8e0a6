package wire

import (
	"net/http"
	"net/url"
	"reflect"
	"strings"
	"testing"
)

func TestCleanPath(t *testing.T) {
	good := map[string]string{
		"/":                              "/",
		"/api/v1/pods":                   "/api/v1/pods",
		"/api/v1/pods/":                  "/api/v1/pods/",
		"/apis/rbac/roles/system%3Anode": "/apis/rbac/roles/system:node",
		"/a/b%20c":                       "/a/b c",
		"/a/...":                         "/a/...",
		"/a/b@c~d+e":                     "/a/b@c~d+e",
	}
	for in, want := range good {
		if got, err := CleanPath(in); err != nil || got != want {
			t.Errorf("%q: got %q, %v", in, got, err)
		}
	}
	bad := []string{
		"", "api", "//", "/api//v1", "/..", "/api/../v1", "/api/./v1", "/api/%2e%2e/v1", "/api/%2E", "/api/.%2e/v1", "/a%2fb", "/a%2Fb", "/a%5cb", `/a\b`,
		"/a%252fb", "/a%25", "/a%2", "/a%zz", "/a%00", "/a%0d%0ab", "/a%7f", "/a;b", "/a%3bb", "/a?b", "/a%3fb", "/a#b", "/a%23b",
		"/a%c0%ae%c0%ae/b", "/a%c0%af", "/a%e0%80%af", "/%ff", "/a%c2%85", // overlong, no UTF-8, a control character above ASCII
	}
	for _, in := range bad {
		if got, err := CleanPath(in); err == nil {
			t.Errorf("%q became %q", in, got)
		}
	}
}

func TestCleanQuery(t *testing.T) {
	for in, want := range map[string]url.Values{
		"": {}, "watch=1&watch=false": {"watch": {"1", "false"}}, "labelSelector=a%3Db&command=sh&command=-c": {"labelSelector": {"a=b"}, "command": {"sh", "-c"}},
		"watch": {"watch": {""}}, "&&a=1&": {"a": {"1"}}, "command=a%3B": {"command": {"a;"}},
	} {
		if got, err := CleanQuery(in); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%q: %v, %v", in, got, err)
		}
	}
	for _, in := range []string{"a=1;watch=true", ";", "a=%", "a=%zz&watch=1", "%=1"} {
		if got, err := CleanQuery(in); err == nil {
			t.Errorf("%q became %v", in, got)
		}
	}
}

// FuzzCleanQuery checks that what is decided about is what is forwarded: the next parser reads the same.
func FuzzCleanQuery(f *testing.F) {
	for _, s := range []string{"watch=1", "a=1;watch=1", "a=%", "watch&watch=0", "a=%3B", "a+b=c d#e"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		values, err := CleanQuery(raw)
		if err != nil {
			return
		}
		sent := (&url.URL{Scheme: "http", Host: "agent", Path: "/", RawQuery: raw}).RequestURI()
		u, err := url.ParseRequestURI(sent)
		if err != nil { // what cannot be in a request line does not come out of one
			return
		}
		if again, err := CleanQuery(u.RawQuery); err != nil || !reflect.DeepEqual(again, values) {
			t.Errorf("%q: one end decides on %v, the other on %v (%v)", raw, values, again, err)
		}
	})
}

// FuzzCleanPath checks that what is decided about is what is forwarded: the decoded path, escaped again by net/url and
// read by the next parser, is the same path.
func FuzzCleanPath(f *testing.F) {
	for _, s := range []string{"/api/v1/pods", "/a%2fb", "/%2e%2e/x", "/a%252e", "/a b", "//x", "/a/%C3%A4", "/a;b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, escaped string) {
		plain, err := CleanPath(escaped)
		if err != nil {
			return
		}
		u := &url.URL{Scheme: "http", Host: "agent", Path: PathAgentKube + plain}
		sent, err := url.ParseRequestURI(u.RequestURI())
		if err != nil {
			t.Fatalf("%q is sent as %q: %v", escaped, u.RequestURI(), err)
		}
		again, err := CleanPath(strings.TrimPrefix(sent.EscapedPath(), PathAgentKube))
		if err != nil || again != plain {
			t.Errorf("%q: one end decides on %q, the other on %q (%v)", escaped, plain, again, err)
		}
		for _, s := range strings.Split(plain, "/") {
			if s == "." || s == ".." {
				t.Errorf("%q has a dot segment", plain)
			}
		}
	})
}

func TestDotFree(t *testing.T) {
	for _, good := range []string{"", "/", "/a/b.c", "/a%2fb", "//x", "/a/...", "/100%"} {
		if !DotFree(good) {
			t.Errorf("%q is refused", good)
		}
	}
	for _, bad := range []string{"/..", "/a/../b", "/%2e%2e/b", "/a%2f..%2fb", "/%252e%252e/b", `/..\x`, "/a/./b", "/a%0d%0a", "..", "%2e%2e"} {
		if DotFree(bad) {
			t.Errorf("%q passes", bad)
		}
	}
}

func TestUpgradeAgrees(t *testing.T) {
	up := func(protocol, sub string) http.Header {
		h := http.Header{"Connection": {"Upgrade"}, "Upgrade": {protocol}}
		if sub != "" {
			h["Sec-Websocket-Protocol"] = []string{sub}
		}
		return h
	}
	version := func(h http.Header, versions ...string) http.Header {
		h["X-Stream-Protocol-Version"] = versions
		return h
	}
	tests := []struct {
		name            string
		request, answer http.Header
		want            bool
	}{
		{"spdy", up("SPDY/3.1", ""), up("spdy/3.1", ""), true},
		{"websocket", up("websocket", "v5.channel.k8s.io, v4.channel.k8s.io"), up("websocket", "v4.channel.k8s.io"), true},
		{"no subprotocol chosen", up("websocket", "v5.channel.k8s.io"), up("websocket", ""), true},
		{"another subprotocol", up("websocket", "v5.channel.k8s.io"), up("websocket", "v6.channel.k8s.io"), false},
		{"another protocol", up("websocket", ""), up("SPDY/3.1", ""), false},
		{"not asked", http.Header{}, up("websocket", ""), false},
		{"not answered", up("websocket", ""), http.Header{}, false},
		{"unknown", up("h2c", ""), up("h2c", ""), false},
		{"two subprotocols", up("websocket", "v5.channel.k8s.io, v4.channel.k8s.io"), up("websocket", "v5.channel.k8s.io, v4.channel.k8s.io"), false},
		{"stream version", version(up("SPDY/3.1", ""), "v4.channel.k8s.io", "v3.channel.k8s.io"), version(up("SPDY/3.1", ""), "v3.channel.k8s.io"), true},
		{"stream versions in one line", version(up("SPDY/3.1", ""), "v4.channel.k8s.io, v3.channel.k8s.io"), version(up("SPDY/3.1", ""), "v3.channel.k8s.io"), true},
		{"no stream version chosen", version(up("SPDY/3.1", ""), "v4.channel.k8s.io"), up("SPDY/3.1", ""), true},
		{"another stream version", version(up("SPDY/3.1", ""), "v4.channel.k8s.io"), version(up("SPDY/3.1", ""), "v9.channel.k8s.io"), false},
		{"a stream version nobody asked for", up("SPDY/3.1", ""), version(up("SPDY/3.1", ""), "v4.channel.k8s.io"), false},
		{"two stream versions", version(up("SPDY/3.1", ""), "v4.channel.k8s.io", "v3.channel.k8s.io"), version(up("SPDY/3.1", ""), "v4.channel.k8s.io", "v3.channel.k8s.io"), false},
	}
	for _, tt := range tests {
		if got := UpgradeAgrees(tt.request, tt.answer); got != tt.want {
			t.Errorf("%s: %t", tt.name, got)
		}
	}
}

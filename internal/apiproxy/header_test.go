package apiproxy

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

// forged are the ways in which a caller may try to be somebody else, or to smuggle a header through. Each is a list of
// header lines as net/http hands them to a handler.
func forged() []http.Header {
	one := func(name string, values ...string) http.Header { return http.Header{name: values} }
	with := func(h http.Header, name string, values ...string) http.Header { h[name] = values; return h }
	return []http.Header{
		one("Impersonate-User", "system:admin"),
		one("impersonate-user", "system:admin"),
		one("IMPERSONATE-USER", "system:admin"),
		one("iMpErSoNaTe-UsEr", "system:admin"),
		one("Impersonate-User", "pipeops:a", "system:admin"),
		one("Impersonate-User ", "system:admin"),
		one(" Impersonate-User", "system:admin"),
		one("Impersonate_User", "system:admin"),
		one("Impersonate-Group", "system:masters"),
		one("impersonate-group", "system:masters"),
		one("Impersonate-Group", "a", "system:masters", "b"),
		one("Impersonate-Group", "a,system:masters"),
		one("Impersonate-Uid", "0"),
		one("impersonate-uid", "0"),
		one("IMPERSONATE-UID", "0"),
		one("Impersonate-Extra-Scopes", "all"),
		one("Impersonate-Extra-scopes.authorization.k8s.io", "all"),
		one("impersonate-extra-acme%2ecom%2fproject", "all"),
		one("Impersonate-Extra-", "all"),
		one("Impersonate-", "all"),
		one("Impersonate", "all"),
		one("Connection", "Impersonate-User"),
		one("Connection", "impersonate-user"),
		one("Connection", " Impersonate-User , Impersonate-Group"),
		one("Connection", "close, Impersonate-User"),
		one("Connection", "keep-alive", "Impersonate-User"),
		one("Connection", "Impersonate-User,,\tImpersonate-Group"),
		one("connection", "Impersonate-User"),
		one("Proxy-Connection", "Impersonate-User"),
		one("Keep-Alive", "Impersonate-User"),
		with(one("Connection", "Pipeops-User"), "Impersonate-User", "system:admin"),
		with(one("Connection", "Pipeops-Group, Authorization"), "Authorization", "Bearer x"),
		one("Authorization", "Bearer stolen"),
		one("authorization", "Bearer stolen"),
		one("Proxy-Authorization", "Basic eDp5"),
		one("Cookie", "session=1"),
		one("X-Remote-User", "system:admin"),
		one("X-Remote-Group", "system:masters"),
		one("X-Remote-Extra-Scopes", "all"),
		one("X-Forwarded-For", "127.0.0.1"),
		one("X-Forwarded-Host", "kubernetes"),
		one("X-Forwarded-Uri", "/api"),
		one("X-Original-Url", "/api/v1/secrets"),
		one("X-Rewrite-Url", "/api/v1/secrets"),
		one("X-Http-Method-Override", "DELETE"),
		one("Forwarded", "for=127.0.0.1"),
		one("Te", "trailers, Impersonate-User"),
		one("Trailer", "Impersonate-User"),
		one("Transfer-Encoding", "chunked, Impersonate-User"),
		one("Expect", "100-continue"),
		one("Host", "kubernetes.default"),
		one("Upgrade", "h2c"), // without Connection it is no upgrade
		one("Http2-Settings", "AAMAAABkAARAAAAAAAIAAAAA"),
		one("Sec-Websocket-Protocol", "base64url.bearer.authorization.k8s.io.eA"), // without an upgrade it is nothing
		one("Pipeops-Users", "pipeops:b"),
		one("pipeops-user", "pipeops:b"),
		one("PIPEOPS-GROUP", "system:masters"),
		one("Pipeops-Extra", "x"),
	}
}

func TestForgedHeadersDoNotGetThrough(t *testing.T) {
	corpus := forged()
	if len(corpus) < 40 {
		t.Fatalf("only %d forms", len(corpus))
	}
	allowed := []string{"Accept", "Accept-Encoding", "Content-Type", "User-Agent", "Impersonate-User", "Impersonate-Group"}
	for _, in := range corpus {
		in["Accept"] = []string{"application/json"}
		in["Content-Type"] = []string{"application/json"}
		in[wire.HeaderUser] = []string{"pipeops:alice"}
		in[wire.HeaderGroup] = []string{"pipeops:admins", "pipeops:dev"}
		out, upgrade, err := buildHeader(in)
		if err != nil || upgrade != "" {
			t.Errorf("%v: upgrade %q, %v", in, upgrade, err)
			continue
		}
		for name := range out {
			if !slices.Contains(allowed, name) {
				t.Errorf("%v: %s got through", in, name)
			}
		}
		if !slices.Equal(out["Impersonate-User"], []string{"pipeops:alice"}) || !slices.Equal(out["Impersonate-Group"], []string{"pipeops:admins", "pipeops:dev"}) {
			t.Errorf("%v became %v", in, out)
		}
	}
}

func TestUsersAndGroupsThatAreRefused(t *testing.T) {
	tests := []struct {
		name          string
		users, groups []string
	}{
		{"none", nil, nil},
		{"empty", []string{""}, nil},
		{"two", []string{"pipeops:a", "pipeops:b"}, nil},
		{"no prefix", []string{"alice"}, nil},
		{"system", []string{"system:admin"}, nil},
		{"prefix only", []string{"pipeops:"}, nil},
		{"prefix inside", []string{"system:pipeops:a"}, nil},
		{"other case", []string{"PIPEOPS:a"}, nil},
		{"list", []string{"pipeops:a,system:admin"}, nil},
		{"space", []string{"pipeops:a b"}, nil},
		{"line", []string{"pipeops:a\r\nImpersonate-Uid: 0"}, nil},
		{"not ASCII", []string{"pipeops:ä"}, nil},
		{"long", []string{"pipeops:" + strings.Repeat("a", 300)}, nil},
		{"masters", []string{"pipeops:a"}, []string{"system:masters"}},
		{"masters among others", []string{"pipeops:a"}, []string{"pipeops:admins", "system:masters"}},
		{"list of groups", []string{"pipeops:a"}, []string{"pipeops:admins,system:masters"}},
		{"empty group", []string{"pipeops:a"}, []string{""}},
		{"too many groups", []string{"pipeops:a"}, slices.Repeat([]string{"pipeops:g"}, wire.MaxGroups+1)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			in := http.Header{}
			if tt.users != nil {
				in[wire.HeaderUser] = tt.users
			}
			if tt.groups != nil {
				in[wire.HeaderGroup] = tt.groups
			}
			if out, _, err := buildHeader(in); err == nil {
				t.Errorf("became %v", out)
			}
		})
	}
}

func TestUpgrades(t *testing.T) {
	tests := []struct {
		name                 string
		connection, protocol []string
		want                 string
		bad                  bool
	}{
		{"none", nil, nil, "", false},
		{"spdy", []string{"Upgrade"}, []string{"SPDY/3.1"}, "SPDY/3.1", false},
		{"websocket", []string{"keep-alive, Upgrade"}, []string{"WebSocket"}, "websocket", false},
		{"lower case", []string{"upgrade"}, []string{"spdy/3.1"}, "SPDY/3.1", false},
		{"h2c", []string{"Upgrade, HTTP2-Settings"}, []string{"h2c"}, "", true},
		{"two", []string{"Upgrade"}, []string{"websocket, h2c"}, "", true},
		{"two lines", []string{"Upgrade"}, []string{"websocket", "SPDY/3.1"}, "", true},
		{"no protocol", []string{"Upgrade"}, nil, "", true},
		{"not asked", []string{"close"}, []string{"websocket"}, "", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			in := http.Header{wire.HeaderUser: {"pipeops:a"}, "Sec-Websocket-Protocol": {"v5.channel.k8s.io, base64url.bearer.authorization.k8s.io.dG9rZW4"}}
			if tt.connection != nil {
				in["Connection"] = tt.connection
			}
			if tt.protocol != nil {
				in["Upgrade"] = tt.protocol
			}
			out, got, err := buildHeader(in)
			if got != tt.want || (err != nil) != tt.bad {
				t.Fatalf("got %q, %v", got, err)
			}
			if err != nil {
				return
			}
			wantProtocols := []string(nil)
			if got != "" {
				wantProtocols = []string{"v5.channel.k8s.io"}
			}
			if p := out["Sec-Websocket-Protocol"]; !slices.Equal(p, wantProtocols) {
				t.Errorf("subprotocols %v", p)
			}
			if u := out.Get("Upgrade"); u != tt.want {
				t.Errorf("Upgrade: %q", u)
			}
		})
	}
}

func FuzzHeader(f *testing.F) {
	f.Add("Impersonate-User", "system:admin", "Upgrade, Impersonate-User", "websocket")
	f.Add("connection", "Impersonate-User", "close", "")
	f.Fuzz(func(t *testing.T, name, value, connection, protocol string) {
		in := http.Header{name: {value}, "Connection": {connection}, "Upgrade": {protocol}, wire.HeaderUser: {"pipeops:a"}}
		out, _, err := buildHeader(in)
		if err != nil {
			return
		}
		if got := out["Impersonate-User"]; len(got) != 1 || !strings.HasPrefix(got[0], wire.UserPrefix) {
			t.Errorf("%v became %v", in, out)
		}
		for n := range out {
			if strings.HasPrefix(http.CanonicalHeaderKey(n), "Impersonate-") && n != "Impersonate-User" || http.CanonicalHeaderKey(n) == "Authorization" {
				t.Errorf("%v became %v", in, out)
			}
		}
	})
}

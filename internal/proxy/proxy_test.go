package proxy

import (
	"net/url"
	"strings"
	"testing"
)

func TestAddresses(t *testing.T) {
	for text, want := range map[string]string{
		"proxy:3128": "http://proxy:3128", "http://user:pass@proxy:3128": "http://proxy:3128", "socks5://10.0.0.1": "socks5://10.0.0.1",
		"https://[2001:db8::1]:3128/": "https://[2001:db8::1]:3128", "user:pass@proxy": "http://proxy",
	} {
		p := Proxy{HTTP: text, HTTPS: text, NoProxy: "a, b"}
		if err := p.Check(); err != nil || p.Shown().HTTPS != want || p.Shown().HTTP != want || p.Shown().NoProxy != p.NoProxy {
			t.Errorf("%s: %v, %v", text, p.Shown(), err)
		}
		if p.Secrets() != strings.Contains(text, "@") {
			t.Errorf("%s: Secrets is %v", text, p.Secrets())
		}
	}
	for _, text := range []string{
		"ftp://user:s3cret@proxy", "http://", "http://user:s3cret@", "http://user:s3 cret@proxy", "http://user:s3cret%@proxy:3128",
		"http://user:s3cret@proxy:port", "http://user:s3cret'@proxy", "http://user:s3cret\n@proxy", "http://s3cret" + strings.Repeat("x", maxProxy),
	} {
		p := Proxy{HTTPS: text}
		err := p.Check()
		if err == nil || strings.Contains(err.Error(), "s3cret") || strings.Contains(p.Shown().HTTPS, "s3cret") {
			t.Errorf("%q: %v, shown as %q", text, err, p.Shown().HTTPS)
		}
		if _, err := p.Function()(&url.URL{Scheme: "https", Host: "mirror.test"}); err == nil || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%q: %v", text, err)
		}
	}
	for _, list := range []string{"a\nHTTP_PROXY=x", "a'", "$(id)", strings.Repeat("x", maxNoProxy+1)} {
		if err := (Proxy{HTTP: "proxy", NoProxy: list}).Check(); err == nil {
			t.Errorf("%.20q is taken", list)
		}
	}
	env := map[string]string{"HTTP_PROXY": "a", "http_proxy": "b", "https_proxy": "c", "no_proxy": "d"}
	get := func(name string) string { return env[name] }
	if p := FromEnvironment(get); p != (Proxy{"a", "c", "d"}) {
		t.Errorf("%v", p)
	}
	env["all_proxy"] = "e"
	if p := FromEnvironment(get); p != (Proxy{"a", "c", "d"}) {
		t.Errorf("ALL_PROXY is for what has none of its own: %v", p)
	}
	delete(env, "https_proxy")
	if p := FromEnvironment(get); p != (Proxy{"a", "e", "d"}) {
		t.Errorf("ALL_PROXY: %v", p)
	}
}

func TestNear(t *testing.T) {
	for address, want := range map[string]string{
		"10.1.2.3:8443": "10.1.2.3", "[fd00::1]:8443": "fd00::1", "[fe80::1%eth0]:1": "fe80::1", "8.8.8.8:443": "", "[2606:4700::1]:443": "", "gw:8443": "gw",
		"gw.lan.:8443": "gw.lan", "GW.home.arpa:1": "gw.home.arpa", "gw.example.com:1": "", "": "", "100.64.1.1:1": "100.64.1.1", "[::ffff:10.0.0.1]:1": "10.0.0.1",
	} {
		if got := Near(address); got != want {
			t.Errorf("%q: %q, not %q", address, got, want)
		}
	}
}

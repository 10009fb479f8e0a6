// Package proxy is through which proxies others are reached: by downloads, by the agent's way to its gateway, and by what it
// installs. It reads settings and makes no connection.
package proxy

import (
	"cmp"
	"errors"
	"net/url"
	"slices"
	"strings"

	"golang.org/x/net/http/httpproxy"
)

// Proxy says through which proxies others are reached. The zero value is none. The addresses may hold passwords: it is
// printed by [Proxy.Shown] only.
type Proxy struct {
	HTTP    string // http://[user:password@]host[:port]; also https:// and socks5://
	HTTPS   string // likewise, for what is asked by https
	NoProxy string // separated by commas: names, .domains, addresses and networks that are reached without it
}

const (
	maxProxy   = 1 << 10
	maxNoProxy = 16 << 10 // a long list of networks
)

// FromEnvironment reads HTTP_PROXY, HTTPS_PROXY and NO_PROXY, or the same in small letters. ALL_PROXY is for what has none of
// its own, as curl has it.
func FromEnvironment(getenv func(string) string) Proxy {
	get := func(name string) string {
		if v := getenv(name); v != "" {
			return v
		}
		return getenv(strings.ToLower(name))
	}
	all := get("ALL_PROXY")
	return Proxy{HTTP: cmp.Or(get("HTTP_PROXY"), all), HTTPS: cmp.Or(get("HTTPS_PROXY"), all), NoProxy: get("NO_PROXY")}
}

// Set reports whether there is a proxy.
func (p Proxy) Set() bool { return p.HTTP != "" || p.HTTPS != "" }

// Check finds what is no address of a proxy, and what could not be written to an environment file. The error does not
// tell the address, which may hold a password.
func (p Proxy) Check() error {
	for _, v := range [][2]string{{"http", p.HTTP}, {"https", p.HTTPS}} {
		if v[1] == "" {
			continue
		}
		if _, err := parseProxy(v[1]); err != nil {
			return errors.New("the " + v[0] + " proxy " + err.Error())
		}
	}
	if len(p.NoProxy) > maxNoProxy || strings.ContainsFunc(p.NoProxy, func(r rune) bool { return r <= ' ' && r != ' ' || r == 0x7f || strings.ContainsRune("'\"\\`$", r) }) {
		return errors.New("the list of what is reached without a proxy is no list of names, addresses and networks")
	}
	return nil
}

// parseProxy reads an address as httpproxy does: without a scheme it is http.
func parseProxy(text string) (*url.URL, error) {
	if len(text) > maxProxy {
		return nil, errors.New("has too long an address")
	}
	if !strings.Contains(text, "://") {
		text = "http://" + text
	}
	u, err := url.Parse(text)
	if err != nil || u.Hostname() == "" || strings.ContainsAny(text, "'\"\\` \t") {
		return nil, errors.New("has no address such as http://user:password@proxy.example:3128 (special characters in the password as %XX)")
	}
	if !slices.Contains([]string{"http", "https", "socks5", "socks5h"}, u.Scheme) {
		return nil, errors.New("is neither http, https nor socks5")
	}
	return u, nil
}

// Shown is the proxy for people: without user and password.
func (p Proxy) Shown() Proxy {
	return Proxy{HTTP: shown(p.HTTP), HTTPS: shown(p.HTTPS), NoProxy: p.NoProxy}
}

func shown(text string) string {
	if text == "" {
		return ""
	}
	u, err := parseProxy(text)
	if err != nil {
		return "(no address)"
	}
	return ShownURL(u)
}

// ShownURL is the address of a proxy for people: without user and password.
func ShownURL(u *url.URL) string { return u.Scheme + "://" + u.Host }

// Secrets reports whether an address holds a user or password.
func (p Proxy) Secrets() bool { return strings.Contains(p.HTTP+p.HTTPS, "@") }

// Function returns what tells the proxy for a URL, nil for none. Its errors do not tell the address. The loopback is never
// reached through a proxy.
func (p Proxy) Function() func(*url.URL) (*url.URL, error) {
	if err := p.Check(); err != nil { // an error of httpproxy would tell the address
		return func(*url.URL) (*url.URL, error) { return nil, err }
	}
	return (&httpproxy.Config{HTTPProxy: p.HTTP, HTTPSProxy: p.HTTPS, NoProxy: p.NoProxy}).ProxyFunc()
}

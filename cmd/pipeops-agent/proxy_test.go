package main

import (
	"strings"
	"testing"

	"github.com/pipeopshq/pipeops-agent/internal/config"
	"github.com/pipeopshq/pipeops-agent/internal/host"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

func TestProxies(t *testing.T) {
	caller := host.Proxy{HTTPS: "http://caller:3128", NoProxy: "lan"}
	got, err := proxies(withCallersProxy(config.Config{}, caller))
	if err != nil || got.HTTPS != caller.HTTPS || got.NoProxy != "lan" || got.Source == "" || got.HTTP != "" {
		t.Errorf("of the caller: %+v, %v", got, err)
	}
	given := config.Config{Proxy: config.Proxy{HTTP: "http://own", HTTPS: "http://own", Containerd: &config.Proxy{HTTPS: "http://images"}}}
	got, err = proxies(withCallersProxy(given, caller))
	if err != nil || got.HTTPS != "http://own" || got.Containerd.HTTPS != "http://images" || got.Source != "" {
		t.Errorf("given: %+v, %v", got, err)
	}
	given.Proxy.HTTP, given.Proxy.HTTPS = noProxy, noProxy
	if got, err = proxies(withCallersProxy(given, caller)); err != nil || !got.Off || got.Set() {
		t.Errorf("none: %+v, %v", got, err)
	}
	given.Proxy.HTTPS = "http://user:s3cret@"
	if _, err = proxies(given); !reason.Is(err, reason.Usage) || strings.Contains(err.Error(), "s3cret") {
		t.Errorf("err = %v", err)
	}
}

// TestDialer: the agent reaches its gateway through the proxy of the settings, or that of the machine, unless none is wanted.
func TestDialer(t *testing.T) {
	for _, name := range []string{"http_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY", "no_proxy", "NO_PROXY"} {
		t.Setenv(name, "")
	}
	t.Setenv("https_proxy", "http://machine.example:3128")
	for want, c := range map[string]config.Proxy{
		"http://machine.example:3128": {},
		"socks5://u:p@own:1080":       {HTTPS: "socks5://u:p@own:1080"},
		"":                            {HTTP: noProxy, HTTPS: noProxy},
	} {
		d, err := dialer(config.Config{Proxy: c})
		if err != nil || d.Proxy.HTTPS != want {
			t.Errorf("%+v: %+v, %v, want %q", c, d.Proxy, err, want)
		}
	}
	if _, err := dialer(config.Config{Proxy: config.Proxy{HTTPS: "gopher://u:s3cret@own"}}); !reason.Is(err, reason.Usage) || strings.Contains(err.Error(), "s3cret") {
		t.Errorf("err = %v", err)
	}
}

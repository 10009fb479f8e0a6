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

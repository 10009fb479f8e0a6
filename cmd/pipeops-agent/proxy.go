package main

import (
	"cmp"
	"strings"

	"github.com/pipeopshq/pipeops-agent/internal/config"
	"github.com/pipeopshq/pipeops-agent/internal/distro"
	"github.com/pipeopshq/pipeops-agent/internal/host"
	"github.com/pipeopshq/pipeops-agent/internal/proxy"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
	"github.com/pipeopshq/pipeops-agent/internal/transport"
)

// noProxy says that no proxy is to be used.
const noProxy = "none"

// withCallersProxy adds the proxy of who called sudo, which takes it out of the environment, so that it is kept for runs
// that nobody calls.
func withCallersProxy(c config.Config, caller host.Proxy) config.Config {
	if p := c.Proxy; p.HTTP == "" && p.HTTPS == "" && (caller.HTTP != "" || caller.HTTPS != "") {
		c.Proxy.HTTP, c.Proxy.HTTPS, c.Proxy.Found = caller.HTTP, caller.HTTPS, "environment of the caller"
		if c.Proxy.NoProxy == "" {
			c.Proxy.NoProxy = caller.NoProxy
		}
	}
	return c
}

// proxies are those of the settings.
func proxies(c config.Config) (distro.Proxies, error) {
	if c.Proxy.HTTP == noProxy && c.Proxy.HTTPS == noProxy {
		return distro.Proxies{Off: true}, nil
	}
	p := distro.Proxies{Proxy: proxyOf(c.Proxy), Source: c.Proxy.Found}
	if c.Proxy.Containerd != nil {
		p.Containerd = proxyOf(*c.Proxy.Containerd)
	}
	if err := p.Check(); err != nil {
		return p, reason.New(reason.Usage, err.Error(), nil).WithFix("mend the proxy in config.yaml, PIPEOPS_PROXY or HTTP(S)_PROXY, or give none")
	}
	return p, nil
}

// dialer reaches the gateway as the settings say, or else through the proxy that the machine has.
func dialer(c config.Config) (*transport.Dialer, error) {
	given, err := proxies(c)
	if err != nil {
		return nil, err
	}
	if given.Off {
		return &transport.Dialer{}, nil
	}
	p := given.Proxy
	if found := host.ProxyOfMachine(); !p.Set() {
		p.HTTP, p.HTTPS, p.NoProxy = found.HTTP, found.HTTPS, cmp.Or(p.NoProxy, found.NoProxy)
	}
	return &transport.Dialer{Proxy: p}, nil
}

func proxyOf(p config.Proxy) proxy.Proxy {
	return proxy.Proxy{HTTP: p.HTTP, HTTPS: p.HTTPS, NoProxy: p.NoProxy}
}

// shownProxy is a proxy in one line, without user and password.
func shownProxy(p config.Proxy) string {
	if p.HTTP == "" && p.HTTPS == "" && p.NoProxy == "" {
		return ""
	}
	full := proxyOf(p)
	shown := full.Shown()
	text := strings.Trim(shown.HTTP+" "+shown.HTTPS, " ")
	if shown.HTTP == shown.HTTPS {
		text = shown.HTTP
	}
	if full.Secrets() {
		text += " (with a password)"
	}
	if p.NoProxy != "" {
		text += " but for " + p.NoProxy
	}
	return text
}

func containerdProxy(p config.Proxy) config.Proxy {
	if p.Containerd == nil {
		return config.Proxy{}
	}
	return *p.Containerd
}

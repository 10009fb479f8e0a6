package bootstrap

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"testing"

	"github.com/pipeopshq/pipeops-agent/internal/gateway/gatewaytest"
	"github.com/pipeopshq/pipeops-agent/internal/proxy"
	"github.com/pipeopshq/pipeops-agent/internal/proxy/proxytest"
	"github.com/pipeopshq/pipeops-agent/internal/transport"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

// TestBehindAProxy: an install whose only way out is a proxy enrols, tells its story, and an uninstall leaves.
func TestBehindAProxy(t *testing.T) {
	g := gatewaytest.Start(t)
	p := proxytest.HTTP(t, proxytest.Settings{User: "user", Password: "s3cret", Names: map[string]string{"gateway.example:8443": g.Address}})
	through := &transport.Dialer{Proxy: proxy.Proxy{HTTPS: "http://user:s3cret@" + p.Address}, Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
		if address != p.Address {
			return nil, fmt.Errorf("%s is not to be had", address)
		}
		return (&net.Dialer{}).DialContext(ctx, network, address)
	}}
	o := options(t, "debian12-vm")
	o.Gateway, o.Transport = "gateway.example:8443", through
	o.Token = func() (wire.Token, error) { return g.Token(""), nil }
	s := &story{show: func(wire.Event) {}, log: slog.New(slog.DiscardHandler), through: o.Transport}
	s.tell(event("step", "one", nil))
	id, err := o.enrolled(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	s.close(t.Context(), nil)
	if events, err := g.Admin.Events(t.Context(), id.Cluster()); err != nil || len(events) != 1 || events[0].Message != "one" {
		t.Errorf("the gateway heard %+v, %v", events, err)
	}
	var told []string
	u := UninstallOptions{Transport: through, Log: o.Log, Events: func(e wire.Event) { told = append(told, e.Message) }}
	u.leave(t.Context(), id, nil, false)
	if len(told) != 1 || !strings.Contains(told[0], "has forgotten cluster "+id.Cluster()) {
		t.Errorf("told %q", told)
	}
	if list, err := g.Admin.Clusters(t.Context()); err != nil || len(list) != 0 {
		t.Errorf("%+v, %v", list, err)
	}
}

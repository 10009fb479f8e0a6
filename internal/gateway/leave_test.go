package gateway_test

import (
	"bytes"
	"context"
	"errors"
	"net"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/gateway/gatewaytest"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
	"github.com/pipeopshq/pipeops-agent/internal/transport"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

// TestLeave wants a cluster that has left to be forgotten, its name to be free, and its certificate to be refused. To leave
// twice is no error.
func TestLeave(t *testing.T) {
	g := gatewaytest.Start(t)
	id, err := enroll(t, g, t.TempDir(), "shop", g.Token(""))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := g.Admin.CreateAccess(t.Context(), "shop", "", time.Hour); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := id.Leave(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
	}
	if list, err := g.Admin.Clusters(t.Context()); err != nil || len(list) != 0 {
		t.Errorf("clusters %v, %v", list, err)
	}
	if users, err := g.Admin.Users(t.Context()); err != nil || len(users) != 1 || users[0].Tokens != 0 {
		t.Errorf("users %v, %v", users, err)
	}
	again, err := enroll(t, g, t.TempDir(), "shop", g.Token(""))
	if err != nil || again.ClusterID() == id.ClusterID() {
		t.Errorf("the name is not free: %v", err)
	}
	if err := id.Leave(t.Context(), nil); err != nil { // the old one knows nothing of the new
		t.Error(err)
	}
	if list, err := g.Admin.Clusters(t.Context()); err != nil || len(list) != 1 {
		t.Errorf("the old certificate has removed the new cluster: %v, %v", list, err)
	}
}

// TestLeaveWithAnExpiredCertificate is a machine that was off for a week.
func TestLeaveWithAnExpiredCertificate(t *testing.T) {
	g := gatewaytest.StartAt(t, func() time.Time { return time.Now().Add(-7 * 24 * time.Hour) })
	id, err := enroll(t, g, t.TempDir(), "shop", g.Token(""))
	if err != nil {
		t.Fatal(err)
	}
	g.Stop()
	g.Now = time.Now
	g.Start()
	if err := id.Leave(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if list, err := g.Admin.Clusters(t.Context()); err != nil || len(list) != 0 {
		t.Errorf("clusters %v, %v", list, err)
	}
}

// TestRemovedWhileItConnects: a cluster that is removed after its agent was let in, and before it is known to be connected, is
// not connected in the end.
func TestRemovedWhileItConnects(t *testing.T) {
	var g *gatewaytest.Gateway
	var armed atomic.Bool
	g = gatewaytest.StartAt(t, func() time.Time {
		// once the cluster was found, it is asked how old its certificate is; so does the handshake before
		if asks := make([]byte, 4<<10); armed.Load() && bytes.Contains(asks[:runtime.Stack(asks, false)], []byte(").admit(")) && armed.CompareAndSwap(true, false) {
			if _, err := g.Admin.RemoveCluster(context.Background(), "shop", false); err != nil {
				t.Error(err)
			}
		}
		return time.Now()
	})
	id, err := enroll(t, g, t.TempDir(), "shop", g.Token(""))
	if err != nil {
		t.Fatal(err)
	}
	armed.Store(true)
	a := runAgent(t, id, nil)
	a.reason(g, string(reason.IdentityRevoked))
}

func TestLeaveWithoutAGateway(t *testing.T) {
	g := gatewaytest.Start(t)
	id, err := enroll(t, g, t.TempDir(), "shop", g.Token(""))
	if err != nil {
		t.Fatal(err)
	}
	g.Stop()
	if err := id.Leave(t.Context(), nil); !reason.Is(err, reason.GatewayUnreachable) {
		t.Errorf("got %v", err)
	}
}

// TestLeaveByAnotherGateway: that the gateway of the identity is gone is no reason to stay in the books where another one is known of.
func TestLeaveByAnotherGateway(t *testing.T) {
	g := gatewaytest.Start(t)
	id := mustEnroll(t, g, "shop")
	const other = "192.0.2.7:8443"
	if err := id.KeepGateways([]wire.GatewayAddress{{ID: strings.Repeat("b", 16), Addresses: []string{id.Gateway(), other}}}); err != nil {
		t.Fatal(err)
	}
	through := &transport.Dialer{Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
		if address != other {
			return nil, errors.New("the gateway is gone")
		}
		var d net.Dialer
		return d.DialContext(ctx, network, g.Address)
	}}
	if err := id.Leave(t.Context(), through); err != nil {
		t.Fatal(err)
	}
	if list, err := g.Admin.Clusters(t.Context()); err != nil || len(list) != 0 {
		t.Errorf("clusters %v, %v", list, err)
	}
	if err := id.KeepGateways([]wire.GatewayAddress{{ID: strings.Repeat("c", 16), Addresses: []string{"192.0.2.8:8443"}}}); err != nil {
		t.Fatal(err)
	}
	if err := id.Leave(t.Context(), through); !reason.Is(err, reason.GatewayUnreachable) {
		t.Errorf("got %v", err)
	}
}

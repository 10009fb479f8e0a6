package gateway_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/gateway/gatewaytest"
	"github.com/pipeopshq/pipeops-agent/internal/identity"
	"github.com/pipeopshq/pipeops-agent/internal/proxy/proxytest"
	"github.com/pipeopshq/pipeops-agent/internal/transport"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
	"github.com/pipeopshq/pipeops-agent/internal/wsconn"
)

// httpsOnly is the variable by which a test has its agents behind a firewall that passes nothing but HTTPS.
const httpsOnly = "PIPEOPS_TEST_HTTPS_ONLY"

// way is how the agent of a test reaches its gateway; nil is directly.
func way(t testing.TB, id *identity.Identity) *transport.Dialer {
	t.Helper()
	if os.Getenv(httpsOnly) == "" {
		return nil
	}
	wall := proxytest.Drop(t, id.Gateway(), wire.ALPN)
	known := fmt.Sprintf(`{"version":1,"gateways":[{"gateway":%q,"way":"WebSocket","tried":%q}]}`, id.Gateway(), time.Now().UTC().Format(time.RFC3339))
	file := filepath.Join(t.TempDir(), transport.MemoryFile)
	if err := os.WriteFile(file, []byte(known), 0o600); err != nil { // so that no time goes by for the other way
		t.Fatal(err)
	}
	return &transport.Dialer{Memory: file, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		gateway, err := (&net.Dialer{}).DialContext(ctx, network, id.Gateway())
		if err != nil {
			return nil, err // where nobody listens nobody is let through
		}
		_ = gateway.Close()
		return (&net.Dialer{}).DialContext(ctx, network, wall.Address)
	}}
}

// TestOverWebSocket: whatever a tunnel does it does on a WebSocket, too.
func TestOverWebSocket(t *testing.T) {
	t.Setenv(httpsOnly, "yes")
	for name, test := range map[string]func(*testing.T){
		"up, down, up":                          TestTunnelUpDownUp,
		"comes back after a cut":                TestTunnelComesBackAfterACut,
		"the gateway says that it stops":        TestGatewaySaysThatItStops,
		"the newest session wins":               TestNewestSessionWins,
		"desired state":                         TestDesiredState,
		"an expired certificate is renewed":     TestExpiredCertificateIsRenewedNotFatal,
		"a revoked machine is told":             TestRevokedMachineKeepsItsIdentityAndTriesOn,
		"removed while it connects":             TestRemovedWhileItConnects,
		"requests are the user's":               TestKubeRequestIsTheUsers,
		"many requests at a time":               TestKubeManyRequestsAtATime,
		"a watch is not buffered":               TestKubeWatchIsNotBufferedAndEndsWithItsUser,
		"a watch that is cut is an error":       TestKubeCutWatchIsAnError,
		"upgrades":                              TestKubeUpgrade,
		"pages of projects":                     TestProjectPages,
		"a gateway's refusal of a join reaches": TestJoinRefusals,
	} {
		t.Run(name, test)
	}
}

// upgrade asks for a tunnel on a WebSocket, with or without a client certificate.
func upgrade(t *testing.T, config *tls.Config, address string) (*wsconn.Conn, error) {
	t.Helper()
	conn, err := (&tls.Dialer{Config: config}).DialContext(t.Context(), "tcp", address)
	if err != nil {
		return nil, err
	}
	return wsconn.Dial(t.Context(), conn, wire.GatewayName, wire.PathTunnel, wire.Subprotocol, &wsconn.Buffers{})
}

// TestAWebSocketNeedsACertificateToo: HTTPS is for everybody; a tunnel on it is not.
func TestAWebSocketNeedsACertificateToo(t *testing.T) {
	g := gatewaytest.Start(t)
	id := mustEnroll(t, g, "shop")
	good := id.TLS("http/1.1")
	bare := good.Clone()
	bare.GetClientCertificate = nil
	if conn, err := upgrade(t, bare, g.Address); err == nil {
		_ = conn.Close()
		t.Error("no certificate is needed")
	} else {
		has(t, err.Error(), "a tunnel needs a client certificate")
	}
	foreign := good.Clone()
	foreign.GetClientCertificate = mustEnroll(t, gatewaytest.Start(t), "shop").TLS().GetClientCertificate
	if conn, err := upgrade(t, foreign, g.Address); err == nil {
		_ = conn.Close()
		t.Error("the certificate of another gateway will do")
	}
	page := good.Clone()
	response, err := (&http.Client{Transport: &http.Transport{TLSClientConfig: page, DisableKeepAlives: true}}).Do(pageRequest(t, g.Address))
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	if response.StatusCode != http.StatusForbidden {
		t.Errorf("a page in a browser gets %s", response.Status)
	}
	conn, err := upgrade(t, good, g.Address)
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.Close()
}

// pageRequest is what a page in a browser could send.
func pageRequest(t *testing.T, address string) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+address+wire.PathTunnel, nil)
	if err != nil {
		t.Fatal(err)
	}
	for k, v := range map[string]string{"Connection": "Upgrade", "Upgrade": "websocket", "Sec-Websocket-Version": "13", "Origin": "https://evil.example",
		"Sec-Websocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==", "Sec-Websocket-Protocol": wire.Subprotocol} {
		r.Header.Set(k, v)
	}
	return r
}

// TestWhoSaysNothingIsNoAgent: a gateway that stops does not wait for connections on which nothing was said.
func TestWhoSaysNothingIsNoAgent(t *testing.T) {
	g := gatewaytest.Start(t)
	id := mustEnroll(t, g, "shop")
	for _, protocol := range []string{wire.ALPN, "http/1.1"} {
		var conn net.Conn
		var err error
		if protocol == wire.ALPN {
			conn, err = (&tls.Dialer{Config: id.TLS(protocol)}).DialContext(t.Context(), "tcp", g.Address)
		} else {
			conn, err = upgrade(t, id.TLS(protocol), g.Address)
		}
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
	}
	began := time.Now()
	g.Stop()
	if took := time.Since(began); took > 5*time.Second { // waiting for a first word would take 10 s
		t.Errorf("it took %s", took)
	}
}

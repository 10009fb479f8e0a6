package gateway_test

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"golang.org/x/net/http2"

	"github.com/pipeopshq/pipeops-agent/internal/gateway/gatewaytest"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

// connectTo connects to the gateway as the user and sends a request as it stands.
func (r *road) connectTo(t *testing.T, path, header, body string) (*bufio.Reader, net.Conn) {
	t.Helper()
	w := witness{gateway: r.gateway, user: r.user}
	conn := w.dial(t, "http/1.1")
	text := "POST " + wire.PathClusters + "/shop" + path + " HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer " + r.user.token + "\r\n" + header + "\r\n" + body
	if _, err := io.WriteString(conn, text); err != nil {
		t.Fatal(err)
	}
	return bufio.NewReader(conn), conn
}

// said is the path at which the API server answers what the test wants.
func said(answer string) string { return "/say?answer=" + url.QueryEscape(answer) }

const (
	askSPDY = "Connection: Upgrade\r\nUpgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: v4.channel.k8s.io\r\nX-Stream-Protocol-Version: v3.channel.k8s.io\r\n"
	askWS   = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Protocol: v5.channel.k8s.io, v4.channel.k8s.io\r\n"
	askPF   = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Protocol: SPDY/3.1+portforward.k8s.io\r\n"
)

func switched(lines ...string) string {
	return "HTTP/1.1 101 Switching Protocols\r\n" + strings.Join(append(lines, ""), "\r\n") + "\r\n"
}

// TestUpgradesThatDisagree: what is spliced is what was asked for, in protocol and subprotocol; all else is refused, by which end ever.
func TestUpgradesThatDisagree(t *testing.T) {
	road := buildOn(t, false) // over HTTP/2 no server can switch
	spdy, ws := switched("Connection: Upgrade", "Upgrade: SPDY/3.1", "X-Stream-Protocol-Version: v4.channel.k8s.io"), switched("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Protocol: v5.channel.k8s.io")
	for _, tt := range []struct {
		name, ask, body, answer string
		status                  int
	}{
		{"spdy", askSPDY, "", spdy, 101},
		{"websocket", askWS, "", ws, 101},
		{"port-forward in a websocket", askPF, "", switched("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Protocol: SPDY/3.1+portforward.k8s.io"), 101},
		{"a subprotocol is not chosen", askWS, "", switched("Connection: Upgrade", "Upgrade: websocket"), 101},
		{"another case", strings.ToLower(askSPDY), "", strings.Replace(spdy, "Upgrade: SPDY", "upgrade: spdy", 1), 101},
		{"not switched", askWS, "", "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno", 403},

		{"another protocol", askSPDY, "", ws, 502},
		{"the other way", askWS, "", spdy, 502},
		{"h2c", askSPDY, "", switched("Connection: Upgrade", "Upgrade: h2c"), 502},
		{"two protocols", askSPDY, "", switched("Connection: Upgrade", "Upgrade: SPDY/3.1, websocket"), 502},
		{"no protocol", askSPDY, "", switched("Connection: Upgrade"), 502},
		{"no connection", askSPDY, "", switched("Upgrade: SPDY/3.1"), 502},
		{"a subprotocol that was not offered", askWS, "", switched("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Protocol: v9.channel.k8s.io"), 502},
		{"two subprotocols", askWS, "", switched("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Protocol: v5.channel.k8s.io, v4.channel.k8s.io"), 502},
		{"a subprotocol unasked", "Connection: Upgrade\r\nUpgrade: websocket\r\n", "", ws, 502},
		{"a stream version that was not offered", askSPDY, "", switched("Connection: Upgrade", "Upgrade: SPDY/3.1", "X-Stream-Protocol-Version: v9"), 502},
		{"switched unasked", "", "", spdy, 502},
		{"switched for an upgrade that Connection does not name", "Upgrade: SPDY/3.1\r\n", "", spdy, 502},
		{"switched for a plain body", "Content-Length: 2\r\n", "{}", spdy, 502},

		{"h2c is asked for", "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n", "", spdy, 400},
		{"TLS is asked for", "Connection: Upgrade\r\nUpgrade: TLS/1.3\r\n", "", spdy, 400},
		{"a body before it", askSPDY + "Content-Length: 2\r\n", "{}", spdy, 400},
		{"chunks before it", askSPDY + "Transfer-Encoding: chunked\r\n", "2\r\n{}\r\n0\r\n\r\n", spdy, 400},
	} {
		reader, conn := road.connectTo(t, said(tt.answer), tt.ask, tt.body)
		response, err := http.ReadResponse(reader, nil)
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		if response.StatusCode != tt.status {
			raw, _ := io.ReadAll(io.LimitReader(response.Body, 500))
			t.Errorf("%s: %s %s", tt.name, response.Status, raw)
		}
		if tt.status == http.StatusSwitchingProtocols { // and now it is a connection
			echo := make([]byte, 5)
			if _, err := io.WriteString(conn, "hello"); err != nil {
				t.Errorf("%s: %v", tt.name, err)
			} else if _, err := io.ReadFull(reader, echo); err != nil || string(echo) != "hello" {
				t.Errorf("%s: %q, %v", tt.name, echo, err)
			}
		}
		_ = response.Body.Close()
		_ = conn.Close()
	}
}

// TestUpgradeEndsAtOnce: an end of either side is one of the other, after all that was said before.
func TestUpgradeEndsAtOnce(t *testing.T) {
	road := build(t)
	last := strings.Repeat("the last words ", 2_000)
	for name, ask := range map[string]string{"spdy": askSPDY, "websocket": askWS} {
		protocol := "SPDY/3.1"
		if ask == askWS {
			protocol = "websocket"
		}
		answer := switched("Connection: Upgrade", "Upgrade: "+protocol)
		// the API server goes
		reader, conn := road.connectTo(t, said(answer+last)+"&close=1", ask, "")
		if response, err := http.ReadResponse(reader, nil); err != nil || response.StatusCode != http.StatusSwitchingProtocols {
			t.Fatalf("%s: %+v, %v", name, response, err)
		}
		if got, err := io.ReadAll(reader); err != nil || string(got) != last {
			t.Errorf("%s: %d bytes of %d, %v", name, len(got), len(last), err)
		}
		_ = conn.Close()
		// the user goes
		reader, conn = road.connectTo(t, said(answer), ask, "")
		if response, err := http.ReadResponse(reader, nil); err != nil || response.StatusCode != http.StatusSwitchingProtocols {
			t.Fatalf("%s: %+v, %v", name, response, err)
		}
		if _, err := io.WriteString(conn, "bye"); err != nil {
			t.Fatal(err)
		}
		_ = conn.Close()
		if got := <-road.server.heard; got != "bye" {
			t.Errorf("%s: the API server heard %q", name, got)
		}
	}
}

// TestHTTP2WithoutTLS: neither port nor streams take HTTP/2 for what they know as HTTP/1.1.
func TestHTTP2WithoutTLS(t *testing.T) {
	w := newWitness(t)
	if answer := w.say(t, http2.ClientPreface); strings.Contains(answer, "101") || !strings.HasPrefix(answer, "HTTP/1.1 4") && !strings.HasPrefix(answer, "HTTP/1.1 5") {
		t.Errorf("the gateway answers %q", answer)
	}
	// after a request of the user's own, on the same connection
	var frames bytes.Buffer
	_ = http2.NewFramer(&frames, nil).WriteSettings()
	text := "GET " + wire.PathClusters + "/shop/version HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer " + w.user.token + "\r\n\r\n" + http2.ClientPreface + frames.String()
	answer := w.say(t, text)
	asked, _ := w.take()
	if len(asked) != 1 || asked[0].URL.Path != "/version" || strings.Count(answer, "HTTP/1.1 200") != 1 {
		t.Errorf("asked %d times: %q", len(asked), answer)
	}
}

// TestAnAgentThatLiesOfAnUpgrade: the gateway does not splice what an agent calls a switch, and is none that was asked for.
func TestAnAgentThatLiesOfAnUpgrade(t *testing.T) {
	g := gatewaytest.Start(t)
	says := make(chan string, 1)
	a := runAgent(t, mustEnroll(t, g, "shop"), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") == "" {
			http.NotFound(w, r)
			return
		}
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		_, _ = io.WriteString(conn, <-says)
		_ = conn.Close()
	}))
	defer a.stop()
	g.WaitConnected("shop", true)
	road := &road{gateway: g, user: login(t, g, "shop")}
	for _, tt := range []struct {
		name, ask, answer string
		status            int
	}{
		{"as it was asked", askWS, switched("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Protocol: v4.channel.k8s.io"), http.StatusSwitchingProtocols},
		{"another subprotocol", askWS, switched("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Protocol: v1.evil.k8s.io"), http.StatusServiceUnavailable},
		{"another protocol", askWS, switched("Connection: Upgrade", "Upgrade: SPDY/3.1", "X-Stream-Protocol-Version: v4.channel.k8s.io"), http.StatusServiceUnavailable},
		{"another subprotocol of SPDY", askSPDY, switched("Connection: Upgrade", "Upgrade: SPDY/3.1", "X-Stream-Protocol-Version: v5.channel.k8s.io"), http.StatusServiceUnavailable},
	} {
		says <- tt.answer
		reader, _ := road.connectTo(t, "/api/v1/namespaces/a/pods/b/exec", tt.ask, "")
		response, err := http.ReadResponse(reader, nil)
		if err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		_ = response.Body.Close()
		if response.StatusCode != tt.status {
			t.Errorf("%s: %s", tt.name, response.Status)
		}
	}
}

package apiproxy

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

// switches is an API server that switches to the WebSocket of Kubernetes, with a subprotocol of its own choice.
type switches string

func (s switches) RoundTrip(r *http.Request) (*http.Response, error) {
	return &http.Response{
		StatusCode: http.StatusSwitchingProtocols, ProtoMajor: 1, ProtoMinor: 1, Request: r, Body: http.NoBody,
		Header: http.Header{"Connection": {"Upgrade"}, "Upgrade": {"websocket"}, "Sec-Websocket-Protocol": {string(s)}},
	}, nil
}

// TestUpgradesAreJudgedAtThisEnd: whatever the gateway lets through, no body comes before an upgrade, and no subprotocol after it that nobody
// has asked for.
func TestUpgradesAreJudgedAtThisEnd(t *testing.T) {
	base, err := url.Parse("https://kubernetes.example")
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		body, chosen string
		status       int
		want         string
	}{
		"a body before it":    {"GET / HTTP/1.1\r\n\r\n", "v5.channel.k8s.io", http.StatusBadRequest, errUpgrade.Error()},
		"another subprotocol": {"", "v4.channel.k8s.io", http.StatusBadGateway, "was not asked for"},
	} {
		proxy := New(Options{Log: slog.New(slog.DiscardHandler), Upstream: func(context.Context) (Upstream, error) {
			return Upstream{Base: base, HTTP: switches(c.chosen), Upgrade: switches(c.chosen)}, nil
		}})
		r := httptest.NewRequest(http.MethodPost, wire.PathAgentKube+"/api/v1/namespaces/shop/pods/web/exec?command=sh", strings.NewReader(c.body))
		r.Header = http.Header{wire.HeaderUser: {"pipeops:alice"}, "Connection": {"Upgrade"}, "Upgrade": {"websocket"}, "Sec-Websocket-Protocol": {"v5.channel.k8s.io"}}
		w := httptest.NewRecorder()
		proxy.ServeHTTP(w, r)
		if w.Code != c.status || !strings.Contains(w.Body.String(), c.want) {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
		}
	}
}

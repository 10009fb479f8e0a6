package tunnel

import (
	"bytes"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/pipeopshq/pipeops-agent/internal/health"
	"github.com/pipeopshq/pipeops-agent/internal/identity"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

// FuzzGatewaySays: whatever a gateway says of itself and others, an agent knows a bounded number of addresses that can be dialled, that
// of its identity among them, waits no longer than a minute, and shows nothing that steers a terminal.
func FuzzGatewaySays(f *testing.F) {
	const gateways = `"gateways":[{"id":"0123456789abcdef","addresses":["a.example:8443","[::1]:1","b:0",""]},{"id":"../","addresses":["c:1"]}]`
	f.Add(byte(0), 200, []byte(`{"gateway":"0123456789abcdef","epoch":9223372036854775807,"held":true,`+gateways+`}`))
	f.Add(byte(0), 403, []byte(`{"code":"IDENTITY_REVOKED","message":"a\u001b[2J\u009b"}`))
	f.Add(byte(1), 0, []byte(`{"code":"GATEWAY_STOPPING","message":"\u001b","after_ms":9223372036854775807,`+gateways+`}`))
	f.Add(byte(1), 0, []byte(`{"code":"NOT_OURS\u001b[31m","after_ms":-1}`))
	f.Add(byte(2), 0, []byte(`{`+gateways+`}`))
	f.Fuzz(func(t *testing.T, which byte, status int, body []byte) {
		const own = "gateway.example:8443"
		tun := &tunnel{Options: Options{Identity: &identity.Identity{}, Log: slog.New(slog.DiscardHandler), Health: &health.Tracker{}}, epoch: 7}
		l := &line{address: own, orders: make(chan order, 8), cancel: func() {}, up: true}
		bye, news := make(chan wire.Goodbye, 1), make(chan wire.News, 1)
		var shown error
		switch which % 3 {
		case 0:
			welcome, err := client(200+(status%400+400)%400, bytes.NewReader(body)).hello(t.Context(), wire.Hello{})
			if err != nil {
				shown = err
				break
			}
			tun.welcomed(t.Context(), l, welcome)
		case 1:
			tun.handler(bye, news, make(chan struct{}, 1)).ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(t.Context(), http.MethodPost, wire.PathAgentGoodbye, bytes.NewReader(body)))
			select {
			case e := <-bye:
				tun.said(l, e)
				shown = tun.why(l.address, errors.New("EOF"), &e.Error)
				if wait := after(e); wait < 0 || wait > wire.MaxAfterMS*time.Millisecond {
					t.Errorf("waits %s", wait)
				}
			default:
			}
		case 2:
			tun.handler(bye, news, make(chan struct{}, 1)).ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(t.Context(), http.MethodPost, wire.PathAgentNews, bytes.NewReader(body)))
			select {
			case n := <-news:
				tun.learn(n.Gateways)
			default:
			}
		}
		if shown != nil && strings.ContainsFunc(shown.Error(), unicode.IsControl) {
			t.Errorf("shows %q", shown)
		}
		if tun.epoch < 7 {
			t.Errorf("the epoch is %d again", tun.epoch)
		}
		list := tun.addresses(time.Now())
		if len(list) == 0 || len(list) > 1+wire.MaxGateways*wire.MaxAddresses {
			t.Errorf("%d addresses", len(list))
		}
		for _, a := range list {
			if a != "" && !wire.ValidAddress(a) { // "" is that of the identity, which is none
				t.Errorf("would dial %q", a)
			}
		}
		for _, until := range tun.avoid {
			if time.Until(until) > avoidFor {
				t.Errorf("avoids an address until %s", until)
			}
		}
	})
}

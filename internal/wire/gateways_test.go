package wire

import (
	"encoding/json"
	"math"
	"net"
	"strings"
	"testing"
	"time"
)

func TestGatewayURIsAreNoMachines(t *testing.T) {
	const id = "0123456789abcdef"
	if got, ok := ParseGatewayURI(GatewayURI(id)); !ok || got != id {
		t.Errorf("%q, %v", got, ok)
	}
	if _, _, ok := ParseMachineURI(GatewayURI(id)); ok {
		t.Error("a gateway passes for a machine")
	}
	for _, uri := range []string{MachineURI(id, ""), MachineURI(id, id), GatewayURI(""), GatewayURI(id + "/x"), "https://gateway/" + id} {
		if _, ok := ParseGatewayURI(uri); ok {
			t.Errorf("%s passes for a gateway", uri)
		}
	}
}

func TestAddresses(t *testing.T) {
	for address, want := range map[string]bool{
		"gw1.example:8443": true, "10.0.0.1:1": true, "[2001:db8::1]:65535": true,
		"gw1.example": false, ":8443": false, "gw1:0": false, "gw1:+1": false, "gw1:65536": false, "gw1:08443": false, "gw 1:8443": false,
		"gw1/x:8443": false, "user@gw1:8443": false, strings.Repeat("a", 254) + ":1": false, "": false,
	} {
		if got := ValidAddress(address); got != want {
			t.Errorf("%q: %v", address, got)
		}
	}
}

func TestKeepAliveTime(t *testing.T) {
	for said, want := range map[int]time.Duration{0: 25 * time.Second, -1: 25 * time.Second, 1: 25 * time.Second, 66: 66 * time.Second, math.MaxInt: 100 * time.Second} {
		if got := (Welcome{KeepAlive: said}).KeepAliveTime(); got != want {
			t.Errorf("%d: %s, want %s", said, got, want)
		}
	}
}

// FuzzKnown: whatever a gateway sends, what is kept of it is bounded and can be dialled.
func FuzzKnown(f *testing.F) {
	f.Add([]byte(`{"gateway":"0123456789abcdef","epoch":3,"gateways":[{"id":"0123456789abcdef","addresses":["a:1","b:2"]},{"id":"x"}]}`))
	f.Add([]byte(`{"gateways":[{"id":"0123456789abcdef","addresses":["a:1","a:1","a:1","a:1","a:1"]}]}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		var w Welcome
		if json.Unmarshal(raw, &w) != nil {
			return
		}
		list := Known(w.Gateways)
		if len(list) > MaxGateways {
			t.Errorf("%d gateways", len(list))
		}
		for _, g := range list {
			if len(g.Addresses) == 0 || len(g.Addresses) > MaxAddresses || !ValidID(g.ID) {
				t.Errorf("%+v", g)
			}
			for _, a := range g.Addresses {
				if _, _, err := net.SplitHostPort(a); err != nil {
					t.Error(err)
				}
			}
		}
	})
}

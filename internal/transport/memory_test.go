package transport

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/proxy"
)

// order is the ways to a gateway as they are tried now.
func (d *Dialer) order(t *testing.T, address string) string {
	t.Helper()
	ways, err := d.ways(address)
	if err != nil {
		t.Fatal(err)
	}
	list, _ := d.ordered(address, ways)
	var names []string
	for _, w := range list {
		names = append(names, strings.ReplaceAll(w.String(), " through http://proxy:1", "*"))
	}
	return strings.Join(names, " ")
}

// made is a connection by one of the ways as they are now.
func (d *Dialer) made(t *testing.T, address, name string) *Conn {
	t.Helper()
	ways, _ := d.ways(address)
	list, fresh := d.ordered(address, ways)
	for _, w := range list {
		if w.String() == name {
			here, _ := net.Pipe()
			return &Conn{Conn: here, way: w, address: address, dialer: d, fresh: fresh}
		}
	}
	t.Fatalf("there is no way %s", name)
	return nil
}

func TestWhatIsRemembered(t *testing.T) {
	now := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	file := filepath.Join(t.TempDir(), "transport.json")
	with := func() *Dialer {
		return &Dialer{Proxy: proxy.Proxy{HTTPS: "http://user:s3cret@proxy:1"}, Memory: file, Now: func() time.Time { return now }}
	}
	const gateway = "gateway.example:8443"
	check := func(d *Dialer, address, want string) {
		t.Helper()
		if got := d.order(t, address); got != want {
			t.Errorf("%s: %q, want %q", address, got, want)
		}
	}
	check(with(), gateway, "TLS* WebSocket* TLS WebSocket")
	check(with(), "10.0.0.1:8443", "TLS WebSocket TLS* WebSocket*")

	d := with()
	d.made(t, gateway, "TLS").Good()
	check(d, gateway, "TLS TLS* WebSocket* WebSocket")
	check(with(), gateway, "TLS TLS* WebSocket* WebSocket") // after a restart
	check(with(), "other.example:8443", "TLS* WebSocket* TLS WebSocket")
	raw, err := os.ReadFile(file)
	if err != nil || bytes.Contains(raw, []byte("s3cret")) || bytes.Contains(raw, []byte("user")) {
		t.Errorf("%s, %v", raw, err)
	}
	now = now.Add(10 * time.Minute)
	d.made(t, gateway, "TLS").Good() // it does not put off when the better ones are tried again
	now = now.Add(6 * time.Minute)
	check(d, gateway, "TLS* TLS WebSocket* WebSocket")
	d.made(t, gateway, "TLS").Good()
	check(d, gateway, "TLS TLS* WebSocket* WebSocket")
	now = now.Add(-time.Hour) // the clock was set
	check(d, gateway, "TLS* TLS WebSocket* WebSocket")
	d.made(t, gateway, "TLS through http://proxy:1").Good()
	check(with(), gateway, "TLS* WebSocket* TLS WebSocket")

	broken := d.made(t, gateway, "TLS through http://proxy:1") // its handshake is done, and nothing more comes
	_ = broken.Close()
	_ = broken.Close()
	check(d, gateway, "TLS* WebSocket* TLS WebSocket") // once is what a gateway does that stops
	_ = d.made(t, gateway, "TLS through http://proxy:1").Close()
	check(d, gateway, "WebSocket* TLS WebSocket TLS*")
	now = now.Add(16 * time.Minute)
	check(d, gateway, "TLS* WebSocket* TLS WebSocket")

	for i := range 3 * maxGateways {
		d.made(t, fmt.Sprintf("%d.example:1", i), "WebSocket").Good()
	}
	if m := d.memory(); len(m.Gateways) != maxGateways || m.Gateways[0].Gateway != "23.example:1" {
		t.Errorf("%+v", m)
	}
	if err := os.WriteFile(file, make([]byte, maxMemory+1), 0o600); err != nil {
		t.Fatal(err)
	}
	check(d, "23.example:1", "TLS* WebSocket* TLS WebSocket")
	d.Memory = filepath.Join(t.TempDir(), "not", "there", "x.json")
	d.made(t, gateway, "WebSocket").Good() // told, and no more
	check(d, gateway, "TLS* WebSocket* TLS WebSocket")
}

// FuzzMemory: whatever is in the file, what comes of it is within bounds, and can be written again.
func FuzzMemory(f *testing.F) {
	f.Add([]byte(`{"version":1,"gateways":[{"gateway":"a:1","way":"WebSocket","tried":"2026-11-01T00:00:00Z"}]}`))
	f.Add([]byte(`{"version":2}`))
	f.Add([]byte(`{"version":1,"gateways":[{"gateway":null}]}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		m, err := parseMemory(raw)
		if err != nil {
			if m.Gateways != nil {
				t.Errorf("%+v with %v", m, err)
			}
			return
		}
		if len(m.Gateways) > maxGateways {
			t.Errorf("%d gateways", len(m.Gateways))
		}
		again, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := parseMemory(again); err != nil {
			t.Errorf("%s: %v", again, err)
		}
	})
}

// TestAKnownWayHasTime: a gateway that is slow because thousands come back at once is not asked twice by each.
func TestAKnownWayHasTime(t *testing.T) {
	d := &Dialer{Memory: filepath.Join(t.TempDir(), "transport.json")}
	wait := func(want time.Duration) {
		t.Helper()
		ways, err := d.ways("gateway.example:1")
		if err != nil {
			t.Fatal(err)
		}
		if list, _ := d.ordered("gateway.example:1", ways); list[1].wait != want {
			t.Errorf("%s starts after %s, want %s", list[1], list[1].wait, want)
		}
	}
	wait(stagger)
	d.made(t, "gateway.example:1", "TLS").Good()
	wait(patience)
	d = &Dialer{Memory: d.Memory} // another process
	wait(stagger)
	d.made(t, "gateway.example:1", "WebSocket").Good()
	d = &Dialer{Memory: d.Memory}
	wait(patience)
}

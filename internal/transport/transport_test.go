package transport_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/pipeopshq/pipeops-agent/internal/backoff"
	"github.com/pipeopshq/pipeops-agent/internal/gateway/gatewaytest"
	"github.com/pipeopshq/pipeops-agent/internal/health"
	"github.com/pipeopshq/pipeops-agent/internal/identity"
	"github.com/pipeopshq/pipeops-agent/internal/proxy"
	"github.com/pipeopshq/pipeops-agent/internal/proxy/proxytest"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
	"github.com/pipeopshq/pipeops-agent/internal/session"
	"github.com/pipeopshq/pipeops-agent/internal/transport"
	"github.com/pipeopshq/pipeops-agent/internal/tunnel"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

func TestMain(m *testing.M) {
	// database/sql opens connections in a goroutine that ends some time after Close.
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("database/sql.(*DB).connectionOpener"))
}

// public is the address of a gateway that nothing but a proxy knows.
const (
	public = "gateway.example:8443"
	secret = "s3cret"
)

// only dials these addresses, and no others.
func only(addresses ...string) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		for _, a := range addresses {
			if a == address {
				return (&net.Dialer{}).DialContext(ctx, network, address)
			}
		}
		return nil, &net.OpError{Op: "dial", Net: network, Err: &net.DNSError{Err: "no such host", Name: address, IsNotFound: true}}
	}
}

// enroll enrols at a gateway by way of a dialer.
func enroll(t *testing.T, g *gatewaytest.Gateway, address string, d *transport.Dialer) (*identity.Identity, error) {
	t.Helper()
	return identity.Enroll(t.Context(), identity.Options{Dir: t.TempDir(), Gateway: address, Token: g.Token(""), Cluster: "shop", Agent: "test", Transport: d})
}

// run keeps a tunnel until the test ends.
func run(t *testing.T, id *identity.Identity, d *transport.Dialer) (*health.Tracker, func()) {
	t.Helper()
	tracker := &health.Tracker{}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		_ = tunnel.Run(ctx, tunnel.Options{
			Identity: id, Transport: d, Health: tracker, Log: slog.New(slog.DiscardHandler), Handler: http.NotFoundHandler(),
			Backoff: backoff.Backoff{Base: 5 * time.Millisecond, Cap: 50 * time.Millisecond},
		})
	})
	stop := sync.OnceFunc(func() {
		cancel()
		running.Wait()
	})
	t.Cleanup(stop)
	return tracker, stop
}

// up waits until the tunnel is up, and checks by which way.
func up(t *testing.T, g *gatewaytest.Gateway, tracker *health.Tracker, want string) {
	t.Helper()
	g.WaitConnected("shop", true)
	g.Wait("the agent knows", func() bool { return tracker.Get(health.Tunnel).Status == health.True })
	if got := tracker.Get(health.Tunnel).Message; !strings.HasSuffix(got, want) {
		t.Errorf("got %q, want %q at its end", got, want)
	}
}

// TestThroughProxies enrols, reports, connects and leaves where a proxy is the only way.
func TestThroughProxies(t *testing.T) {
	type settings = proxytest.Settings
	for name, start := range map[string]func(*testing.T, settings) (*proxytest.Proxy, string, *x509.CertPool){
		"CONNECT": func(t *testing.T, s settings) (*proxytest.Proxy, string, *x509.CertPool) {
			return proxytest.HTTP(t, s), "http://", nil
		},
		"CONNECT by TLS": func(t *testing.T, s settings) (*proxytest.Proxy, string, *x509.CertPool) {
			p, roots := proxytest.HTTPS(t, s)
			return p, "https://", roots
		},
		"SOCKS5": func(t *testing.T, s settings) (*proxytest.Proxy, string, *x509.CertPool) {
			return proxytest.SOCKS5(t, s), "socks5://", nil
		},
	} {
		for _, user := range []string{"", "user"} {
			t.Run(name+" "+user, func(t *testing.T) {
				g := gatewaytest.Start(t)
				p, scheme, roots := start(t, settings{Names: map[string]string{public: g.Address}, User: user, Password: secret})
				login := ""
				if user != "" {
					login = user + ":" + secret + "@"
				}
				d := &transport.Dialer{Proxy: proxy.Proxy{HTTPS: scheme + login + p.Address}, Dial: only(p.Address), Roots: roots}
				id, err := enroll(t, g, public, d)
				if err != nil {
					t.Fatal(err)
				}
				reports := tunnel.NewReporter(id, d, slog.New(slog.DiscardHandler))
				reports.Send(wire.Event{Kind: "step", Step: "one", State: "done"})
				if err := reports.Close(t.Context()); err != nil {
					t.Error(err)
				}
				tracker, stop := run(t, id, d)
				up(t, g, tracker, public+" by TLS through "+scheme+p.Address)
				stop()
				if err := id.Leave(t.Context(), d); err != nil {
					t.Error(err)
				}
				for _, asked := range p.Asked() {
					if asked != "CONNECT "+public {
						t.Errorf("the proxy was asked for %q", asked)
					}
				}
			})
		}
	}
}

// TestKeyExchange: directly, by a WebSocket and in a proxy's CONNECT the handshake is TLS 1.3 with the gateway itself, by a key exchange that
// a recording does not give away to a quantum computer.
func TestKeyExchange(t *testing.T) {
	g := gatewaytest.Start(t)
	id, err := enroll(t, g, g.Address, nil)
	if err != nil {
		t.Fatal(err)
	}
	wall := proxytest.Drop(t, g.Address, wire.ALPN)
	p := proxytest.HTTP(t, proxytest.Settings{Names: map[string]string{public: g.Address}})
	for want, c := range map[string]struct {
		dialer  *transport.Dialer
		address string
	}{
		"TLS":          {&transport.Dialer{}, g.Address},
		"WebSocket":    {&transport.Dialer{}, wall.Address},
		"TLS through ": {&transport.Dialer{Proxy: proxy.Proxy{HTTPS: p.Address}, Dial: only(p.Address)}, public},
	} {
		var mu sync.Mutex
		var states []tls.ConnectionState
		conn, err := c.dialer.Tunnel(t.Context(), c.address, func(now func() time.Time, protocols ...string) *tls.Config {
			config := id.Config(now, protocols...)
			config.VerifyConnection = func(s tls.ConnectionState) error {
				mu.Lock()
				defer mu.Unlock()
				states = append(states, s)
				return nil
			}
			return config
		})
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.Close()
		mu.Lock()
		if len(states) == 0 || !strings.HasPrefix(conn.Way(), want) {
			t.Errorf("%s: by %s, %d handshakes", want, conn.Way(), len(states))
		}
		for _, s := range states {
			if s.Version != tls.VersionTLS13 || s.CurveID != tls.X25519MLKEM768 || s.ServerName != wire.GatewayName {
				t.Errorf("%s: version %x, key exchange %s, with %s", want, s.Version, s.CurveID, s.ServerName)
			}
		}
		mu.Unlock()
	}
}

// TestWebSocketWhereTunnelsAreDropped: a firewall that lets nothing but HTTPS through costs half a second once, is remembered, and
// is found out when it is gone.
func TestWebSocketWhereTunnelsAreDropped(t *testing.T) {
	g := gatewaytest.Start(t)
	wall := proxytest.Drop(t, g.Address, wire.ALPN)
	id, err := enroll(t, g, wall.Address, nil)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "transport.json")
	later := time.Now()
	before := len(wall.Asked())
	connect := func(want string, seen ...string) {
		t.Helper()
		d := &transport.Dialer{Memory: file, Now: func() time.Time { return later }}
		tracker, stop := run(t, id, d)
		up(t, g, tracker, want)
		stop()
		g.WaitConnected("shop", false)
		asked := wall.Asked()[before:]
		before += len(asked)
		if strings.Join(asked, " ") != strings.Join(seen, " ") {
			t.Errorf("the firewall saw %v, want %v", asked, seen)
		}
	}
	connect(" by WebSocket", "dropped", "passed")
	connect(" by WebSocket", "passed")
	info, err := os.Stat(file)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	later = later.Add(16 * time.Minute)
	connect(" by WebSocket", "dropped", "passed") // the better way is tried again
	connect(" by WebSocket", "passed")
	wall.Drops.Store(false)
	later = later.Add(16 * time.Minute)
	connect(" by TLS", "passed")
	connect(" by TLS", "passed")
	if err := os.WriteFile(file, []byte(`{"version":1,"gateways":[{"gateway":"`+wall.Address+`","way":"pigeon","tried":"2026-01-01T00:00:00Z"}]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	connect(" by TLS", "passed") // a way that there is not
	if err := os.WriteFile(file, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	connect(" by TLS", "passed")
}

// TestWhereDirectAndProxyDiffer: who has set a proxy for a public gateway wants it used; past it is better than nowhere. A gateway
// that is near is reached directly, and by the proxy where that does not lead there.
func TestWhereDirectAndProxyDiffer(t *testing.T) {
	g := gatewaytest.Start(t)
	id, err := enroll(t, g, g.Address, nil)
	if err != nil {
		t.Fatal(err)
	}
	const near = "gateway.lan:8443"
	direct := func(address string, p *proxytest.Proxy) func(context.Context, string, string) (net.Conn, error) {
		return func(ctx context.Context, network, asked string) (net.Conn, error) {
			if asked == address {
				asked = g.Address
			}
			return only(p.Address, g.Address)(ctx, network, asked)
		}
	}
	for name, c := range map[string]struct {
		address string
		known   string // to the proxy
		direct  bool   // it is reached directly, too
		noProxy string
		want    string
	}{
		"public, both ways":        {public, public, true, "", "TLS through http://"},
		"public, proxy leads past": {public, "", true, "", "TLS"},
		"public, not to be used":   {public, public, true, ".example", "TLS"},
		"near, both ways":          {near, near, true, "", "TLS"},
		"near, proxy only":         {near, near, false, "", "TLS through http://"},
	} {
		t.Run(name, func(t *testing.T) {
			p := proxytest.HTTP(t, proxytest.Settings{Names: map[string]string{c.known: g.Address}})
			d := &transport.Dialer{Proxy: proxy.Proxy{HTTPS: p.Address, NoProxy: c.noProxy}, Dial: only(p.Address)}
			if c.direct {
				d.Dial = direct(c.address, p)
			}
			conn, err := d.Tunnel(t.Context(), c.address, id.Config)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if got := strings.TrimSuffix(conn.Way(), p.Address); got != c.want {
				t.Errorf("by %s, want %s", got, c.want)
			}
			if socket := session.SocketOf(conn); conn.Relayed() != strings.Contains(c.want, "through") {
				t.Errorf("relayed %v", conn.Relayed())
			} else if _, ok := socket.(*net.TCPConn); !ok {
				t.Errorf("the socket is a %T", socket)
			}
		})
	}
}

// TestTheSocketIsReached: options of TCP are set beneath every layer.
func TestTheSocketIsReached(t *testing.T) {
	g := gatewaytest.Start(t)
	wall := proxytest.Drop(t, g.Address, wire.ALPN)
	p, roots := proxytest.HTTPS(t, proxytest.Settings{Names: map[string]string{public: wall.Address}})
	d := &transport.Dialer{Proxy: proxy.Proxy{HTTPS: "https://" + p.Address}, Dial: only(p.Address), Roots: roots}
	id, err := enroll(t, g, public, d)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := d.Tunnel(t.Context(), public, id.Config)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	socket := session.SocketOf(conn)
	if _, ok := socket.(*net.TCPConn); !ok || conn.Way() != "WebSocket through https://"+p.Address {
		t.Errorf("a %T by %s", socket, conn.Way())
	}
	if conn.Kind() != "websocket" || conn.Proxy() != "https://"+p.Address {
		t.Errorf("a %s through %s", conn.Kind(), conn.Proxy())
	}
}

// TestStates: what is wrong on the way has a name, the evidence, and no secret in it.
func TestStates(t *testing.T) {
	g := gatewaytest.Start(t)
	id, err := enroll(t, g, g.Address, nil)
	if err != nil {
		t.Fatal(err)
	}
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = closed.Close()
	quiet := func() *httptest.Server {
		s := httptest.NewUnstartedServer(nil)
		s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug)
		return s
	}
	web, old := quiet(), quiet()
	web.StartTLS()
	defer web.Close()
	old.StartTLS()
	defer old.Close()
	old.TLS.MaxVersion = 0x0303 // TLS 1.2
	plain := httptest.NewServer(http.NotFoundHandler())
	defer plain.Close()
	rude := proxytest.Garbage(t, "\x1b]0;gone\a\r\n\r\n")
	late := proxytest.Garbage(t, "HTTP/1.1 200 OK\r\n\r\nand more")
	login := "user:" + secret + "@"
	locked := proxytest.Settings{User: "user", Password: "other"}
	for name, c := range map[string]struct {
		proxy   string
		address string
		want    reason.Code
		has     string
		fix     string
	}{
		"no such name":               {"", public, reason.GatewayName, "there is no host", "name servers"},
		"refused":                    {"", closed.Addr().String(), reason.GatewayUnreachable, "connection refused", ""},
		"another server":             {"", web.Listener.Addr().String(), reason.GatewayUntrusted, "issued by O=Acme Co", ""},
		"TLS 1.2 only":               {"", old.Listener.Addr().String(), reason.GatewayProtocol, "protocol version", ""},
		"no TLS":                     {"", plain.Listener.Addr().String(), reason.GatewayProtocol, "not by TLS", ""},
		"407":                        {"http://" + login + proxytest.HTTP(t, locked).Address, public, reason.GatewayProxy, "it answers 407 Proxy Authentication Required and knows Basic, Negotiate", "user and password"},
		"403":                        {"http://" + login + proxytest.HTTP(t, proxytest.Settings{Status: 403}).Address, public, reason.GatewayProxy, "it answers 403 Forbidden", "let the proxy allow CONNECT to " + public},
		"502":                        {"http://" + login + proxytest.HTTP(t, proxytest.Settings{}).Address, public, reason.GatewayUnreachable, "it answers 502 Bad Gateway", ""},
		"proxy is down":              {"http://" + login + closed.Addr().String(), public, reason.GatewayProxy, "connection refused", "address of the proxy"},
		"proxy has no name":          {"http://" + login + "proxy.example:3128", public, reason.GatewayProxy, "there is no host", "name of the proxy"},
		"proxy is a web server":      {"http://" + login + plain.Listener.Addr().String(), public, reason.GatewayProxy, "it answers 404", ""},
		"proxy speaks no HTTP":       {"http://" + login + rude, public, reason.GatewayProxy, "no HTTP", ""},
		"proxy says too much":        {"http://" + login + late, public, reason.GatewayProxy, "more than its answer", ""},
		"proxy is not trusted":       {"https://" + login + web.Listener.Addr().String(), public, reason.GatewayProxy, "unknown authority", ""},
		"SOCKS5, another password":   {"socks5://" + login + proxytest.SOCKS5(t, locked).Address, public, reason.GatewayProxy, "authentication failed", "user and password"},
		"SOCKS5, no password":        {"socks5://" + proxytest.SOCKS5(t, locked).Address, public, reason.GatewayProxy, "no acceptable authentication methods", "user and password"},
		"SOCKS5, forbidden":          {"socks5://" + login + proxytest.SOCKS5(t, proxytest.Settings{Status: 2}).Address, public, reason.GatewayProxy, "not allowed by ruleset", "let the proxy allow"},
		"SOCKS5, nothing there":      {"socks5://" + login + proxytest.SOCKS5(t, proxytest.Settings{Status: 5}).Address, public, reason.GatewayUnreachable, "it says: connection refused", ""},
		"SOCKS5, another protocol":   {"socks5://" + login + proxytest.Garbage(t, "HTTP/1.1 400 Bad Request\r\n\r\n"), public, reason.GatewayProxy, "protocol version", "address of the proxy"},
		"TLS is opened by the proxy": {"http://" + login + proxytest.Inspecting(t, "Corp Inspection CA").Address, public, reason.GatewayIntercepted, "issued by CN=Corp Inspection CA", "exempt the gateway"},
	} {
		t.Run(name, func(t *testing.T) {
			d := &transport.Dialer{Proxy: proxy.Proxy{HTTPS: c.proxy}, Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
				if strings.Contains(address, "example") {
					return only()(ctx, network, address)
				}
				return (&net.Dialer{}).DialContext(ctx, network, address)
			}}
			conn, err := d.Tunnel(t.Context(), c.address, id.Config)
			if err == nil {
				_ = conn.Close()
			}
			_, enrolled := enroll(t, g, c.address, d)
			for way, err := range map[string]error{"tunnel": err, "enrol": enrolled} {
				var e *reason.Error
				if !errors.As(err, &e) || e.Code != c.want || !strings.Contains(e.Why(), c.has) || !strings.Contains(e.Fix, c.fix) {
					t.Errorf("%s: %v (%v), want %s with %q", way, err, e, c.want, c.has)
					continue
				}
				if strings.Contains(err.Error()+e.Fix, secret) || strings.ContainsAny(err.Error(), "\x1b\n") {
					t.Errorf("%s: %q", way, err)
				}
			}
		})
	}
}

// TestAllWaysAreTold: one that is forbidden and one that leads nowhere are both in the evidence.
func TestAllWaysAreTold(t *testing.T) {
	g := gatewaytest.Start(t)
	id, err := enroll(t, g, g.Address, nil)
	if err != nil {
		t.Fatal(err)
	}
	p := proxytest.HTTP(t, proxytest.Settings{Status: 403})
	d := &transport.Dialer{Proxy: proxy.Proxy{HTTPS: p.Address}, Dial: only(p.Address)}
	_, err = d.Tunnel(t.Context(), public, id.Config)
	for _, want := range []string{"the proxy http://" + p.Address + ": it answers 403 Forbidden", "; ", "there is no host"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q in it", err, want)
		}
	}
	if !reason.Is(err, reason.GatewayProxy) {
		t.Errorf("got %v", err)
	}
}

// TestWrongClock: a clock that is away is told by how much, by the gateway's own.
func TestWrongClock(t *testing.T) {
	g := gatewaytest.Start(t)
	p := proxytest.HTTP(t, proxytest.Settings{Names: map[string]string{public: g.Address}})
	through := proxy.Proxy{HTTPS: p.Address}
	id, err := enroll(t, g, public, &transport.Dialer{Proxy: through, Dial: only(p.Address)})
	if err != nil {
		t.Fatal(err)
	}
	for _, away := range []time.Duration{-400 * 24 * time.Hour, 400 * 24 * time.Hour} {
		d := &transport.Dialer{Proxy: through, Dial: only(p.Address), Now: func() time.Time { return time.Now().Add(away) }}
		_, err := d.Tunnel(t.Context(), public, id.Config)
		var e *reason.Error
		if !errors.As(err, &e) || e.Code != reason.HostClock || !strings.Contains(e.Why(), "and that of the gateway "+time.Now().UTC().Format("2006-01-02")) ||
			!strings.Contains(e.Fix, "it is 9600h0m0s away") {
			t.Errorf("%v: %v, %v", away, err, e)
		}
	}
}

// TestAHandshakeIsNoSession: a way that is given up after its handshake does not take the place of the one in use.
func TestAHandshakeIsNoSession(t *testing.T) {
	g := gatewaytest.Start(t)
	wall := proxytest.Drop(t, g.Address, wire.ALPN)
	id, err := enroll(t, g, g.Address, nil)
	if err != nil {
		t.Fatal(err)
	}
	tracker, _ := run(t, id, nil)
	up(t, g, tracker, " by TLS")
	before, _ := g.Cluster("shop")
	for _, address := range []string{g.Address, wall.Address} {
		conn, err := (&transport.Dialer{}).Tunnel(t.Context(), address, id.Config)
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
		if _, err := io.ReadAll(conn); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("something came on a connection on which nothing was said: %v", err)
		}
		_ = conn.Close()
	}
	if after, _ := g.Cluster("shop"); !after.Connected || after.Remote != before.Remote {
		t.Errorf("the session was replaced: %+v, %+v", before, after)
	}
}

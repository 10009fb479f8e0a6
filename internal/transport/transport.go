// Package transport is how the agent reaches its gateway: by TLS itself or by a WebSocket in it, each directly or through a proxy
// (HTTP CONNECT or SOCKS5). The ways are tried in a fixed order, each a little after the one before, and the first that comes about
// is taken; the one that worked the last time starts the next time.
//
// Whatever the way, the TLS is that of the gateway from end to end: its own CA and its fixed name, and the certificate of this
// machine. Nobody on the way can read it, so a proxy that opens TLS is a failure, told by the name of who issued what it showed.
package transport

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/cork"
	"github.com/pipeopshq/pipeops-agent/internal/metric"
	"github.com/pipeopshq/pipeops-agent/internal/proxy"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
	"github.com/pipeopshq/pipeops-agent/internal/wsconn"
)

// stageTimeout bounds each of the connection, the proxy's answer and the handshake of one way, so that an error names the one that
// did not come about.
const stageTimeout = 10 * time.Second

// http1 is the application protocol of plain requests and of WebSockets.
const http1 = "http/1.1"

// Dialer reaches gateways. The zero value reaches them directly, and remembers nothing; so does nil. All methods may be called
// concurrently.
type Dialer struct {
	Proxy  proxy.Proxy
	Memory string       // file in which is remembered which way worked; "" is none
	Log    *slog.Logger // nil: nothing is told

	// Dial makes TCP connections; nil means a net.Dialer, which tries both families of a name that has addresses of both (RFC 6555).
	Dial  func(ctx context.Context, network, address string) (net.Conn, error)
	Roots *x509.CertPool   // whom https proxies are trusted by; nil: by those of the system
	Now   func() time.Time // nil means time.Now

	buffers wsconn.Buffers
	mu      sync.Mutex
	history map[string]history // of ways, by gateway and name
}

// Config makes the configuration of TLS by which a gateway is dialled, with the given application protocols. Certificates are judged
// by the time that now tells.
type Config func(now func() time.Time, protocols ...string) *tls.Config

// Conn is a connection to a gateway that a session may run on.
type Conn struct {
	net.Conn
	way     way
	address string
	dialer  *Dialer
	fresh   bool // better ways were tried before it
	settled sync.Once
}

// NetConn returns the connection beneath. At the end of the chain is that of TCP, whose options may be set, and whose state may be asked for.
func (c *Conn) NetConn() net.Conn { return c.Conn }

// Relayed reports whether that one ends at a proxy, so that it tells nothing of the gateway.
func (c *Conn) Relayed() bool { return c.way.proxy != nil }

// Way tells the way for people, such as "WebSocket through http://proxy.example:3128".
func (c *Conn) Way() string { return c.way.String() }

// Kind is the transport, for programs: "tls" or "websocket".
func (c *Conn) Kind() string {
	if c.way.webSocket {
		return metric.WayWebSocket
	}
	return metric.WayTLS
}

// Proxy is the URL of the proxy on the way, without user and password; "" if there is none.
func (c *Conn) Proxy() string {
	if c.way.proxy == nil {
		return ""
	}
	return proxy.ShownURL(c.way.proxy)
}

// Good says that the peer has answered on the connection: its way is where the next dial starts.
func (c *Conn) Good() {
	c.settled.Do(func() { c.dialer.proved(c) })
}

// Close closes the connection. A way that was never Good twice in a row is tried last.
func (c *Conn) Close() error {
	c.settled.Do(func() { c.dialer.broke(c) })
	return c.Conn.Close()
}

// Tunnel dials the gateway at address, host:port, for a session. The error is a [reason.Error] that tells how each way has ended,
// or that of ctx.
func (d *Dialer) Tunnel(ctx context.Context, address string, config Config) (*Conn, error) {
	if d == nil {
		d = &Dialer{}
	}
	ways, err := d.ways(address)
	if err != nil {
		return nil, err
	}
	ways, fresh := d.ordered(address, ways)
	conn, failures := race(ctx, ways, func(ctx context.Context, w way) (*Conn, error) { return d.tunnel(ctx, address, w, config) })
	if conn == nil {
		return nil, d.verdict(ctx, address, failures, config)
	}
	conn.fresh = fresh
	return conn, nil
}

// HTTPS dials the gateway at address, host:port, for requests outside a session. Errors are as those of Tunnel.
func (d *Dialer) HTTPS(ctx context.Context, address string, config Config) (net.Conn, error) {
	if d == nil {
		d = &Dialer{}
	}
	ways, err := d.ways(address)
	if err != nil {
		return nil, err
	}
	conn, failures := race(ctx, routes(ways), func(ctx context.Context, w way) (*Conn, error) {
		conn, err := d.secure(ctx, address, w, config, http1)
		return d.conn(conn, address, w), err
	})
	if conn == nil {
		return nil, d.verdict(ctx, address, failures, config)
	}
	return conn.Conn, nil
}

// tunnel makes a connection by one way.
func (d *Dialer) tunnel(ctx context.Context, address string, w way, config Config) (*Conn, error) {
	protocol := wire.ALPN
	if w.webSocket {
		protocol = http1
	}
	conn, err := d.secure(ctx, address, w, config, protocol)
	if err != nil {
		return nil, err
	}
	if got := conn.ConnectionState().NegotiatedProtocol; got != protocol {
		_ = conn.Close()
		return nil, reason.Newf(reason.GatewayProtocol, "%s does not speak %s", w.to(address), protocol)
	}
	if !w.webSocket {
		return d.conn(conn, address, w), nil
	}
	ws, err := wsconn.Dial(ctx, conn, wire.GatewayName, wire.PathTunnel, wire.Subprotocol, &d.buffers)
	if err != nil {
		return nil, err
	}
	return d.conn(ws, address, w), nil
}

func (d *Dialer) conn(conn net.Conn, address string, w way) *Conn {
	return &Conn{Conn: conn, way: w, address: address, dialer: d}
}

// secure connects and shakes hands by one way.
func (d *Dialer) secure(ctx context.Context, address string, w way, config Config, protocol string) (*tls.Conn, error) {
	conn, err := d.connect(ctx, address, w)
	if err != nil {
		return nil, err
	}
	secured := tls.Client(cork.Under(conn), config(d.now, protocol))
	shake, cancel := context.WithTimeoutCause(ctx, stageTimeout, fmt.Errorf("no TLS handshake within %s", stageTimeout))
	defer cancel()
	if err := secured.HandshakeContext(shake); err != nil {
		_ = conn.Close()
		if shake.Err() != nil {
			err = context.Cause(shake)
		}
		return nil, err
	}
	return secured, nil
}

func (d *Dialer) now() time.Time {
	if d.Now == nil {
		return time.Now()
	}
	return d.Now()
}

func (d *Dialer) log() *slog.Logger {
	if d.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return d.Log
}

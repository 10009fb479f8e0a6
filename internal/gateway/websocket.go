package gateway

import (
	"context"
	"net"
	"net/http"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/metric"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
	"github.com/pipeopshq/pipeops-agent/internal/wsconn"
)

// firstWord bounds how long an agent may take from the end of its handshake to its first frame, which it sends at once.
const firstWord = 10 * time.Second

// websocket takes the tunnel of an agent whose way passes nothing but HTTPS. The handshake has verified the client certificate
// if there is one; here it is asked for, as it is by [authority.verify] where the tunnel has an application protocol of its own.
// sessions ends when the gateway does.
func (g *Gateway) websocket(sessions context.Context, w http.ResponseWriter, r *http.Request) {
	if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
		g.fail(w, r, reason.Newf(reason.IdentityMissing, "a tunnel needs a client certificate"))
		return
	}
	conn, err := wsconn.Accept(w, r, wire.Subprotocol, &g.messages)
	if err != nil {
		g.Log.Debug("tunnel not upgraded", "remote", r.RemoteAddr, "err", err)
		return
	}
	c := carrier{Conn: conn, leaf: r.TLS.PeerCertificates[0], way: metric.WayWebSocket}
	// In a goroutine of its own: that of the handler holds the request, and both would live as long as the session.
	go func() {
		defer func() { _ = conn.Close() }()
		g.tunnel(sessions, c)
	}()
}

// spoke waits until the agent has said its first word, and returns the connection with that before the rest; nil if it says
// nothing. An agent that tries several ways at once shakes hands on more of them than it uses: those that it gives up must not
// take the place of the one that it has.
func (c carrier) spoke(ctx context.Context) *begun {
	stop := context.AfterFunc(ctx, func() { _ = c.Close() })
	defer stop()
	if c.SetReadDeadline(time.Now().Add(firstWord)) != nil {
		return nil
	}
	first := make([]byte, 12) // a frame's header; more would be copied once more
	n, err := c.Read(first)
	if err != nil || n == 0 || c.SetReadDeadline(time.Time{}) != nil {
		return nil
	}
	return &begun{Conn: c.Conn, first: first[:n]}
}

// begun is a connection of which something was read.
type begun struct {
	net.Conn
	first []byte
}

// NetConn returns what it is on, so that the session finds the socket.
func (b *begun) NetConn() net.Conn { return b.Conn }

func (b *begun) Read(p []byte) (int, error) {
	if len(b.first) > 0 {
		n := copy(p, b.first)
		if b.first = b.first[n:]; len(b.first) == 0 {
			b.first = nil
		}
		return n, nil
	}
	return b.Conn.Read(p)
}

// Package wsconn is a WebSocket (RFC 6455) as a plain connection: what is written goes out in binary messages, and what comes in
// them is read as one stream of bytes. It is for paths that pass HTTPS and nothing else.
//
// Beneath it is TLS from end to end, which proves that the peer's end of the stream is an end and no cut; so no close messages are
// sent, and the session above has pings of its own. Messages are not compressed: what they carry is mostly compressed already, and
// compression beside secrets gives them away.
package wsconn

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/gorilla/websocket"

	"github.com/pipeopshq/pipeops-agent/internal/refusal"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

const (
	// MaxMessage is the most bytes in one message; a session writes no more at a time.
	MaxMessage = 64 << 10
	// upgradeTimeout bounds the exchange of the two headers.
	upgradeTimeout = 10 * time.Second
)

// ErrMessage means that the peer sent something else than binary messages of at most [MaxMessage].
var ErrMessage = errors.New("the peer sent a WebSocket message that is none of a tunnel")

// ErrUpgrade means that the peer agrees to something else than it was asked for.
var ErrUpgrade = errors.New("the answer to the WebSocket upgrade is none of a gateway")

// Conn is one end. As with any net.Conn, its methods may be called concurrently.
type Conn struct {
	ws   *websocket.Conn
	conn net.Conn // beneath

	writing sync.Mutex // a message goes out whole
	reading sync.Mutex
	message io.Reader // what is left of the one that is being read; nil: none
	failed  error     // why nothing more can be read
}

// Buffers lends the buffers that messages are made in, so that an idle connection has none. The zero value is ready; both ends of a
// program's connections may share one.
type Buffers struct{ pool sync.Pool }

// Get is that of websocket.BufferPool.
func (b *Buffers) Get() any { return b.pool.Get() }

// Put is that of websocket.BufferPool.
func (b *Buffers) Put(v any) { b.pool.Put(v) }

// Dial asks for the upgrade on conn, whose TLS is done, and owns it from now on; it closes it when it fails. A refusal of the peer's
// is that of [refusal.Read]. The end of ctx ends the exchange, not the connection that comes of it.
func Dial(ctx context.Context, conn net.Conn, host, path, protocol string, buffers *Buffers) (*Conn, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, upgradeTimeout, fmt.Errorf("no answer to the WebSocket upgrade within %s", upgradeTimeout))
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() }) // the library looks at deadlines only
	limited := &bounded{Conn: conn, left: wire.MaxHeader}
	dialer := websocket.Dialer{
		NetDialTLSContext: func(context.Context, string, string) (net.Conn, error) { return limited, nil },
		Subprotocols:      []string{protocol},
		WriteBufferSize:   MaxMessage,
		WriteBufferPool:   buffers,
	}
	ws, response, err := dialer.DialContext(context.WithoutCancel(ctx), (&url.URL{Scheme: "wss", Host: host, Path: path}).String(), nil) //nolint:bodyclose // it is in memory
	switch {
	case !stop():
		err = context.Cause(ctx)
	case errors.Is(err, websocket.ErrBadHandshake) && response.StatusCode != http.StatusSwitchingProtocols:
		err = refusal.Read(response)
	case err != nil:
		err = fmt.Errorf("cannot upgrade to a WebSocket: %w", err)
	case ws.Subprotocol() != protocol || response.Header.Get("Sec-Websocket-Extensions") != "":
		err = fmt.Errorf("%w: subprotocol %.40q, extensions %.40q", ErrUpgrade, ws.Subprotocol(), response.Header.Get("Sec-Websocket-Extensions"))
	}
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	limited.left = unbounded
	return wrap(ws, conn), nil
}

// bounded is a connection on which no more may come than is left, so that the header of an answer has an end.
type bounded struct {
	net.Conn
	left int
}

const unbounded = -1

func (b *bounded) Read(p []byte) (int, error) {
	if b.left == unbounded {
		return b.Conn.Read(p)
	}
	if b.left == 0 {
		return 0, fmt.Errorf("%w: its header has more than %d bytes", ErrUpgrade, wire.MaxHeader)
	}
	n, err := b.Conn.Read(p[:min(len(p), b.left)])
	b.left -= n
	return n, err
}

// Accept answers a request for the upgrade, and takes its connection. When it fails the answer has been given.
func Accept(w http.ResponseWriter, r *http.Request, protocol string, buffers *Buffers) (*Conn, error) {
	upgrader := websocket.Upgrader{
		HandshakeTimeout: upgradeTimeout,
		Subprotocols:     []string{protocol},
		WriteBufferSize:  MaxMessage,
		WriteBufferPool:  buffers,
		// A page in a browser that holds the certificate of a machine could ask, too; it cannot leave this header out.
		CheckOrigin: func(r *http.Request) bool { return r.Header.Get("Origin") == "" },
	}
	if websocket.IsWebSocketUpgrade(r) && !slices.Contains(websocket.Subprotocols(r), protocol) {
		http.Error(w, "want the subprotocol "+protocol, http.StatusBadRequest)
		return nil, fmt.Errorf("the request offers no subprotocol %s", protocol)
	}
	ws, err := upgrader.Upgrade(w, r, nil)
	if err != nil {
		return nil, fmt.Errorf("cannot upgrade the connection: %w", err)
	}
	return wrap(ws, ws.NetConn()), nil
}

func wrap(ws *websocket.Conn, conn net.Conn) *Conn {
	ws.SetReadLimit(MaxMessage)
	return &Conn{ws: ws, conn: conn}
}

// NetConn returns the connection beneath, to look at; what is read or written there is missing here.
func (c *Conn) NetConn() net.Conn { return c.conn }

// Read reads what is there of the current message, or of the next one. The peer's end of the connection is io.EOF between
// messages, and io.ErrUnexpectedEOF within one.
func (c *Conn) Read(p []byte) (int, error) {
	c.reading.Lock()
	defer c.reading.Unlock()
	for len(p) > 0 {
		if c.failed != nil {
			return 0, c.failed
		}
		if c.message == nil {
			kind, message, err := c.ws.NextReader()
			if err == nil && kind != websocket.BinaryMessage {
				err = ErrMessage
			}
			if err != nil {
				c.failed = readError(err, true)
				continue
			}
			c.message = message
		}
		n, err := c.message.Read(p)
		switch {
		case err == io.EOF:
			c.message = nil
		case err != nil:
			c.failed = readError(err, false)
		}
		if n > 0 {
			return n, nil
		}
	}
	return 0, nil
}

// readError says of an error of the library what a plain connection would have said. To the library every end of a connection is
// an unexpected one, and is told as a close message of code 1006. A peer's own close message may hold text of any kind: only its
// number is told.
func readError(err error, between bool) error {
	var closed *websocket.CloseError
	switch {
	case errors.As(err, &closed) && (closed.Code == websocket.CloseNormalClosure || closed.Code == websocket.CloseGoingAway):
		return io.EOF
	case errors.As(err, &closed) && closed.Code == websocket.CloseAbnormalClosure && between:
		return io.EOF
	case errors.As(err, &closed) && closed.Code == websocket.CloseAbnormalClosure:
		return io.ErrUnexpectedEOF
	case errors.As(err, &closed):
		return fmt.Errorf("the peer closed the WebSocket with code %d", closed.Code)
	case errors.Is(err, websocket.ErrReadLimit):
		return ErrMessage
	}
	return err
}

// Write sends p in one message, or in several if it has more than MaxMessage bytes.
func (c *Conn) Write(p []byte) (int, error) {
	c.writing.Lock()
	defer c.writing.Unlock()
	sent := 0
	for sent < len(p) {
		part := p[sent:min(sent+MaxMessage, len(p))]
		if err := c.ws.WriteMessage(websocket.BinaryMessage, part); err != nil {
			return sent, err
		}
		sent += len(part)
	}
	return sent, nil
}

// Close closes the connection beneath.
func (c *Conn) Close() error { return c.ws.Close() }

// LocalAddr is that of the connection beneath.
func (c *Conn) LocalAddr() net.Addr { return c.ws.LocalAddr() }

// RemoteAddr is that of the connection beneath.
func (c *Conn) RemoteAddr() net.Addr { return c.ws.RemoteAddr() }

// SetDeadline sets both deadlines.
func (c *Conn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

// SetReadDeadline is that of net.Conn; a read that has failed by it fails for ever.
func (c *Conn) SetReadDeadline(t time.Time) error { return c.ws.SetReadDeadline(t) }

// SetWriteDeadline is for writes that begin after it: unlike that of net.Conn it ends none that is under way.
func (c *Conn) SetWriteDeadline(t time.Time) error {
	c.writing.Lock()
	defer c.writing.Unlock()
	return c.ws.SetWriteDeadline(t)
}

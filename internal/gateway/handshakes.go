package gateway

import (
	"crypto/tls"
	"errors"
	"net"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/cork"
)

// handshakeWait is how long a connection may wait for its handshake to be computed. Agents give one up after 10 s, so that one which has
// waited for longer would be computed for nobody.
const handshakeWait = 8 * time.Second

var errHandshakes = errors.New("too many handshakes are waiting")

// handshakes bounds how many TLS handshakes are computed at a time. When ten thousand agents come at once, as after the start of a gateway,
// all of them together would be so slow that each gives up before it is done, and begins anew; a few at a time are done in milliseconds. What
// waits for the peer takes no place: one is taken when the peer's first message is there, and given back when the answer goes out.
type handshakes struct {
	net.Listener
	places chan struct{}
	wait   time.Duration
}

func newHandshakes(l net.Listener) *handshakes {
	return &handshakes{Listener: l, places: make(chan struct{}, 2*runtime.GOMAXPROCS(0)), wait: handshakeWait}
}

// Accept is that of net.Listener.
func (h *handshakes) Accept() (net.Conn, error) {
	conn, err := h.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &shaking{Conn: cork.Under(conn), places: h.places}, nil
}

// begin is the GetConfigForClient of a [tls.Config]: it waits for a place. The configuration is the one that there is.
func (h *handshakes) begin(hello *tls.ClientHelloInfo) (*tls.Config, error) {
	conn, ok := hello.Conn.(*shaking)
	if !ok {
		return nil, errors.New("the connection is of another listener")
	}
	timer := time.NewTimer(h.wait)
	defer timer.Stop()
	select {
	case h.places <- struct{}{}:
		conn.holds.Store(true)
		return nil, nil
	case <-timer.C:
		return nil, errHandshakes
	case <-hello.Context().Done():
		return nil, hello.Context().Err()
	}
}

// shaking is a connection below TLS that gives its place back with the first answer.
type shaking struct {
	net.Conn
	places chan struct{}
	holds  atomic.Bool
}

// NetConn is the connection below.
func (s *shaking) NetConn() net.Conn { return s.Conn }

// Write is that of net.Conn.
func (s *shaking) Write(p []byte) (int, error) {
	s.leave()
	return s.Conn.Write(p)
}

// Close is that of net.Conn.
func (s *shaking) Close() error {
	s.leave()
	return s.Conn.Close()
}

func (s *shaking) leave() {
	if s.holds.Load() && s.holds.CompareAndSwap(true, false) {
		<-s.places
	}
}

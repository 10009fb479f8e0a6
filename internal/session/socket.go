package session

import (
	"net"
	"time"
)

const (
	// userTimeout is how long sent bytes may stay unacknowledged, and the kernel's probes unanswered (RFC 5482): the kernel then gives
	// the connection up, which it would else do after about 15 minutes.
	userTimeout = 8 * time.Second
	// unsent bounds what waits in the kernel to be sent: bytes there can no longer be overtaken by a small request.
	unsent = 128 << 10
)

// SocketOf is the connection below all that says what it is on by NetConn: TLS, a WebSocket, what counts or slows. Where that is TCP, it is
// a [*net.TCPConn].
func SocketOf(conn net.Conn) net.Conn {
	for {
		above, ok := conn.(interface{ NetConn() net.Conn })
		if !ok {
			return conn
		}
		conn = above.NetConn()
	}
}

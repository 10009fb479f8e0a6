package gateway

import (
	"net"
	"net/http"

	"github.com/pipeopshq/pipeops-agent/internal/session"
)

// tellCut makes of an answer that is cut a reset of the connection, for those who ask by HTTP/1.0: their answers have no other end than that
// of the connection, and would pass for whole. HTTP/1.1 has chunks and lengths, HTTP/2 has frames, which tell by themselves.
func tellCut(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoAtLeast(1, 1) {
			next.ServeHTTP(w, r)
			return
		}
		defer func() {
			if cause := recover(); cause != nil {
				reset(w)
				panic(cause)
			}
		}()
		next.ServeHTTP(w, r)
	})
}

// reset ends the connection of a request without the word that TLS has for an end.
func reset(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	if tcp, ok := session.SocketOf(conn).(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
		conn = tcp
	}
	_ = conn.Close()
}

package carry

import (
	"bufio"
	"errors"
	"net"
	"net/http"

	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

// Switch takes the connection of a request over and answers that its protocol is now wire.Connect.
func Switch(w http.ResponseWriter) (net.Conn, error) {
	conn, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return nil, err
	}
	_, err = conn.Write([]byte("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: " + wire.Connect + "\r\n\r\n"))
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return Buffered(conn, rw.Reader), nil
}

// Buffered is a connection of which a reader has read some already.
func Buffered(conn net.Conn, read *bufio.Reader) net.Conn {
	if read.Buffered() == 0 {
		return conn
	}
	return &buffered{conn, read}
}

type buffered struct {
	net.Conn
	read *bufio.Reader
}

func (b *buffered) Read(p []byte) (int, error) { return b.read.Read(p) }

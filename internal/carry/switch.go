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
	early, _ := read.Peek(read.Buffered()) // which is there
	return Prefixed(conn, append([]byte(nil), early...))
}

// Prefixed is a connection that begins with what was read of it already.
func Prefixed(conn net.Conn, early []byte) net.Conn {
	if len(early) == 0 {
		return conn
	}
	return &prefixed{conn, early}
}

type prefixed struct {
	net.Conn
	early []byte
}

// NetConn is the connection below.
func (p *prefixed) NetConn() net.Conn { return p.Conn }

func (p *prefixed) Read(to []byte) (int, error) {
	if len(p.early) > 0 {
		n := copy(to, p.early)
		p.early = p.early[n:]
		return n, nil
	}
	return p.Conn.Read(to)
}

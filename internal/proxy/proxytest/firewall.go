package proxytest

import (
	"bytes"
	"io"
	"net"
	"sync/atomic"
	"testing"
)

// Firewall is a machine on the way that looks into handshakes.
type Firewall struct {
	*Proxy
	Drops atomic.Bool // those that offer the protocol are answered by silence
}

// Drop runs a firewall before an address that lets through what does not offer an application protocol (ALPN), and notes "dropped"
// or "passed" for each connection.
func Drop(t testing.TB, to, protocol string) *Firewall {
	t.Helper()
	f := &Firewall{}
	f.Drops.Store(true)
	f.Proxy = start(t, &Proxy{Settings: Settings{Names: map[string]string{"": to}}}, nil, func(p *Proxy, conn net.Conn) {
		hello := make([]byte, 16<<10)
		n, err := io.ReadAtLeast(conn, hello, 5)
		if err != nil {
			return
		}
		length := 5 + int(hello[3])<<8 + int(hello[4]) // of the first record, which holds the whole hello
		if length > len(hello) {
			return
		}
		if n < length {
			more, err := io.ReadFull(conn, hello[n:length])
			if n += more; err != nil {
				return
			}
		}
		if bytes.Contains(hello[:n], []byte(protocol)) && f.Drops.Load() {
			p.note("dropped")
			_, _ = io.Copy(io.Discard, conn)
			return
		}
		p.note("passed")
		target, ok := p.reach("")
		if !ok {
			return
		}
		p.splice(conn, io.MultiReader(bytes.NewReader(hello[:n]), conn), target)
	})
	return f
}

// Package cork lets what TLS writes as several records go out in one call to the kernel, and so to the network as few large packets: a
// record has 16 KiB at most, and a call for each costs more than the copy that saves it.
package cork

import (
	"net"
	"sync"
)

const (
	// plain is the most that TLS sends as one record (RFC 8446 section 5.1), in bytes. What is no longer is not held back.
	plain = 16 << 10
	// size is what is held back at most, in bytes: five records with what encryption adds (RFC 8446 section 5.2: 5 and 256 at most).
	size = 5 * (plain + 5 + 256)
)

var buffers = sync.Pool{New: func() any { return new([size]byte) }} //nolint:gochecknoglobals // a pool; all connections lend from it

// Conn is a connection below TLS. It is a plain one until something [Over] it writes much at once; idle, it holds no buffer.
type Conn struct {
	net.Conn

	mu     sync.Mutex
	buffer *[size]byte // nil while nothing is held back
	held   int         // bytes in it
}

// Under makes of a connection one that can be corked. TLS goes on top of it.
func Under(conn net.Conn) *Conn { return &Conn{Conn: conn} }

// NetConn is the connection below.
func (c *Conn) NetConn() net.Conn { return c.Conn }

// Write is that of net.Conn. What is held back counts as written.
func (c *Conn) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.buffer == nil {
		return c.Conn.Write(p)
	}
	if len(p) > size-c.held {
		if err := c.flush(); err != nil {
			return 0, err
		}
	}
	if len(p) > size {
		return c.Conn.Write(p)
	}
	c.held += copy(c.buffer[c.held:], p)
	return len(p), nil
}

// flush writes what is held back. c.mu is held.
func (c *Conn) flush() error {
	n := c.held
	c.held = 0
	if n == 0 {
		return nil
	}
	_, err := c.Conn.Write(c.buffer[:n])
	return err
}

func (c *Conn) hold() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.buffer = buffers.Get().(*[size]byte)
}

func (c *Conn) release() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	err := c.flush()
	buffers.Put(c.buffer)
	c.buffer = nil
	return err
}

// Over returns conn, each of whose longer writes goes out at once where there is a [Conn] under it, that conn tells of by NetConn.
func Over(conn net.Conn) net.Conn {
	for below := conn; ; {
		if c, ok := below.(*Conn); ok {
			return &over{Conn: conn, under: c}
		}
		next, ok := below.(interface{ NetConn() net.Conn })
		if !ok {
			return conn
		}
		below = next.NetConn()
	}
}

type over struct {
	net.Conn
	under   *Conn
	writing sync.Mutex
}

// NetConn is the connection below.
func (o *over) NetConn() net.Conn { return o.Conn }

// Write is that of net.Conn. An error may be that of a part that counted as written before.
func (o *over) Write(p []byte) (int, error) {
	if len(p) <= plain {
		return o.Conn.Write(p)
	}
	o.writing.Lock()
	defer o.writing.Unlock()
	o.under.hold()
	n, err := o.Conn.Write(p)
	if released := o.under.release(); err == nil && released != nil {
		return 0, released
	}
	return n, err
}

// Listener makes of each connection of another listener one that can be corked.
type Listener struct{ net.Listener }

// Accept is that of net.Listener.
func (l Listener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return Under(conn), nil
}

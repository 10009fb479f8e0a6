package cork

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/http/httptest"
	"sync"
	"testing"

	"golang.org/x/net/nettest"
)

// counted counts the writes to a connection, and fails those after so many.
type counted struct {
	net.Conn
	writes int
	fail   int // 0: none fails
}

var errFull = errors.New("nothing more")

func (c *counted) Write(p []byte) (int, error) {
	if c.writes++; c.fail > 0 && c.writes >= c.fail {
		return 0, errFull
	}
	return c.Conn.Write(p)
}

// secured is TLS on a connection that is counted, and its other end.
func secured(t *testing.T) (*tls.Conn, *counted, *tls.Conn) {
	t.Helper()
	s := httptest.NewTLSServer(nil)
	defer s.Close()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	dialled, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	accepted, err := Listener{l}.Accept()
	if err != nil {
		t.Fatal(err)
	}
	c := &counted{Conn: dialled}
	roots := x509.NewCertPool()
	roots.AddCert(s.Certificate())
	near := tls.Client(Under(c), &tls.Config{RootCAs: roots, ServerName: "example.com"})
	far := tls.Server(accepted, &tls.Config{Certificates: s.TLS.Certificates})
	t.Cleanup(func() { _, _ = near.Close(), far.Close() })
	var shaking sync.WaitGroup
	shaking.Go(func() {
		if err := far.Handshake(); err != nil {
			t.Error(err)
		}
	})
	if err := near.Handshake(); err != nil {
		t.Fatal(err)
	}
	shaking.Wait()
	shaking.Go(func() { _, _ = near.Write(make([]byte, 256<<10)) }) // after which crypto/tls makes records as large as they can be
	if _, err := io.ReadFull(far, make([]byte, 256<<10)); err != nil {
		t.Fatal(err)
	}
	shaking.Wait()
	return near, c, far
}

// TestOneCall: what TLS makes several records of goes out in one call, and comes as it was.
func TestOneCall(t *testing.T) {
	near, c, far := secured(t)
	corked := Over(near)
	body := make([]byte, 1<<20)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(body)
	got := make([]byte, len(body))
	for name, tt := range map[string]struct {
		conn     net.Conn
		size     int
		from, to int
	}{
		"a word":         {corked, 100, 1, 1},
		"one record":     {corked, 16 << 10, 1, 1},
		"four records":   {corked, 64 << 10, 1, 1},
		"many records":   {corked, 1 << 20, 13, 16}, // of a buffer each
		"without a cork": {near, 64 << 10, 4, 4},
	} {
		c.writes = 0
		var reading sync.WaitGroup
		reading.Go(func() {
			if _, err := io.ReadFull(far, got[:tt.size]); err != nil {
				t.Error(err)
			}
		})
		if n, err := tt.conn.Write(body[:tt.size]); n != tt.size || err != nil {
			t.Fatalf("%s: %d, %v", name, n, err)
		}
		reading.Wait()
		if !bytes.Equal(got[:tt.size], body[:tt.size]) {
			t.Errorf("%s: something else came", name)
		}
		if c.writes < tt.from || c.writes > tt.to {
			t.Errorf("%s: %d calls", name, c.writes)
		}
	}
}

// TestFailure: what was held back and could not be written is an error of the write that it was of.
func TestFailure(t *testing.T) {
	for _, after := range []int{1, 2, 3} {
		near, c, far := secured(t)
		go func() { _, _ = io.Copy(io.Discard, far) }()
		c.writes, c.fail = 0, after
		if _, err := Over(near).Write(make([]byte, 200<<10)); !errors.Is(err, errFull) {
			t.Errorf("call %d: %v", after, err)
		}
	}
}

// TestIdle: nothing is held, and no buffer lent, when a write is over.
func TestIdle(t *testing.T) {
	near, c, far := secured(t)
	go func() { _, _ = io.Copy(io.Discard, far) }()
	for _, fail := range []int{0, 1} {
		c.writes, c.fail = 0, fail
		_, _ = Over(near).Write(make([]byte, 64<<10))
		if under := near.NetConn().(*Conn); under.buffer != nil || under.held != 0 {
			t.Errorf("it holds %d bytes", under.held)
		}
	}
}

// TestNothingUnder: a connection that has none under it stays what it is.
func TestNothingUnder(t *testing.T) {
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	if got := Over(tls.Client(a, &tls.Config{})); net.Conn(got) == nil {
		t.Error("nothing")
	} else if _, ok := got.(*tls.Conn); !ok {
		t.Errorf("a %T", got)
	}
}

func TestIsAConnection(t *testing.T) {
	nettest.TestConn(t, func() (net.Conn, net.Conn, func(), error) {
		a, b := net.Pipe()
		return Over(Under(a)), Over(Under(b)), func() { _, _ = a.Close(), b.Close() }, nil
	})
}

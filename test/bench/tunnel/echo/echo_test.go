package echo

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// serve starts a server. ended tells why it is over.
func serve(t *testing.T, other Other) (s *Server, address string, ended <-chan error) {
	t.Helper()
	s, err := Listen("127.0.0.1:0", other)
	if err != nil {
		t.Fatal(err)
	}
	at, err := unix.Getsockname(s.listener)
	if err != nil {
		t.Fatal(err)
	}
	end := make(chan error, 1)
	go func() { end <- s.Serve() }()
	return s, addrPort(at), end
}

// listen starts a server, which has ended when the test has.
func listen(t *testing.T, other Other) (address string) {
	t.Helper()
	s, address, ended := serve(t, other)
	t.Cleanup(func() {
		s.Stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return address
}

func addrPort(at unix.Sockaddr) string {
	a := at.(*unix.SockaddrInet4)
	return netip.AddrPortFrom(netip.AddrFrom4(a.Addr), uint16(a.Port)).String()
}

func none(t *testing.T) Other {
	return func(conn net.Conn, hello [HelloSize]byte, _ int) {
		t.Errorf("a stream of kind %q", hello[0])
		conn.Close()
	}
}

func dial(t *testing.T, address string) net.Conn {
	t.Helper()
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return conn
}

func TestServerReturnsWords(t *testing.T) {
	conn := dial(t, listen(t, none(t)))
	hello := Hello(Kind, 7)
	for _, part := range [][]byte{hello[:2], hello[2:]} {
		if _, err := conn.Write(part); err != nil {
			t.Fatal(err)
		}
	}
	for _, b := range []byte("abc") {
		word := bytes.Repeat([]byte{b}, Word)
		word[Word-1] = 'z'
		for _, part := range [][]byte{word[:1], word[1:600], word[600:]} {
			if _, err := conn.Write(part); err != nil {
				t.Fatal(err)
			}
		}
		got := make([]byte, Word)
		if _, err := io.ReadFull(conn, got); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, word) {
			t.Fatalf("the word of %q came back as another", b)
		}
	}
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if n, err := conn.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("after the end: %d bytes, %v", n, err)
	}
}

func TestServerHandsOn(t *testing.T) {
	type stream struct {
		hello [HelloSize]byte
		came  int
		rest  []byte
		err   error
	}
	streams := make(chan stream, 1)
	address := listen(t, func(conn net.Conn, hello [HelloSize]byte, came int) {
		defer conn.Close()
		rest, err := io.ReadAll(conn)
		if err == nil {
			_, err = conn.Write([]byte("all"))
		}
		streams <- stream{hello, came, rest, err}
	})
	conn := dial(t, address)
	if _, err := conn.Write(append(Hello('u', 300), strings.Repeat("x", 5000)...)); err != nil {
		t.Fatal(err)
	}
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	said, err := io.ReadAll(conn)
	if err != nil || string(said) != "all" {
		t.Errorf("it said %q, %v", said, err)
	}
	got := <-streams
	if got.err != nil || !bytes.Equal(got.hello[:], Hello('u', 300)) || got.came+len(got.rest) != 5000 {
		t.Errorf("hello %q, %d + %d bytes, %v", got.hello, got.came, len(got.rest), got.err)
	}
}

func TestServerStops(t *testing.T) {
	s, address, ended := serve(t, none(t))
	conn := dial(t, address)
	word := append(Hello(Kind, 0), make([]byte, Word)...)
	if _, err := conn.Write(word); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(conn, word[:Word]); err != nil { // it is known to the server now
		t.Fatal(err)
	}
	s.Stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if n, err := conn.Read(word); err == nil {
		t.Errorf("a stream goes on: %d bytes", n)
	}
	if _, err := Listen("127.0.0.1:x", none(t)); err == nil {
		t.Error("it listens at no port")
	}
}

func TestCalls(t *testing.T) {
	const measured = 50 * time.Millisecond
	address := listen(t, none(t))
	done, took, err := Calls(t.Context(), address, 5, measured, time.Minute)
	if err != nil || done < 5 || took < measured {
		t.Errorf("%d calls in %s, %v", done, took, err)
	}
}

func TestCallsThatFail(t *testing.T) {
	silent, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	whole := listen(t, none(t))
	rude, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer rude.Close()
	go func() {
		for {
			conn, err := rude.Accept()
			if err != nil {
				return
			}
			_, _ = io.ReadFull(conn, make([]byte, HelloSize+Word))
			_, _ = conn.Write(make([]byte, 24))
			conn.Close()
		}
	}()
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	for _, c := range []struct {
		name, address, want string
		ctx                 context.Context
	}{
		{"nobody listens", "127.0.0.1:1", "connection refused", t.Context()},
		{"no answer", silent.Addr().String(), "calls did not come to their end within 10ms", t.Context()},
		{"a part of an answer", rude.Addr().String(), "the stream ended 1000 bytes before it", t.Context()},
		{"given up", whole, "context canceled", cancelled},
		{"IPv6", "[::1]:80", "no address of IPv4", t.Context()},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, _, err := Calls(c.ctx, c.address, 3, time.Millisecond, 10*time.Millisecond)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
}

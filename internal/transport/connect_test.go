package transport

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// answer is a connection on which a prepared answer comes, and whatever is written is kept.
type answer struct {
	net.Conn
	io.Reader
	wrote bytes.Buffer
}

func (a *answer) Read(p []byte) (int, error)  { return a.Reader.Read(p) }
func (a *answer) Write(p []byte) (int, error) { return a.wrote.Write(p) }
func (*answer) Close() error                  { return nil }
func (*answer) SetDeadline(time.Time) error   { return nil }
func (*answer) RemoteAddr() net.Addr          { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1080} }
func said(s string) *answer                   { return &answer{Reader: strings.NewReader(s)} }
func (a *answer) left() int                   { n, _ := io.Copy(io.Discard, a.Reader); return int(n) }
func through(s, user string) (*answer, error, error) {
	web, socks := said(s), said(s)
	return web, overHTTP(context.Background(), web, "gateway.example:8443", url.UserPassword("user", user)),
		overSOCKS(context.Background(), socks, "gateway.example:8443", url.UserPassword("user", user))
}

func TestConnectAsksAsItShould(t *testing.T) {
	a := said("HTTP/1.1 200 Connection established\r\n\r\n")
	if err := overHTTP(t.Context(), a, "gateway.example:8443", url.UserPassword("user", "p:w d")); err != nil {
		t.Fatal(err)
	}
	want := "CONNECT gateway.example:8443 HTTP/1.1\r\nHost: gateway.example:8443\r\nUser-Agent: pipeops-agent\r\nProxy-Authorization: Basic dXNlcjpwOncgZA==\r\n\r\n"
	if got := a.wrote.String(); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestAProxyIsWaitedForSoLong: one that takes the connection and stays silent is given up, and at once when nobody waits any more.
func TestAProxyIsWaitedForSoLong(t *testing.T) {
	for _, scheme := range []string{"http", "https", "socks5"} {
		synctest.Test(t, func(t *testing.T) {
			d := &Dialer{Dial: func(context.Context, string, string) (net.Conn, error) {
				here, there := net.Pipe()
				go func() { _, _ = io.Copy(io.Discard, there) }()
				return named{here}, nil
			}}
			w := way{proxy: &url.URL{Scheme: scheme, Host: "proxy.example:1"}}
			began := time.Now()
			_, err := d.connect(t.Context(), "gateway.example:8443", w)
			var refused *proxyError
			if !errors.As(err, &refused) || !strings.Contains(err.Error(), "proxy.example:1: no answer within 10s") || time.Since(began) != stageTimeout {
				t.Errorf("%s: after %s: %v", scheme, time.Since(began), err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(time.Second, cancel)
			began = time.Now()
			if _, err = d.connect(ctx, "gateway.example:8443", w); !errors.Is(err, context.Canceled) || time.Since(began) != time.Second {
				t.Errorf("%s: after %s: %v", scheme, time.Since(began), err)
			}
		})
	}
}

// named is a pipe that has an address.
type named struct{ net.Conn }

func (named) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1080} }

// wholeSocks reports whether sent begins with all that a SOCKS proxy says when it connects (RFC 1928 sections 3 and 6, RFC 1929).
func wholeSocks(sent string) bool {
	if !strings.HasPrefix(sent, "\x05\x00") && !strings.HasPrefix(sent, "\x05\x02") {
		return false
	}
	answer := sent[2:]
	if sent[1] == 2 {
		if len(answer) < 2 || answer[1] != 0 {
			return false
		}
		answer = answer[2:]
	}
	if len(answer) < 5 || answer[0] != 5 || answer[1] != 0 {
		return false
	}
	address, known := map[byte]int{1: 4, 3: 1 + int(answer[4]), 4: 16}[answer[3]]
	return known && len(answer) >= 4+address+2
}

// FuzzProxy: whatever a proxy answers, the error tells no password and nothing that a terminal obeys, no more is read than the answer
// or a header's worth, and a connection comes only of an answer that is whole.
func FuzzProxy(f *testing.F) {
	f.Add("HTTP/1.1 200 OK\r\n\r\n")
	f.Add("HTTP/1.1 407 \x1b]0;x\a\r\nProxy-Authenticate: \x1b Basic\r\nProxy-Authenticate: NTLM\r\n\r\n")
	f.Add("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
	f.Add("\x05\x00\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00")
	f.Add("\x05\x02\x01\x00\x05\x02\x00\x03\x01x\x00\x00")
	f.Add("\x05\x00\x05\x00\x00\x03\x01000")
	f.Fuzz(func(t *testing.T, sent string) {
		const password = "s3cret-of-the-proxy"
		web, overWeb, overSocks := through(sent, password)
		if overWeb == nil && (!strings.HasPrefix(sent, "HTTP/") || web.left() > 0 && len(sent) < 4096) {
			t.Errorf("%q made a connection", sent)
		}
		if overSocks == nil && !wholeSocks(sent) {
			t.Errorf("%q made a connection by SOCKS", sent)
		}
		for _, err := range []error{overWeb, overSocks} {
			if err != nil && (strings.Contains(err.Error(), password) || strings.ContainsAny(err.Error(), "\x1b\x07\n")) {
				t.Errorf("%q", err)
			}
		}
	})
}

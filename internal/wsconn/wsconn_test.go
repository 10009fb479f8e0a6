package wsconn

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/pipeopshq/pipeops-agent/internal/mux"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
	"github.com/pipeopshq/pipeops-agent/internal/refusal"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const path = "/v1/tunnel"

// serve is a server whose handler is called for each request.
func serve(t testing.TB, handler http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(handler)
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

func dial(t testing.TB, address string) net.Conn {
	t.Helper()
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// pair is two ends of a WebSocket on loopback. writes counts what the dialling end writes to its socket.
func pair(t testing.TB) (client, server *Conn, writes *counted) {
	t.Helper()
	accepted := make(chan *Conn, 1)
	address := serve(t, func(w http.ResponseWriter, r *http.Request) {
		c, err := Accept(w, r, wire.Subprotocol, &Buffers{})
		if err != nil {
			t.Error(err)
		}
		accepted <- c
	})
	writes = &counted{Conn: dial(t, address)}
	client, err := Dial(t.Context(), writes, "gateway", path, wire.Subprotocol, &Buffers{})
	if err != nil {
		t.Fatal(err)
	}
	server = <-accepted
	t.Cleanup(func() { _ = client.Close(); _ = server.Close() })
	return client, server, writes
}

// counted counts the writes to a connection.
type counted struct {
	net.Conn
	mu sync.Mutex
	n  int
}

func (c *counted) Write(p []byte) (int, error) {
	c.mu.Lock()
	c.n++
	c.mu.Unlock()
	return c.Conn.Write(p)
}

func (c *counted) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.n
}

func TestBytesComeAsTheyWent(t *testing.T) {
	client, server, writes := pair(t)
	for _, size := range []int{1, 125, 126, 4096, 32 << 10, MaxMessage - 1, MaxMessage, MaxMessage + 1, 3*MaxMessage + 17} {
		want := make([]byte, size)
		_, _ = rand.Read(want)
		for _, ends := range [][2]*Conn{{client, server}, {server, client}} {
			before := writes.count()
			var sent sync.WaitGroup
			sent.Go(func() {
				if n, err := ends[0].Write(want); n != size || err != nil {
					t.Errorf("wrote %d of %d, %v", n, size, err)
				}
			})
			got := make([]byte, size)
			if _, err := io.ReadFull(ends[1], got); err != nil || !bytes.Equal(got, want) {
				t.Errorf("%d bytes: %v, equal %v", size, err, bytes.Equal(got, want))
			}
			sent.Wait()
			messages := (size + MaxMessage - 1) / MaxMessage
			if ends[0] == client && writes.count()-before != messages {
				t.Errorf("%d bytes took %d writes to the socket, want %d: header and body go together", size, writes.count()-before, messages)
			}
		}
	}
}

func TestTheEndOfTheConnectionIsAnEnd(t *testing.T) {
	client, server, _ := pair(t)
	_ = client.Close()
	if _, err := server.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("got %v", err)
	}
	if _, err := server.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("the second time: %v", err)
	}

	client, server, _ = pair(t)
	if _, err := client.NetConn().Write([]byte{0x82, 0xfe, 0, 200, 1, 2, 3, 4, 'x'}); err != nil { // 199 bytes are missing
		t.Fatal(err)
	}
	_ = client.Close()
	if _, err := io.ReadAll(server); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a message that was cut: %v", err)
	}
}

func TestDeadlines(t *testing.T) {
	client, server, _ := pair(t)
	if err := client.SetReadDeadline(time.Now().Add(-time.Second)); err != nil {
		t.Fatal(err)
	}
	var timeout net.Error
	if _, err := client.Read(make([]byte, 1)); !errors.As(err, &timeout) || !timeout.Timeout() {
		t.Errorf("read: %v", err)
	}
	if err := server.SetDeadline(time.Now().Add(-time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := server.Write([]byte("x")); !errors.As(err, &timeout) || !timeout.Timeout() {
		t.Errorf("write: %v", err)
	}
}

// TestCloseWakesAReader is the contract that yamux wants of a connection (hashicorp/yamux#149).
func TestCloseWakesAReader(t *testing.T) {
	client, _, _ := pair(t)
	ended := make(chan error)
	go func() {
		_, err := client.Read(make([]byte, 1))
		ended <- err
	}()
	_ = client.Close()
	if err := <-ended; err == nil {
		t.Error("a read of a closed connection succeeded")
	}
}

func TestWhatIsNoTunnelIsRefused(t *testing.T) {
	for name, c := range map[string]struct {
		frame []byte // from a client, so masked
		want  string
	}{
		"text":             {[]byte{0x81, 0x81, 0, 0, 0, 0, 'x'}, ErrMessage.Error()},
		"too long":         {[]byte{0x82, 0xff, 0, 0, 0, 0, 0, 1, 0, 1, 0, 0, 0, 0}, ErrMessage.Error()},
		"too long in bits": {append([]byte{0x02, 0xfe, 0xff, 0xff, 0, 0, 0, 0}, append(make([]byte, 0xffff), 0x80, 0x82, 0, 0, 0, 0, 'x', 'y')...), ErrMessage.Error()},
		"close with words": {[]byte{0x88, 0x86, 0, 0, 0, 0, 0x0f, 0xa0, 0x1b, ']', '0', ';'}, "the peer closed the WebSocket with code 4000"},
		"not masked":       {[]byte{0x82, 0x01, 'x'}, "MASK"},
	} {
		t.Run(name, func(t *testing.T) {
			client, server, _ := pair(t)
			if _, err := client.NetConn().Write(c.frame); err != nil {
				t.Fatal(err)
			}
			_, err := io.Copy(io.Discard, server)
			if err == nil || !strings.Contains(err.Error(), c.want) || strings.ContainsRune(err.Error(), 0x1b) {
				t.Errorf("got %q", err)
			}
		})
	}
}

func TestUpgradesThatAreRefused(t *testing.T) {
	accept := func(w http.ResponseWriter, r *http.Request) {
		if c, err := Accept(w, r, wire.Subprotocol, &Buffers{}); err == nil {
			_ = c.Close()
			t.Errorf("accepted %v", r.Header)
		}
	}
	address := serve(t, accept)
	good := map[string]string{
		"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
		"Sec-WebSocket-Protocol": wire.Subprotocol,
	}
	for name, change := range map[string][2]string{
		"no upgrade":          {"Upgrade", ""},
		"another upgrade":     {"Upgrade", "h2c"},
		"no connection":       {"Connection", "close"},
		"another version":     {"Sec-WebSocket-Version", "8"},
		"no key":              {"Sec-WebSocket-Key", ""},
		"no subprotocol":      {"Sec-WebSocket-Protocol", ""},
		"another subprotocol": {"Sec-WebSocket-Protocol", "v5.channel.k8s.io"},
		"a page in a browser": {"Origin", "http://" + address},
	} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+address+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		for k, v := range good {
			r.Header.Set(k, v)
		}
		r.Header.Set(change[0], change[1])
		response, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		if response.StatusCode < 400 {
			t.Errorf("%s: %s", name, response.Status)
		}
	}
}

// TestDialRefused: what the peer says of its refusal reaches the caller, and nothing else makes a connection.
func TestDialRefused(t *testing.T) {
	hijack := func(answer string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			conn, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			_, _ = io.WriteString(conn, answer)
			_ = conn.Close()
		}
	}
	for name, c := range map[string]struct {
		handler http.HandlerFunc
		want    func(error) bool
	}{
		"with a reason": {func(w http.ResponseWriter, r *http.Request) {
			refusal.Write(w, http.StatusForbidden, reason.Newf(reason.IdentityRevoked, "by an operator"))
		}, func(err error) bool { return reason.Is(err, reason.IdentityRevoked) }},
		"not found":       {http.NotFound, func(err error) bool { return reason.Is(err, reason.GatewayRefused) }},
		"no HTTP":         {hijack("\x1b]0;gone\a\r\n\r\n"), func(err error) bool { return err != nil }},
		"a wrong key":     {hijack("HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: x\r\n\r\n"), func(err error) bool { return err != nil }},
		"no end of words": {hijack("HTTP/1.1 101 x\r\n" + strings.Repeat("A: b\r\n", wire.MaxHeader)), func(err error) bool { return errors.Is(err, ErrUpgrade) }},
	} {
		t.Run(name, func(t *testing.T) {
			c2, err := Dial(t.Context(), dial(t, serve(t, c.handler)), "gateway", path, wire.Subprotocol, &Buffers{})
			if c2 != nil || !c.want(err) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestDialEndsWithItsContextAndInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		silent := func() net.Conn {
			here, there := net.Pipe()
			go func() { _, _ = io.Copy(io.Discard, there) }()
			return here
		}
		began := time.Now()
		_, err := Dial(t.Context(), silent(), "gateway", path, wire.Subprotocol, &Buffers{})
		if err == nil || !strings.Contains(err.Error(), "no answer to the WebSocket upgrade") || time.Since(began) != upgradeTimeout {
			t.Errorf("after %s: %v", time.Since(began), err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		began = time.Now()
		if _, err = Dial(ctx, silent(), "gateway", path, wire.Subprotocol, &Buffers{}); !errors.Is(err, context.Canceled) || time.Since(began) != time.Second {
			t.Errorf("after %s: %v", time.Since(began), err)
		}
	})
}

// TestASessionOnIt carries many megabytes both ways at once, in streams of a session.
func TestASessionOnIt(t *testing.T) {
	const streams, size = 8, 4 << 20
	client, server, _ := pair(t)
	agent, gateway := mux.New(client, mux.Config{Client: true}), mux.New(server, mux.Config{})
	sent := make([]byte, size)
	_, _ = rand.Read(sent)
	var work sync.WaitGroup
	for range streams {
		work.Go(func() { // what comes goes back
			st, err := agent.Accept()
			if err != nil {
				t.Error(err)
				return
			}
			_, _ = io.Copy(st, st)
			_ = st.Close()
		})
		work.Go(func() {
			st, err := gateway.Open()
			if err != nil {
				t.Error(err)
				return
			}
			work.Go(func() {
				_, _ = st.Write(sent)
				_ = st.CloseWrite()
			})
			if got, err := io.ReadAll(st); err != nil || !bytes.Equal(got, sent) {
				t.Errorf("%d of %d bytes came back, equal %v, %v", len(got), size, bytes.Equal(got, sent), err)
			}
			_ = st.Close()
		})
	}
	work.Wait()
	agent.Close(nil)
	gateway.Close(nil)
	agent.Wait()
	gateway.Wait()
}

// answer is a connection on which a prepared answer comes, and whatever is written is dropped.
type answer struct {
	net.Conn
	io.Reader
}

func (a answer) Read(p []byte) (int, error)     { return a.Reader.Read(p) }
func (answer) Write(p []byte) (int, error)      { return len(p), nil }
func (answer) Close() error                     { return nil }
func (answer) SetDeadline(time.Time) error      { return nil }
func (answer) SetReadDeadline(time.Time) error  { return nil }
func (answer) SetWriteDeadline(time.Time) error { return nil }

// hijacked is a response that gives its connection away.
type hijacked struct {
	http.ResponseWriter
	conn answer
}

func (h hijacked) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return h.conn, bufio.NewReadWriter(bufio.NewReader(h.conn), bufio.NewWriter(h.conn)), nil
}

// FuzzFrames: whatever a peer sends ends with an error or the end, and no more comes out than went in.
func FuzzFrames(f *testing.F) {
	f.Add([]byte{0x82, 0x81, 0, 0, 0, 0, 'x', 0x89, 0x80, 1, 2, 3, 4, 0x82, 0xfe, 0, 200, 1, 2, 3, 4, 'x'})
	f.Add([]byte{0x02, 0x81, 0, 0, 0, 0, 'x', 0x80, 0x81, 0, 0, 0, 0, 'y', 0x88, 0x82, 0, 0, 0, 0, 3, 0xe8})
	f.Add([]byte{0x82, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, sent []byte) {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil)
		for k, v := range map[string]string{"Connection": "Upgrade", "Upgrade": "websocket", "Sec-Websocket-Version": "13",
			"Sec-Websocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==", "Sec-Websocket-Protocol": wire.Subprotocol} {
			r.Header.Set(k, v)
		}
		c, err := Accept(hijacked{httptest.NewRecorder(), answer{Reader: bytes.NewReader(sent)}}, r, wire.Subprotocol, &Buffers{})
		if err != nil {
			t.Fatal(err)
		}
		n, _ := io.Copy(io.Discard, c)
		if n > int64(len(sent)) {
			t.Errorf("%d bytes of %d", n, len(sent))
		}
		if _, err := c.Read(make([]byte, 1)); err == nil {
			t.Error("something comes after the end")
		}
	})
}

// FuzzAnswer: no answer makes a connection but one to the very key that was sent.
func FuzzAnswer(f *testing.F) {
	f.Add([]byte("HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: x\r\n\r\n"))
	f.Add([]byte("HTTP/1.1 403 Forbidden\r\nContent-Length: 30\r\n\r\n" + `{"code":"IDENTITY_REVOKED"}`))
	f.Fuzz(func(t *testing.T, sent []byte) {
		if c, err := Dial(t.Context(), answer{Reader: bytes.NewReader(sent)}, "gateway", path, wire.Subprotocol, &Buffers{}); err == nil {
			_ = c.Close()
			t.Errorf("%q made a connection", sent)
		} else if strings.ContainsAny(err.Error(), "\x1b\x07\n") {
			t.Errorf("%q", err)
		}
	})
}

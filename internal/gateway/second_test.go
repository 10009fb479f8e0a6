package gateway_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/gateway/gatewaytest"
	"github.com/pipeopshq/pipeops-agent/internal/session"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

// noise is so many bytes that are the same for the same seed.
func noise(seed byte, n int64) io.Reader {
	return io.LimitReader(rand.NewChaCha8([32]byte{seed}), n)
}

func sum(t testing.TB, r io.Reader) string {
	t.Helper()
	h := crc32.NewIEEE()
	n, err := io.Copy(h, r)
	if err != nil {
		t.Error(err)
	}
	return fmt.Sprintf("%d bytes, %x", n, h.Sum32())
}

// secondsBegan reports whether so many second connections have been made.
func secondsBegan(t *testing.T, g *gatewaytest.Gateway, n int) bool {
	t.Helper()
	var out strings.Builder
	if err := g.Admin.Metrics(context.Background(), &out); err != nil {
		t.Error(err)
	}
	return strings.Contains(out.String(), fmt.Sprintf("pipeops_gateway_second_connections_began_total %d\n", n))
}

// TestLargeBodiesDoNotShareAConnection: of several at a time each gets one to itself, and they come as they were sent.
func TestLargeBodiesDoNotShareAConnection(t *testing.T) {
	const bodies = 3
	g := gatewaytest.Start(t)
	runAgent(t, mustEnroll(t, g, "shop"), http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		body := noise(1, 1<<40)
		for all := false; !all; all = secondsBegan(t, g, bodies) {
			if _, err := io.CopyN(w, body, 2<<20); err != nil {
				t.Error(err)
				return
			}
		}
	}))
	g.WaitConnected("shop", true)
	u := login(t, g, "shop")
	var all sync.WaitGroup
	for range bodies {
		all.Go(func() {
			answer, err := u.client.Do(u.request(http.MethodGet, "/large", nil))
			if err != nil {
				t.Error(err)
				return
			}
			defer func() { _ = answer.Body.Close() }()
			want, got := noise(1, 1<<40), make([]byte, 64<<10)
			buf := make([]byte, len(got))
			for {
				n, err := io.ReadFull(answer.Body, got)
				if _, _ = io.ReadFull(want, buf[:n]); !bytes.Equal(got[:n], buf[:n]) {
					t.Error("it is not what was sent")
					return
				}
				if err != nil {
					if err != io.EOF { // what is sent is a multiple of the buffer
						t.Error(err)
					}
					return
				}
			}
		})
	}
	all.Wait()
	if !secondsBegan(t, g, bodies) {
		t.Error("there are others than that")
	}
}

// TestLargeBodiesGoByASecondConnection: whichever end sends them, and they come as they were sent.
func TestLargeBodiesGoByASecondConnection(t *testing.T) {
	const large = 40 << 20
	g := gatewaytest.Start(t)
	got := make(chan string, 1)
	began := func() bool { return secondsBegan(t, g, 1) }
	agent := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPut {
			got <- sum(t, r.Body)
			return
		}
		body := noise(1, large)
		if _, err := io.CopyN(w, body, 2<<20); err != nil {
			t.Error(err)
		}
		g.Wait("the second connection", began) // and what comes after it goes there
		_, _ = io.Copy(w, body)
	})
	runAgent(t, mustEnroll(t, g, "shop"), agent)
	g.WaitConnected("shop", true)
	u := login(t, g, "shop")
	ask := func(method string, body io.Reader) *http.Response {
		t.Helper()
		answer, err := u.client.Do(u.request(method, "/large", body))
		if err != nil {
			t.Fatal(err)
		}
		return answer
	}
	down := ask(http.MethodGet, nil)
	if is, want := sum(t, down.Body), sum(t, noise(1, large)); is != want {
		t.Errorf("down %s, want %s", is, want)
	}
	_ = down.Body.Close()
	up := ask(http.MethodPut, noise(2, large))
	if is, want := <-got, sum(t, noise(2, large)); is != want {
		t.Errorf("up %s, want %s", is, want)
	}
	_ = up.Body.Close()
	if !began() {
		t.Error("there was more than one second connection")
	}
}

// dialSecond asks for a further connection, by which something comes within a minute.
func dialSecond(t *testing.T, g *gatewaytest.Gateway, config *tls.Config, second wire.Second) *tls.Conn {
	t.Helper()
	conn, err := tls.Dial("tcp", g.Address, config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(time.Minute))
	said, ok := second.Append(nil)
	if _, err := conn.Write(said); err != nil || !ok {
		t.Fatal(err, ok)
	}
	return conn
}

// TestAnAgentThatMakesConnectionsAllTheTime: the gateway holds no more than the newest eight of them, takes none again, and goes on with the
// session.
func TestAnAgentThatMakesConnectionsAllTheTime(t *testing.T) {
	const made = 50
	g := gatewaytest.Start(t)
	id := mustEnroll(t, g, "shop")
	token := greet(t, g, id, 0).Second
	ping := []byte{0, 2, 0, 1, 0, 0, 0, 0, 0, 0, 0, 7}
	connect := func(number uint32, want int) *tls.Conn {
		t.Helper()
		conn := dialSecond(t, g, id.TLS(wire.ALPN), wire.Second{Token: token, Number: number})
		if _, err := io.ReadFull(conn, make([]byte, want)); err != nil {
			t.Fatal(err)
		}
		return conn
	}
	var conns []*tls.Conn
	for n := range made {
		conns = append(conns, connect(uint32(n+1), 1+len(ping))) // the gateway's own comes when it has it
	}
	conns = append(conns, connect(made, 1)) // once more
	for n, conn := range conns {
		_, _ = conn.Write(ping) // it may be closed
		_, err := io.ReadFull(conn, make([]byte, len(ping)))
		if newest := n >= made-session.Lanes && n < made; newest != (err == nil) {
			t.Errorf("connection %d of %d: %v", n+1, made, err)
		}
	}
	g.WaitConnected("shop", true)
}

// TestSecondConnectionsOfStrangers: a further connection belongs to a session of the same machine, by its token, or is closed.
func TestSecondConnectionsOfStrangers(t *testing.T) {
	g, first, _ := shop(t)
	other := mustEnroll(t, g, "other")
	id, _, err := join(g, t.TempDir(), "two", nodeToken(t, g, wire.RoleWorker))
	if err != nil {
		t.Fatal(err)
	}
	token := greet(t, g, id, 0).Second
	for name, tt := range map[string]struct {
		config *tls.Config
		token  string
		taken  bool
	}{
		"its own":                  {id.TLS(wire.ALPN), token, true},
		"another cluster's":        {other.TLS(wire.ALPN), token, false},
		"another's of its cluster": {first.id.TLS(wire.ALPN), token, false},
		"none that it is":          {id.TLS(wire.ALPN), strings.Repeat("0", 32), false},
	} {
		conn := dialSecond(t, g, tt.config, wire.Second{Token: tt.token, Number: 1})
		answer := make([]byte, 1)
		if n, err := conn.Read(answer); n == 1 != tt.taken || n == 1 && answer[0] != wire.SecondTaken {
			t.Errorf("%s: %d, %v", name, answer, err)
		}
	}
	conn, err := tls.Dial("tcp", g.Address, id.TLS(wire.ALPN))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(time.Minute))
	if _, err := conn.Write([]byte("pipeops-bulk and then something that is no token")); err != nil {
		t.Fatal(err)
	}
	if n, err := conn.Read(make([]byte, 1)); n != 0 || err == nil {
		t.Errorf("a lie is answered: %d, %v", n, err)
	}
}

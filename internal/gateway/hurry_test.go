package gateway

import (
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

// pipe serves one connection as the port of the gateway does, but for TLS, until end is called.
func (g *Gateway) pipe(t *testing.T) (here net.Conn, end func()) {
	t.Helper()
	listener, server, served := newHanded(&net.TCPAddr{}), g.server(g.https(t.Context())), make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	here, there := net.Pipe()
	listener.conns <- there
	return here, func() {
		_ = here.Close()
		_ = server.Close()
		_ = listener.Close()
		<-served
	}
}

// TestSilentStrangers: who connects, and does not get a request out, or has had an answer and says nothing more, is let go.
func TestSilentStrangers(t *testing.T) {
	g, _, _ := opened(t)
	for name, c := range map[string]struct {
		says string // at once
		most time.Duration
	}{
		"nothing":              {"", 10 * time.Second},
		"a half header":        {"GET /healthz HTTP/1.1\r\nHost: g\r\n", 10 * time.Second},
		"nothing after answer": {"GET /healthz HTTP/1.1\r\nHost: g\r\n\r\n", 3 * time.Minute},
	} {
		synctest.Test(t, func(t *testing.T) {
			here, end := g.pipe(t)
			began := time.Now()
			if _, err := io.WriteString(here, c.says); err != nil {
				t.Fatal(err)
			}
			_, _ = io.ReadAll(here) // and the end of the connection
			if took := time.Since(began); took > c.most+time.Second {
				t.Errorf("%s: the connection was held for %s", name, took)
			}
			end()
		})
	}
}

// TestSlowStrangers: who has no token cannot hold a connection by sending a body slowly, also where it is refused before it was read.
func TestSlowStrangers(t *testing.T) {
	g, ids, _ := opened(t)
	for name, c := range map[string]struct {
		path string
		most time.Duration
	}{
		"enrol":              {wire.PathEnroll, strangerTime + restTime},
		"join":               {wire.PathJoin, strangerTime + restTime},
		"events":             {wire.PathEvents, restTime},
		"leave":              {wire.PathLeave, restTime},
		"the Kubernetes API": {wire.PathClusters + "/shop/api", restTime},
		"pages":              {wire.PathProjects + "/shop/web/", restTime},
		"connections":        {wire.PathConnect + "/shop/tcp/svc/a/b/80", restTime},
		"another gateway's":  {wire.PathClusters + "/" + ids[1] + "/api", restTime},
	} {
		synctest.Test(t, func(t *testing.T) {
			here, end := g.pipe(t)
			began := time.Now()
			sent := make(chan struct{})
			go func() {
				defer close(sent)
				_, _ = fmt.Fprintf(here, "POST %s HTTP/1.1\r\nHost: g\r\nContent-Length: 200000\r\n\r\n{", c.path)
				for { // a byte each second of what may still become a document, for as long as it is taken
					if _, err := io.WriteString(here, " "); err != nil {
						return
					}
					time.Sleep(time.Second)
				}
			}()
			answer, _ := io.ReadAll(here) // and the end of the connection
			if took := time.Since(began); took > c.most+time.Second {
				t.Errorf("%s: the connection was held for %s", name, took)
			}
			if !strings.HasPrefix(string(answer), "HTTP/1.1 4") {
				t.Errorf("%s: %q", name, answer)
			}
			end()
			<-sent
		})
	}
}

// TestTheFirstWordIsNotWaitedForLong: who shakes hands and says nothing is let go after firstWord.
func TestTheFirstWordIsNotWaitedForLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		here, there := net.Pipe()
		began := time.Now()
		if got := (carrier{Conn: here}).spoke(t.Context()); got != nil || time.Since(began) > firstWord {
			t.Errorf("got %v after %s", got, time.Since(began))
		}
		_, _ = here.Close(), there.Close()
	})
}

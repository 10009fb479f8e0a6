package session

import (
	"log/slog"
	"net"
	"net/http"
	"testing"
	"time"
)

// restful are a gateway's end of a session and the agent's, over TLS and idle for so long that the gateway may rest.
func restful(t *testing.T) (agent, gateway *Session) {
	t.Helper()
	a, g := tlsPair(t)
	log := slog.New(slog.DiscardHandler)
	agent, gateway = Client(a, log), Server(g, log)
	for _, s := range []*Session{agent, gateway} {
		served := make(chan struct{})
		go func() {
			defer close(served)
			_ = s.Serve(t.Context(), http.NotFoundHandler())
		}()
		t.Cleanup(func() {
			s.Close(nil)
			<-served
		})
	}
	until(t, "the agent has its answer", func() bool { return agent.mux.RTT() > 0 })
	time.Sleep(restAfter)
	return agent, gateway
}

func until(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not in time: %s", what)
		}
	}
}

// TestIdleIsForTheKernel: a gateway does not look at what idles until it says something of its own, which is when the kernel alone would be
// late. An answer to a ping is none: something came just before.
func TestIdleIsForTheKernel(t *testing.T) {
	t.Parallel()
	agent, gateway := restful(t)
	for range 2 {
		until(t, "the gateway rests", func() bool {
			gateway.alive.look()
			return gateway.alive.rests.Load()
		})
		gateway.alive.mu.Lock()
		long := gateway.alive.next(time.Now(), 0)
		gateway.alive.mu.Unlock()
		if long <= pathSilence {
			t.Errorf("at rest it looks again after %s", long)
		}
		if _, err := agent.mux.Ping(t.Context()); err != nil {
			t.Fatal(err)
		}
		if !gateway.alive.rests.Load() {
			t.Error("it looks after an answer")
		}
		if _, err := gateway.mux.Ping(t.Context()); err != nil {
			t.Fatal(err)
		}
		if gateway.alive.rests.Load() {
			t.Error("it rests when it has said something")
		}
		time.Sleep(restAfter)
	}
	agent.alive.look()
	if agent.alive.rests.Load() {
		t.Error("the agent rests")
	}
}

// TestUnsentIsNotForTheKernel: while something waits to be sent, or to be acknowledged, the gateway looks.
func TestUnsentIsNotForTheKernel(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	peer, err := net.Dial("tcp", ln.Addr().String()) // which reads nothing
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = peer.Close() }()
	if err := peer.(*net.TCPConn).SetReadBuffer(4 << 10); err != nil {
		t.Fatal(err)
	}
	conn, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	if err := Tune(conn); err != nil {
		t.Fatal(err)
	}
	gateway := Server(conn, slog.New(slog.DiscardHandler))
	began := time.Now()
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = gateway.Serve(t.Context(), http.NotFoundHandler())
	}()
	stream, err := gateway.Open()
	if err != nil {
		t.Fatal(err)
	}
	written := make(chan struct{})
	go func() {
		defer close(written)
		_, _ = stream.Write(make([]byte, 200<<10)) // less than the window
	}()
	until(t, "something was said", func() bool { return gateway.mux.Said().After(began) })
	time.Sleep(restAfter)
	if gateway.alive.path.room() {
		t.Error("there is room for more at once")
	}
	gateway.alive.look()
	if gateway.alive.rests.Load() {
		t.Error("the gateway rests")
	}
	gateway.Close(nil)
	<-served
	<-written
}

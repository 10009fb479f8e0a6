package session

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/mux"
)

// second is a second connection of a pair, and why it is gone at either end.
type second struct {
	agent, gateway chan error
	conn           net.Conn // the agent's end
}

// second ends with ctx by the agent.
func (p *pair) second(ctx context.Context, number uint32) *second {
	a, b := net.Pipe()
	s := &second{agent: make(chan error, 1), gateway: make(chan error, 1), conn: a}
	go func() { s.gateway <- p.gateway.Second(context.Background(), b, number) }()
	synctest.Wait() // the gateway is first, and waits for nobody to be there
	go func() { s.agent <- p.agent.Second(ctx, a, number) }()
	return s
}

func quietPair(handler http.Handler) (*pair, func()) {
	a, b := net.Pipe()
	log := slog.New(slog.DiscardHandler)
	p := &pair{agent: Client(a, log), gateway: Server(b, log)}
	var served sync.WaitGroup
	served.Go(func() { _ = p.agent.Serve(context.Background(), handler) })
	served.Go(func() { _ = p.gateway.Serve(context.Background(), http.NotFoundHandler()) })
	return p, func() {
		p.agent.Close(nil)
		p.gateway.Close(nil)
		served.Wait()
	}
}

// TestSecondEndsUnused: the agent ends a second connection on which there was no stream for a minute, and not one with a stream that rests.
func TestSecondEndsUnused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rest := make(chan struct{})
		p, end := quietPair(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write(make([]byte, 4<<20))
			_ = http.NewResponseController(w).Flush()
			<-rest
		}))
		defer end()
		called := time.Time{}
		p.agent.OnLarge(func() { called = time.Now() })
		began := time.Now()
		s := p.second(t.Context(), 1)
		synctest.Wait()
		r, err := get(t.Context(), p.gateway, "/")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.CopyN(io.Discard, r.Body, 4<<20); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if len(s.agent)+len(s.gateway) > 0 {
			t.Fatal("it is gone")
		}
		close(rest)
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			t.Error(err)
		}
		_ = r.Body.Close()
		p.gateway.transport.CloseIdleConnections()
		if err := <-s.agent; err != nil {
			t.Error(err)
		}
		if err := <-s.gateway; !errors.Is(err, mux.ErrLane) {
			t.Error(err)
		}
		if after := time.Since(began) - 10*time.Minute; after < secondIdle || after > secondIdle+2*secondEvery {
			t.Errorf("after %s", after)
		}
		if !called.IsZero() {
			t.Error("a second one is called for, though it is there")
		}
	})
}

// TestSecondIsSilent: one whose other end does not answer is given up at this one; the session stays.
func TestSecondIsSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, end := quietPair(http.NotFoundHandler())
		defer end()
		a, b := net.Pipe()
		defer b.Close()
		go func() { _, _ = io.Copy(io.Discard, b) }()
		began := time.Now()
		if err := p.agent.Second(t.Context(), a, 1); err == nil || !strings.Contains(err.Error(), "did not answer") || time.Since(began) != secondPatience {
			t.Errorf("after %s: %v", time.Since(began), err)
		}
		if _, err := p.agent.Ping(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// TestSecondEndsWithItsContext: and with the session.
func TestSecondEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, end := quietPair(http.NotFoundHandler())
		ctx, cancel := context.WithCancel(t.Context())
		s := p.second(ctx, 1)
		synctest.Wait()
		cancel()
		if err := <-s.agent; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		<-s.gateway
		s = p.second(t.Context(), 2)
		synctest.Wait()
		end()
		if err := <-s.agent; !errors.Is(err, mux.ErrLane) {
			t.Error(err)
		}
		<-s.gateway
	})
}

// TestLargeIsCalledFor: whichever end says much.
func TestLargeIsCalledFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, end := quietPair(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			_, _ = w.Write(make([]byte, 3<<20))
		}))
		defer end()
		calls := make(chan string, 100)
		p.agent.OnLarge(func() { calls <- "agent" })
		p.gateway.OnLarge(func() { calls <- "gateway" })
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPut, "http://peer/", strings.NewReader(strings.Repeat("x", 3<<20)))
		if err != nil {
			t.Fatal(err)
		}
		answer, err := p.gateway.Transport().RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		if got := <-calls; got != "gateway" {
			t.Error(got)
		}
		_, _ = io.Copy(io.Discard, answer.Body)
		_ = answer.Body.Close()
		for got := range calls {
			if got == "agent" {
				break
			}
		}
	})
}

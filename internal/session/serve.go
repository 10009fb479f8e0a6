package session

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"syscall"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

// Serve answers the peer's requests until the session ends, waits for the handlers to return, and returns why it ended.
// The contexts of the requests end with the session. It must be called once in the life of a session.
func (s *Session) Serve(ctx context.Context, handler http.Handler) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { s.Close(nil) })
	defer stop()
	server := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if !s.requests.begin() {
				w.WriteHeader(http.StatusServiceUnavailable)
				return
			}
			defer s.requests.end()
			handler.ServeHTTP(w, r)
		}),
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       90 * time.Second,
		MaxHeaderBytes:    wire.MaxHeader,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
		// No write timeout: logs and watches last for hours.
	}
	_ = server.Serve(listener{s}) // the cause of its end is the session's
	cancel()
	s.Close(nil)
	_ = server.Close()
	s.requests.wait()
	s.mux.Wait()
	return describe(s.mux.Err())
}

// requests counts what is being served, up to maxRequests. After wait none begins.
type requests struct {
	mu     sync.Mutex
	n      int
	closed bool
	idle   sync.WaitGroup
}

func (r *requests) begin() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed || r.n >= maxRequests {
		return false
	}
	r.n++
	r.idle.Add(1)
	return true
}

func (r *requests) end() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.n--
	r.idle.Done()
}

func (r *requests) wait() {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	r.idle.Wait()
}

// listener gives the streams that the peer opens.
type listener struct{ session *Session }

func (l listener) Accept() (net.Conn, error) {
	st, err := l.session.mux.Accept()
	if err != nil {
		return nil, net.ErrClosed // not err: net/http would try again after a timeout
	}
	return st, nil
}

func (l listener) Close() error   { return nil } // the session's owner closes it
func (l listener) Addr() net.Addr { return l.session.mux.Addr() }

// describe says in plain words what a dead connection says in its own.
func describe(err error) error {
	if errors.Is(err, syscall.ETIMEDOUT) {
		return fmt.Errorf("the peer's machine acknowledged nothing for %s: %w", userTimeout, err)
	}
	return err
}

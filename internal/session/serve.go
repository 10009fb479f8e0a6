package session

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/hashicorp/yamux"

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
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cause
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
	for {
		accepted, err := l.session.mux.AcceptStream()
		if err != nil {
			l.session.setCause(describe(err))
			return nil, net.ErrClosed // not err: net/http would try again after a timeout
		}
		if l.session.streams.Add(1) > maxStreams {
			l.session.streams.Add(-1)
			_ = accepted.Close()
			continue
		}
		return &stream{Stream: accepted, session: l.session, accepted: true}, nil
	}
}

func (l listener) Close() error   { return nil } // the session's owner closes it
func (l listener) Addr() net.Addr { return l.session.mux.Addr() }

// describe says in plain words what a dead connection says in its own.
func describe(err error) error {
	switch {
	case errors.Is(err, io.EOF):
		return fmt.Errorf("the peer closed the connection: %w", err)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Errorf("the peer was silent for %s: %w", Silence, err)
	case errors.Is(err, yamux.ErrKeepAliveTimeout):
		return fmt.Errorf("the peer did not answer a ping within %s: %w", PingTimeout, err)
	case errors.Is(err, syscall.ETIMEDOUT):
		return fmt.Errorf("the peer's machine acknowledged nothing for %s: %w", userTimeout, err)
	}
	return err
}

// muxLog passes on what yamux says. Its errors are consequences of what the session's end reports, so they are details.
type muxLog struct{ log *slog.Logger }

func (l muxLog) Print(v ...any)                 { l.say(fmt.Sprint(v...)) }
func (l muxLog) Println(v ...any)               { l.say(fmt.Sprint(v...)) }
func (l muxLog) Printf(format string, v ...any) { l.say(fmt.Sprintf(format, v...)) }
func (l muxLog) say(s string)                   { l.log.Debug(strings.TrimSpace(s), "from", "yamux") }

// Package session is a yamux session as both ends of a tunnel use it: plain HTTP/1.1 on every stream, served by the end
// that accepts the stream. It mends what stock yamux leaves to its users:
//
//   - a session that died reads as io.ErrUnexpectedEOF on its streams, never as a clean end of file;
//   - a write that timed out closes the session, since the peer would wait for ever for the rest;
//   - closing a stream unblocks its reader, and an answer whose asker is gone is abandoned at once;
//   - streams are always accepted, and refused by an answer, so that none can time out and take the session along;
//   - large writes go out in chunks, so that streams share the connection fairly.
package session

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/yamux"

	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

const (
	// KeepAlive is the time between two pings. Only the agent pings: one side is enough to tell both, and ten thousand
	// agents do not answer in step.
	KeepAlive = 10 * time.Second
	// PingTimeout is how long an answer to a ping, or any write to the connection, may take before the session is dead.
	PingTimeout = 10 * time.Second
	// Silence is how long the gateway waits for any byte: two pings and the time for one to be late.
	Silence = 2*KeepAlive + 5*time.Second
	// window is the most that a peer may send on one stream before it is read: 512 KiB carry 80 Mbit/s at 50 ms.
	window = 512 << 10
	// chunk is the largest frame. A frame holds up all others for as long as it takes.
	chunk = 32 << 10
	// maxStreams bounds the streams that a peer may have open; above it streams are closed as they come.
	maxStreams = 1024
	// maxRequests bounds the requests that are served at a time; above it they are refused with 503.
	maxRequests = 512
)

// ErrClosed is the cause of the end of a session that this end closed without giving another.
var ErrClosed = errors.New("the session was closed by this end")

// Session is one authenticated connection to a peer. All methods may be called concurrently.
type Session struct {
	mux       *yamux.Session
	transport *http.Transport
	log       *slog.Logger
	streams   atomic.Int64 // accepted and not yet closed
	requests  requests

	mu    sync.Mutex
	cause error
}

// Client starts the agent's end of a session on conn, which it owns from now on.
func Client(conn net.Conn, log *slog.Logger) (*Session, error) {
	return start(conn, log, true)
}

// Server starts the gateway's end of a session on conn, which it owns from now on.
func Server(conn net.Conn, log *slog.Logger) (*Session, error) {
	return start(&watched{Conn: conn}, log, false)
}

func start(conn net.Conn, log *slog.Logger, client bool) (*Session, error) {
	config := yamux.DefaultConfig()
	config.LogOutput = nil
	config.Logger = muxLog{log}
	config.EnableKeepAlive = client
	config.KeepAliveInterval = KeepAlive
	config.ConnectionWriteTimeout = PingTimeout
	config.MaxStreamWindowSize = window
	open := yamux.Server
	if client {
		open = yamux.Client
	}
	mux, err := open(conn, config)
	if err != nil {
		return nil, fmt.Errorf("cannot start the session: %w", err)
	}
	s := &Session{mux: mux, log: log}
	s.transport = &http.Transport{
		DialContext:            func(ctx context.Context, _, _ string) (net.Conn, error) { return s.Open(ctx) },
		DisableCompression:     true, // bodies pass through as they are
		MaxIdleConns:           64,
		MaxIdleConnsPerHost:    64,
		IdleConnTimeout:        time.Minute, // shorter than the server's, so that the asker closes first
		MaxResponseHeaderBytes: wire.MaxHeader,
	}
	return s, nil
}

// Open opens a stream.
func (s *Session) Open(ctx context.Context) (net.Conn, error) {
	type opened struct {
		stream *yamux.Stream
		err    error
	}
	done := make(chan opened, 1)
	go func() { // ends within PingTimeout, or with the session
		st, err := s.mux.OpenStream()
		done <- opened{st, err}
	}()
	select {
	case o := <-done:
		if o.err != nil {
			return nil, fmt.Errorf("cannot open a stream: %w", s.explain(o.err))
		}
		return &stream{Stream: o.stream, session: s}, nil
	case <-ctx.Done():
		go func() {
			if o := <-done; o.err == nil {
				_ = o.stream.Close()
			}
		}()
		return nil, ctx.Err()
	}
}

// Transport carries requests to the peer. The host of a request's URL has no meaning, its scheme must be http.
func (s *Session) Transport() http.RoundTripper { return s.transport }

// Ping makes a round trip and returns the time that it took, queueing included.
func (s *Session) Ping() (time.Duration, error) {
	start := time.Now()
	if _, err := s.mux.Ping(); err != nil {
		return 0, s.explain(err)
	}
	return time.Since(start), nil
}

// Done is closed when the session has ended.
func (s *Session) Done() <-chan struct{} { return s.mux.CloseChan() }

// Close ends the session and everything on it. The first cause given is the one that Serve returns; nil means ErrClosed.
func (s *Session) Close(cause error) {
	if cause == nil {
		cause = ErrClosed
	}
	s.setCause(cause)
	_ = s.mux.Close() // the connection's own error tells nothing that the cause does not
	s.transport.CloseIdleConnections()
}

// Flush returns when the peer has received everything that was written before.
func (s *Session) Flush() { _, _ = s.mux.Ping() }

func (s *Session) setCause(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cause == nil {
		s.cause = err
	}
}

// explain replaces yamux's word for "over" by the reason why it is.
func (s *Session) explain(err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cause != nil && s.mux.IsClosed() {
		return s.cause
	}
	return err
}

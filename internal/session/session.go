// Package session is a session of [mux] as both ends of a tunnel use it: plain HTTP/1.1 on every stream, served by the end
// that accepts the stream. Who serves always answers, if only that there is too much to do; silence ends a session at both ends.
package session

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/cork"
	"github.com/pipeopshq/pipeops-agent/internal/mux"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

const (
	// writeTimeout is how long any write to the connection may take before the session is dead.
	writeTimeout = 10 * time.Second
	// maxStreams bounds the streams that a peer may have open; above it streams are reset as they come.
	maxStreams = 1024
	// maxRequests bounds the requests that are served at a time; above it they are refused with 503.
	maxRequests = 1000
)

// ErrClosed is the cause of the end of a session that this end closed without giving another.
var ErrClosed = mux.ErrClosed

// ErrNoStream says that a stream could not be opened: nothing of what was to go on it has gone out.
var ErrNoStream = errors.New("cannot open a stream")

// Session is one authenticated connection to a peer. All methods may be called concurrently.
type Session struct {
	mux       *mux.Session
	transport *http.Transport
	log       *slog.Logger
	requests  requests
	alive     *alive
	onLarge   atomic.Pointer[func()]
}

// Client starts the agent's end of a session on conn, which it owns from now on. [Tune] the socket first: whether the peer is there is for
// its kernel to say.
func Client(conn net.Conn, log *slog.Logger) *Session { return start(conn, log, true, false) }

// Relayed is Client for a conn that somebody on the way ends, a proxy say, whose kernel says nothing of the gateway: there it is for pings to
// find out within 10 s.
func Relayed(conn net.Conn, log *slog.Logger) *Session { return start(conn, log, true, true) }

// Server starts the gateway's end of a session on conn, which it owns from now on, [Tune]d, too.
func Server(conn net.Conn, log *slog.Logger) *Session { return start(conn, log, false, false) }

func start(conn net.Conn, log *slog.Logger, agent, relayed bool) *Session {
	s := &Session{log: log}
	s.alive = watch(cork.Over(conn), mux.Config{Client: agent, Streams: maxStreams, WriteTimeout: writeTimeout, Bulky: s.saysMuch}, relayed)
	s.mux = s.alive.session
	s.transport = &http.Transport{
		DialContext:            func(context.Context, string, string) (net.Conn, error) { return s.Open() },
		DisableCompression:     true, // bodies pass through as they are
		MaxIdleConns:           64,
		MaxIdleConnsPerHost:    64,
		IdleConnTimeout:        time.Minute, // shorter than the server's, so that the asker closes first
		MaxResponseHeaderBytes: wire.MaxHeader,
	}
	return s
}

// Open opens a stream. It does not wait for the peer.
func (s *Session) Open() (net.Conn, error) {
	st, err := s.mux.Open()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoStream, err)
	}
	return st, nil
}

// Transport carries requests to the peer. The host of a request's URL has no meaning, its scheme must be http.
func (s *Session) Transport() http.RoundTripper { return s.transport }

// Ping makes a round trip and returns the time that it took, queueing included.
func (s *Session) Ping(ctx context.Context) (time.Duration, error) { return s.mux.Ping(ctx) }

// Done is closed when the session has ended.
func (s *Session) Done() <-chan struct{} { return s.mux.Done() }

// Close ends the session and everything on it. The first cause given is the one that Serve returns; nil means ErrClosed.
func (s *Session) Close(cause error) {
	if cause == nil {
		cause = ErrClosed
	}
	s.mux.Close(cause)
	s.alive.stop()
	s.transport.CloseIdleConnections()
}

// Flush returns when the peer has received everything that was written before, or when ctx ends.
func (s *Session) Flush(ctx context.Context) { _, _ = s.mux.Ping(ctx) }

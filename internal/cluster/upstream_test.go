package cluster

import (
	"context"
	"crypto/tls"
	"encoding/pem"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/client-go/rest"
)

// rope is a network of which the newest connection can be frozen: it takes no byte and gives none, and nobody is told.
type rope struct {
	accepted chan net.Conn

	mu    sync.Mutex
	conns []*cord
}

func (w *rope) dial(context.Context, string, string) (net.Conn, error) {
	near, far := net.Pipe()
	c := &cord{Conn: near, frozen: make(chan struct{}), closed: make(chan struct{})}
	w.mu.Lock()
	w.conns = append(w.conns, c)
	w.mu.Unlock()
	w.accepted <- far
	return c, nil
}

func (w *rope) count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.conns)
}

func (w *rope) freeze() {
	w.mu.Lock()
	defer w.mu.Unlock()
	close(w.conns[len(w.conns)-1].frozen)
}

func (w *rope) Accept() (net.Conn, error) {
	c, ok := <-w.accepted
	if !ok {
		return nil, net.ErrClosed
	}
	return c, nil
}
func (w *rope) Close() error   { return nil }
func (w *rope) Addr() net.Addr { return &net.TCPAddr{} }

type cord struct {
	net.Conn
	frozen, closed chan struct{}
	once           sync.Once
}

func (c *cord) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	select {
	case <-c.frozen: // what came is lost
		<-c.closed
		return 0, net.ErrClosed
	default:
		return n, err
	}
}

func (c *cord) Write(p []byte) (int, error) {
	select {
	case <-c.frozen:
		return len(p), nil // it lies in the kernel
	default:
		return c.Conn.Write(p)
	}
}

func (c *cord) Close() error {
	c.once.Do(func() { close(c.closed) })
	return c.Conn.Close()
}

// TestDeadUpstreamIsGivenUp: a connection to the API server that died without a word fails what runs on it after 25 s, and what comes
// next has a new one.
func TestDeadUpstreamIsGivenUp(t *testing.T) {
	source := httptest.NewUnstartedServer(nil) // for its certificate
	source.StartTLS()
	source.Close()
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: source.Certificate().Raw})
	synctest.Test(t, func(t *testing.T) {
		network := &rope{accepted: make(chan net.Conn)}
		server := &http.Server{
			Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.WriteString(w, r.Proto)
				_ = http.NewResponseController(w).Flush()
				if r.URL.Path == "/watch" {
					<-r.Context().Done()
				}
			}),
			TLSConfig: &tls.Config{Certificates: source.TLS.Certificates, NextProtos: []string{"h2", "http/1.1"}},
		}
		serving := make(chan error, 1)
		go func() { serving <- server.ServeTLS(network, "", "") }()
		client, err := connect(&rest.Config{Host: "https://example.com", Dial: network.dial, TLSClientConfig: rest.TLSClientConfig{CAData: ca}})
		if err != nil {
			t.Fatal(err)
		}
		ask := func(path string) *http.Response {
			t.Helper()
			r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://example.com"+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			response, err := client.HTTP.Transport.RoundTrip(r)
			if err != nil {
				t.Fatal(err)
			}
			return response
		}
		watch := ask("/watch")
		defer watch.Body.Close()
		said := make([]byte, len("HTTP/2.0"))
		if _, err := io.ReadFull(watch.Body, said); err != nil || string(said) != "HTTP/2.0" {
			t.Fatalf("%q, %v", said, err)
		}
		time.Sleep(48*time.Hour + time.Second) // silence alone ends nothing; a ping was answered a second ago
		if n := network.count(); n != 1 {
			t.Fatalf("%d connections", n)
		}
		network.freeze()
		died := time.Now()
		if _, err := watch.Body.Read(said); err == nil || errors.Is(err, io.EOF) {
			t.Errorf("the watch on a dead connection ended with %v", err)
		}
		if took := time.Since(died); took > upstreamSilence+upstreamPong {
			t.Errorf("it took %v", took)
		}
		again := ask("/version")
		if raw, err := io.ReadAll(again.Body); err != nil || string(raw) != "HTTP/2.0" {
			t.Errorf("%q, %v", raw, err)
		}
		_ = again.Body.Close()
		if n := network.count(); n != 2 {
			t.Errorf("%d connections", n)
		}
		client.HTTP.CloseIdleConnections()
		close(network.accepted)
		<-serving
		_ = server.Close()
		for _, c := range network.conns {
			_ = c.Close()
		}
	})
}

// TestUpstreamOfUpgrades: what is upgraded is asked for over HTTP/1.1, whatever the server offers.
func TestUpstreamOfUpgrades(t *testing.T) {
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.Proto) }))
	server.EnableHTTP2 = true
	server.StartTLS()
	defer server.Close()
	client, err := connect(&rest.Config{Host: server.URL, TLSClientConfig: rest.TLSClientConfig{
		CAData: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}),
	}})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		transport http.RoundTripper
		want      string
	}{{client.HTTP.Transport, "HTTP/2.0"}, {client.Upgrade, "HTTP/1.1"}} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+"/", nil)
		if err != nil {
			t.Fatal(err)
		}
		response, err := tt.transport.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		raw, err := io.ReadAll(response.Body)
		_ = response.Body.Close()
		if err != nil || string(raw) != tt.want {
			t.Errorf("%q, %v, want %s", raw, err, tt.want)
		}
	}
}

package session

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// pair is a session with both ends here; each end serves its handler.
type pair struct {
	agent, gateway       *Session
	agentEnd, gatewayEnd chan error // what Serve returned
	socket               *net.TCPConn
}

// connect makes a pair over TCP or over TLS on it.
func connect(t testing.TB, secure bool, agent, gateway http.Handler) *pair {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	dialed := make(chan net.Conn, 1)
	go func() {
		c, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Error(err)
		}
		dialed <- c
	}()
	accepted, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	client := <-dialed
	p := &pair{socket: accepted.(*net.TCPConn), agentEnd: make(chan error, 1), gatewayEnd: make(chan error, 1)}
	for _, c := range []net.Conn{client, accepted} {
		if err := Tune(c); err != nil {
			t.Fatal(err)
		}
	}
	if secure {
		client, accepted = tls.Client(client, &tls.Config{InsecureSkipVerify: true}), tls.Server(accepted, &tls.Config{Certificates: []tls.Certificate{certificate(t)}})
	}
	log := slog.New(slog.DiscardHandler)
	p.agent, p.gateway = Client(client, log), Server(accepted, log)
	var served sync.WaitGroup
	served.Go(func() { p.agentEnd <- p.agent.Serve(context.Background(), agent) })
	served.Go(func() { p.gatewayEnd <- p.gateway.Serve(context.Background(), gateway) })
	t.Cleanup(func() {
		p.agent.Close(nil)
		p.gateway.Close(nil)
		served.Wait()
	})
	return p
}

func certificate(t testing.TB) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// each runs a test over every kind of connection and both ways round: asker is the end that opens streams.
func each(t *testing.T, handler http.Handler, test func(t *testing.T, p *pair, asker, server *Session)) {
	for _, secure := range []bool{false, true} {
		t.Run(fmt.Sprintf("tls=%t/gateway asks", secure), func(t *testing.T) {
			p := connect(t, secure, handler, http.NotFoundHandler())
			test(t, p, p.gateway, p.agent)
		})
		t.Run(fmt.Sprintf("tls=%t/agent asks", secure), func(t *testing.T) {
			p := connect(t, secure, http.NotFoundHandler(), handler)
			test(t, p, p.agent, p.gateway)
		})
	}
}

func get(ctx context.Context, s *Session, path string) (*http.Response, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://peer"+path, nil)
	if err != nil {
		return nil, err
	}
	return s.Transport().RoundTrip(r)
}

func TestManyStreamsAtATime(t *testing.T) {
	body := bytes.Repeat([]byte("0123456789abcdef"), 1<<12) // 64 KiB
	echo := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := http.NewResponseController(w).EnableFullDuplex(); err != nil {
			t.Error(err)
		}
		_, _ = io.Copy(w, r.Body)
	})
	each(t, echo, func(t *testing.T, _ *pair, asker, _ *Session) {
		var all sync.WaitGroup
		for range 100 {
			all.Go(func() {
				r, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://peer/", bytes.NewReader(body))
				response, err := asker.Transport().RoundTrip(r)
				if err != nil {
					t.Error(err)
					return
				}
				defer func() { _ = response.Body.Close() }()
				got, err := io.ReadAll(response.Body)
				if err != nil || !bytes.Equal(got, body) {
					t.Errorf("got %d bytes, %v", len(got), err)
				}
			})
		}
		all.Wait()
	})
}

func TestCutConnectionIsAnErrorNotTheEnd(t *testing.T) {
	// The body has neither a length nor chunks: only the end of the stream ends it.
	endless := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer func() { _ = conn.Close() }()
		_, _ = rw.WriteString("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\npart")
		_ = rw.Flush()
		_, _ = io.Copy(io.Discard, conn)
	})
	each(t, endless, func(t *testing.T, p *pair, asker, _ *Session) {
		response, err := get(t.Context(), asker, "/")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = response.Body.Close() }()
		part := make([]byte, 4)
		if _, err := io.ReadFull(response.Body, part); err != nil {
			t.Fatal(err)
		}
		_ = p.socket.SetLinger(0) // a reset
		_ = p.socket.Close()
		if n, err := io.Copy(io.Discard, response.Body); err == nil {
			t.Errorf("the cut body ended cleanly after %d bytes more", n)
		}
		for _, end := range []chan error{p.agentEnd, p.gatewayEnd} {
			if err := <-end; err == nil || errors.Is(err, ErrClosed) {
				t.Errorf("cause %v", err)
			}
		}
	})
}

func TestOwnEndOfAStreamIsClean(t *testing.T) {
	bye := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Connection", "close")
		_, _ = io.WriteString(w, "whole")
	})
	each(t, bye, func(t *testing.T, _ *pair, asker, _ *Session) {
		conn, err := asker.Open()
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
		_, _ = io.WriteString(conn, "GET / HTTP/1.0\r\n\r\n")
		all, err := io.ReadAll(conn)
		if err != nil || !strings.HasSuffix(string(all), "whole") {
			t.Errorf("got %q, %v", all, err)
		}
	})
}

func TestCloseWakesAReader(t *testing.T) {
	p := connect(t, false, http.NotFoundHandler(), http.NotFoundHandler())
	conn, err := p.gateway.Open()
	if err != nil {
		t.Fatal(err)
	}
	woken := make(chan error, 1)
	go func() {
		_, err := conn.Read(make([]byte, 1))
		woken <- err
	}()
	_ = conn.Close()
	if err := <-woken; !errors.Is(err, net.ErrClosed) {
		t.Errorf("got %v", err)
	}
	if _, err := conn.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
		t.Errorf("write: got %v", err)
	}
}

func TestAnswerWithoutAskerIsAbandoned(t *testing.T) {
	gone := make(chan error, 1)
	flood := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		block := make([]byte, 64<<10)
		for {
			if _, err := w.Write(block); err != nil { // blocks once the window is full
				gone <- err
				return
			}
		}
	})
	each(t, flood, func(t *testing.T, _ *pair, asker, _ *Session) {
		ctx, cancel := context.WithCancel(t.Context())
		response, err := get(ctx, asker, "/")
		if err != nil {
			t.Fatal(err)
		}
		cancel()
		_ = response.Body.Close()
		select {
		case <-gone:
		case <-time.After(time.Minute):
			t.Fatal("the handler still writes")
		}
	})
}

func TestTooManyRequestsAreRefusedNotDropped(t *testing.T) {
	release := make(chan struct{})
	wait := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/wait" {
			<-release
		}
	})
	p := connect(t, false, wait, http.NotFoundHandler())
	var held sync.WaitGroup
	for range maxRequests {
		held.Go(func() {
			response, err := get(t.Context(), p.gateway, "/wait")
			if err != nil {
				t.Error(err)
				return
			}
			_ = response.Body.Close()
		})
	}
	for deadline := time.Now().Add(time.Minute); ; {
		response, err := get(t.Context(), p.gateway, "/")
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		if response.StatusCode == http.StatusServiceUnavailable {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("no request was refused")
		}
	}
	close(release)
	held.Wait()
}

func TestCloseCauseIsKept(t *testing.T) {
	p := connect(t, true, http.NotFoundHandler(), http.NotFoundHandler())
	cause := errors.New("a reason")
	p.agent.Close(cause)
	p.agent.Close(errors.New("a later one"))
	if err := <-p.agentEnd; err != cause {
		t.Errorf("got %v", err)
	}
	if _, err := p.agent.Open(); !errors.Is(err, cause) {
		t.Errorf("open: %v", err)
	}
	if _, err := p.agent.Ping(t.Context()); !errors.Is(err, cause) {
		t.Errorf("ping: %v", err)
	}
}

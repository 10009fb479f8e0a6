package gateway

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http/httptest"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// shaker is a server of TLS that computes so many handshakes at a time.
type shaker struct {
	*handshakes
	config *tls.Config
	now    atomic.Int64 // that are computed
	most   atomic.Int64
	failed chan error // of handshakes that did not come about
}

func newShaker(t *testing.T, wait time.Duration) *shaker {
	t.Helper()
	web := httptest.NewTLSServer(nil)
	web.Close()
	certificate := web.TLS.Certificates[0]
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &shaker{handshakes: newHandshakes(l), failed: make(chan error, 1000)}
	s.wait = wait
	s.config = &tls.Config{GetConfigForClient: s.begin, GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
		n := s.now.Add(1)
		for most := s.most.Load(); n > most && !s.most.CompareAndSwap(most, n); most = s.most.Load() {
		}
		time.Sleep(time.Millisecond) // as if it were much to compute
		s.now.Add(-1)
		return &certificate, nil
	}}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			raw, err := s.Accept()
			if err != nil {
				return
			}
			all.Go(func() {
				conn := tls.Server(raw, s.config)
				defer func() { _ = conn.Close() }()
				_ = conn.SetDeadline(time.Now().Add(time.Minute))
				if err := conn.HandshakeContext(t.Context()); err != nil {
					s.failed <- err
					return
				}
				_, _ = io.Copy(conn, conn)
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		all.Wait()
		if n := len(s.places); n > 0 {
			t.Errorf("%d places are held at the end", n)
		}
	})
	return s
}

func (s *shaker) dial() error {
	conn, err := tls.Dial("tcp", s.Addr().String(), &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		return err
	}
	return conn.Close()
}

// TestHandshakesAtATime: no more are computed at a time than there are places, and all come about.
func TestHandshakesAtATime(t *testing.T) {
	s := newShaker(t, time.Minute)
	var all sync.WaitGroup
	for range 200 {
		all.Go(func() {
			if err := s.dial(); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if most := s.most.Load(); most > int64(2*runtime.GOMAXPROCS(0)) || most < 2 {
		t.Errorf("%d at a time", most)
	}
}

// TestHandshakesOfTheSlow: who sends nothing, or does not go on, keeps nobody from a place.
func TestHandshakesOfTheSlow(t *testing.T) {
	s := newShaker(t, time.Minute)
	stop := make(chan struct{})
	var halves sync.WaitGroup
	defer halves.Wait()
	defer close(stop)
	for range 20 * cap(s.places) {
		conn, err := net.Dial("tcp", s.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		half, err := net.Dial("tcp", s.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer half.Close()
		only := tls.Client(onlyFirst{half, stop}, &tls.Config{InsecureSkipVerify: true})
		halves.Go(func() { _ = only.Handshake() })
	}
	if err := s.dial(); err != nil {
		t.Error(err)
	}
}

// onlyFirst is a connection of which the answer is never read.
type onlyFirst struct {
	net.Conn
	stop chan struct{}
}

func (o onlyFirst) Read([]byte) (int, error) {
	<-o.stop
	return 0, io.EOF
}

// TestHandshakesThatWait: for too long, or whose peer is gone, are given up.
func TestHandshakesThatWait(t *testing.T) {
	s := newShaker(t, 10*time.Millisecond)
	for range cap(s.places) {
		s.places <- struct{}{}
	}
	if err := s.dial(); err == nil {
		t.Error("it came about")
	}
	if err := <-s.failed; !errors.Is(err, errHandshakes) {
		t.Errorf("%v", err)
	}
	for range cap(s.places) {
		<-s.places
	}
	if err := s.dial(); err != nil {
		t.Error(err)
	}
}

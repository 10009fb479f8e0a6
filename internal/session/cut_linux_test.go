package session

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestRealCutIsFound cuts real connections, in a network namespace of its own: at both ends every session is found dead within 10 s, and on
// a machine that is busy with other tests soon after, whatever it was doing, though no packet says so.
func TestRealCutIsFound(t *testing.T) {
	if os.Getenv("SESSION_CUT") != "" {
		cutAll(t)
		return
	}
	t.Parallel()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	child := exec.CommandContext(t.Context(), self, "-test.run=^TestRealCutIsFound$", "-test.v")
	child.Env = append(os.Environ(), "SESSION_CUT=1")
	child.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
	out, err := child.CombinedOutput()
	if len(out) == 0 && err != nil {
		t.Skipf("no namespace for a network here: %v", err)
	}
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	t.Logf("%s", out)
}

// loopback makes the network of this namespace, or takes it away: packets are then lost.
func loopback(t *testing.T, up bool) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Close(fd) }()
	request, err := unix.NewIfreq("lo")
	if err != nil {
		t.Fatal(err)
	}
	if up {
		request.SetUint16(unix.IFF_UP)
	}
	err = unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, request)
	if errors.Is(err, unix.EPERM) { // AppArmor may allow a namespace and nothing in it
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func cutAll(t *testing.T) {
	loopback(t, true)
	take := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) })
	// slowly keeps something on its way at most times, but never enough to fill a buffer
	slowly := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for r.Context().Err() == nil {
			if _, err := w.Write([]byte("tick\n")); err != nil || http.NewResponseController(w).Flush() != nil {
				return
			}
			time.Sleep(300 * time.Millisecond)
		}
	})
	get := func(ctx context.Context, s *Session) {
		if response, err := get(ctx, s, "/"); err == nil {
			_, _ = io.Copy(io.Discard, response.Body)
			_ = response.Body.Close()
		}
	}
	put := func(ctx context.Context, s *Session) {
		r, _ := http.NewRequestWithContext(ctx, http.MethodPost, "http://peer/", io.NopCloser(zeros{}))
		if response, err := s.Transport().RoundTrip(r); err == nil {
			_, _ = io.Copy(io.Discard, response.Body)
			_ = response.Body.Close()
		}
	}
	cases := []struct {
		name    string
		handler http.Handler
		agent   func(context.Context, *Session)
		gateway func(context.Context, *Session)
	}{
		{"idle", http.NotFoundHandler(), nil, nil},
		{"idle, pinged", http.NotFoundHandler(), nil, nil},
		{"up", take, put, nil},
		{"down", take, nil, put},
		{"both ways", take, put, put},
		{"little up", slowly, nil, get},
		{"little down", slowly, get, nil},
		{"little both ways", slowly, get, get},
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	type end struct {
		which string
		err   error
	}
	ends := make(chan end, 2*len(cases))
	var all sync.WaitGroup
	var sessions []*Session
	var pings *Session
	for _, c := range cases {
		agentConn, gatewayConn := tlsPair(t)
		log := slog.New(slog.DiscardHandler)
		agent, gateway := Client(agentConn, log), Server(gatewayConn, log)
		sessions = append(sessions, agent, gateway)
		for which, s := range map[string]*Session{"agent": agent, "gateway": gateway} {
			all.Go(func() {
				err := s.Serve(ctx, c.handler)
				ends <- end{c.name + ": " + which, err}
			})
		}
		if c.name == "idle, pinged" {
			pings = agent
		}
		if c.agent != nil {
			all.Go(func() { c.agent(ctx, agent) })
		}
		if c.gateway != nil {
			all.Go(func() { c.gateway(ctx, gateway) })
		}
	}
	time.Sleep(2500 * time.Millisecond)            // they are well under way, and the kernels have begun to count
	if _, err := pings.mux.Ping(ctx); err != nil { // the gateway says this, too, just before the cut
		t.Error(err)
	}
	loopback(t, false)
	began := time.Now()
	for _, s := range sessions {
		all.Go(func() {
			<-s.Done()
			if took := time.Since(began); took > 15*time.Second || took < time.Second {
				t.Errorf("found after %s", took)
			}
		})
	}
	for range 2 * len(cases) {
		e := <-ends
		fmt.Printf("%s: %.1f s: %v\n", e.which, time.Since(began).Seconds(), e.err)
	}
	cancel()
	all.Wait()
}

// tlsPair is a connection over TLS, tuned as those of a tunnel are.
func tlsPair(t *testing.T) (client, server net.Conn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	client, err = net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	server, err = ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []net.Conn{client, server} {
		if err := Tune(c); err != nil {
			t.Fatal(err)
		}
	}
	return tls.Client(client, &tls.Config{InsecureSkipVerify: true}), tls.Server(server, &tls.Config{Certificates: []tls.Certificate{certificate(t)}})
}

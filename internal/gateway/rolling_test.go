package gateway_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/gateway/gatewaytest"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

// balancer passes TCP connections to one of the gateways that say that they are ready.
type balancer struct {
	listener net.Listener
	ready    []atomic.Bool
	next     atomic.Int64
	work     sync.WaitGroup
}

// balance runs a balancer that looks at readyz every so often.
func balance(t *testing.T, fleet []*gatewaytest.Gateway, every time.Duration, client *http.Client) *balancer {
	t.Helper()
	var config net.ListenConfig
	listener, err := config.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := &balancer{listener: listener, ready: make([]atomic.Bool, len(fleet))}
	ctx, cancel := context.WithCancel(context.Background())
	addresses := make([]string, len(fleet))
	for i, g := range fleet {
		addresses[i] = g.Address
	}
	looked := make(chan struct{}, len(fleet))
	for i := range fleet {
		b.work.Go(func() {
			tick := time.NewTicker(every)
			defer tick.Stop()
			for first := true; ; first = false {
				r, _ := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+addresses[i]+"/readyz", nil)
				response, err := client.Do(r)
				if err == nil {
					_ = response.Body.Close()
				}
				b.ready[i].Store(err == nil && response.StatusCode == http.StatusOK)
				if first {
					looked <- struct{}{}
				}
				select {
				case <-tick.C:
				case <-ctx.Done():
					return
				}
			}
		})
	}
	for range fleet {
		<-looked
	}
	b.work.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			b.work.Go(func() { b.pass(ctx, conn, addresses) })
		}
	})
	t.Cleanup(func() {
		cancel()
		_ = listener.Close()
		b.work.Wait()
	})
	return b
}

func (b *balancer) pass(ctx context.Context, conn net.Conn, addresses []string) {
	defer func() { _ = conn.Close() }()
	for range addresses {
		i := int(b.next.Add(1)) % len(addresses)
		if !b.ready[i].Load() {
			continue
		}
		there, err := (&net.Dialer{}).DialContext(ctx, "tcp", addresses[i])
		if err != nil {
			continue
		}
		stop := context.AfterFunc(ctx, func() { _ = conn.Close(); _ = there.Close() })
		defer stop()
		var both sync.WaitGroup
		both.Go(func() { _, _ = io.Copy(there, conn); _ = there.(*net.TCPConn).CloseWrite() })
		both.Go(func() { _, _ = io.Copy(conn, there); _ = conn.(*net.TCPConn).CloseWrite() })
		both.Wait()
		_ = there.Close()
		return
	}
}

// clusterOfTheRoad answers as an API server does, as far as the users of this test go.
func clusterOfTheRoad(w http.ResponseWriter, r *http.Request) {
	switch {
	case strings.HasSuffix(r.URL.Path, "/watch"):
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for range 100 { // a real one ends after some minutes
			if _, err := io.WriteString(w, "event\n"); err != nil || http.NewResponseController(w).Flush() != nil {
				return
			}
			select {
			case <-tick.C:
			case <-r.Context().Done():
				return
			}
		}
	case strings.HasSuffix(r.URL.Path, "/exec"):
		conn, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		defer func() { _ = conn.Close() }()
		_, _ = rw.WriteString("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\r\n")
		_ = rw.Flush()
		_, _ = io.Copy(conn, rw)
	default:
		_, _ = io.Copy(w, r.Body)
		_, _ = io.WriteString(w, "ok")
	}
}

// TestFleetRollingRestart restarts both gateways, one after the other, under requests, watches and execs that are shorter than the time to
// drain. None may fail or be cut.
func TestFleetRollingRestart(t *testing.T) {
	fleet := gatewaytest.Fleet(t, 2)
	for _, g := range fleet { // from their next start; each connection is used while it is told to go elsewhere, on a busy machine, too
		g.LameDuck, g.Drain = 5*time.Second, time.Minute
		g.Stop()
		g.Start()
	}
	a := runAgent(t, mustEnroll(t, fleet[0], "shop"), http.HandlerFunc(clusterOfTheRoad))
	fleet[0].Wait("a second session", func() bool { return a.stood() > 0 })
	u := login(t, fleet[0], "shop")
	b := balance(t, fleet, 50*time.Millisecond, u.client)
	u.address = b.listener.Addr().String()
	u.base = "https://" + u.address

	old := *u // what speaks HTTP/1.1 only, as exec does
	h1 := u.client.Transport.(*http.Transport).Clone()
	h1.ForceAttemptHTTP2, h1.TLSClientConfig.NextProtos, h1.TLSNextProto = false, []string{"http/1.1"}, map[string]func(string, *tls.Conn) http.RoundTripper{}
	h1.IdleConnTimeout = 2 * time.Second // less than LameDuck: HTTP/1.1 cannot say goodbye on a connection that idles, only close it
	defer h1.CloseIdleConnections()
	old.client = &http.Client{Transport: h1}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var load sync.WaitGroup
	var requests, execs, watches, events atomic.Int64
	fail := func(what string, err error) {
		if err != nil && ctx.Err() == nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	began := time.Now()
	load.Go(func() { // 200 requests a second; where the machine has no time for them the ticker leaves some out
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for n := 0; ctx.Err() == nil; n++ {
			select {
			case <-tick.C:
			case <-ctx.Done():
			}
			load.Go(func() { fail("request", []*user{u, &old}[n/2%2].ask(ctx, n, &requests)) })
		}
	})
	for range 2 {
		load.Go(func() {
			for ctx.Err() == nil {
				fail("exec", old.exec(ctx, &execs))
			}
		})
		load.Go(func() {
			for ctx.Err() == nil {
				fail("watch", u.watch(ctx, &watches, &events))
			}
		})
	}
	for i, g := range fleet {
		stood, before := a.stood(), requests.Load()
		g.Stop()
		g.Start()
		g.Wait("the agent stands by again", func() bool { return a.stood() > stood })
		g.Wait("the balancer knows", func() bool { return b.ready[i].Load() })
		g.Wait("requests go on", func() bool { return requests.Load() > before+100 })
	}
	rate := float64(requests.Load()) / time.Since(began).Seconds()
	stop()
	load.Wait()
	t.Logf("%d requests, %.0f a second, %d execs, %d watches with %d events", requests.Load(), rate, execs.Load(), watches.Load(), events.Load())
	if execs.Load() == 0 || events.Load() == 0 || a.count() < 2 {
		t.Errorf("%d execs, %d events, work on %d sessions", execs.Load(), events.Load(), a.count())
	}
}

// ask makes one request, with a body every other time.
func (u *user) ask(ctx context.Context, n int, done *atomic.Int64) error {
	method, body := http.MethodGet, ""
	if n%2 == 1 {
		method, body = http.MethodPut, "body"
	}
	r, err := http.NewRequestWithContext(ctx, method, u.base+wire.PathClusters+"/shop/api/x", strings.NewReader(body))
	if err != nil {
		return err
	}
	r.Header.Set("Authorization", "Bearer "+u.token)
	response, err := u.client.Do(r)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	raw, err := io.ReadAll(response.Body)
	if err == nil && (response.StatusCode != http.StatusOK || string(raw) != body+"ok") {
		err = fmt.Errorf("%s: %.200s", response.Status, raw)
	}
	done.Add(1)
	return err
}

// exec holds an upgraded connection for a second, and says something 20 times.
func (u *user) exec(ctx context.Context, done *atomic.Int64) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, u.base+wire.PathClusters+"/shop/api/exec", nil)
	if err != nil {
		return err
	}
	r.Header.Set("Authorization", "Bearer "+u.token)
	r.Header.Set("Connection", "Upgrade")
	r.Header.Set("Upgrade", "SPDY/3.1")
	response, err := u.client.Do(r)
	if err != nil {
		return err
	}
	if response.StatusCode != http.StatusSwitchingProtocols {
		raw, _ := io.ReadAll(response.Body)
		_ = response.Body.Close()
		return fmt.Errorf("%s: %.200s", response.Status, raw)
	}
	conn, ok := response.Body.(io.ReadWriteCloser)
	if !ok {
		return errors.New("no connection")
	}
	defer func() { _ = conn.Close() }()
	lines := bufio.NewReader(conn)
	for i := range 20 {
		if _, err := fmt.Fprintf(conn, "%d\n", i); err != nil {
			return err
		}
		if line, err := lines.ReadString('\n'); err != nil || line != fmt.Sprintf("%d\n", i) {
			return fmt.Errorf("%q, %w", line, err)
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return nil
		}
	}
	done.Add(1)
	return nil
}

// watch follows until the watch ends, which must not be by a cut.
func (u *user) watch(ctx context.Context, done, events *atomic.Int64) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, u.base+wire.PathClusters+"/shop/api/watch", nil)
	if err != nil {
		return err
	}
	r.Header.Set("Authorization", "Bearer "+u.token)
	response, err := u.client.Do(r)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return errors.New(response.Status)
	}
	done.Add(1)
	lines := bufio.NewScanner(response.Body)
	for lines.Scan() {
		events.Add(1)
	}
	return lines.Err()
}

package gateway_test

import (
	"context"
	"crypto/tls"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// givenUp is how many requests TestKubeCancelledRequestsLeaveNothing gives up: make soak-cancelled asks for 100 000.
var givenUp = flag.Int("cancelled-requests", 960, "requests that TestKubeCancelledRequestsLeaveNothing gives up")

// mostKept is how many goroutines pooled connections may hold, at the most, once nothing runs: 64 streams of a session and 64 connections
// between two gateways, each with two goroutines at its one end and two at its other, and as much again for what is at the edges.
const mostKept = 2 * 64 * (2 + 2) * 3 / 2

// TestKubeCancelledRequestsLeaveNothing: whoever asks and goes, at whatever point of whatever request, leaves nothing behind while the
// session lasts: at the API server, at the agent, or at the gateway. TestMain sees that nothing is left after it.
func TestKubeCancelledRequestsLeaveNothing(t *testing.T) {
	road := build(t)
	if status, body := road.user.get("/echo"); status != http.StatusOK {
		t.Fatalf("%d %s", status, body)
	}
	plain := &http.Transport{TLSClientConfig: road.user.client.Transport.(*http.Transport).TLSClientConfig.Clone(), TLSNextProto: map[string]func(string, *tls.Conn) http.RoundTripper{}}
	plain.TLSClientConfig.NextProtos = []string{"http/1.1"}
	t.Cleanup(plain.CloseIdleConnections)
	goroutines, heap := runtime.NumGoroutine(), heapInUse()
	came := road.server.came.Load()

	const users = 48 // fewer than a user may have open, and than upgrades may be on their way
	var all sync.WaitGroup
	for n := range users {
		client := road.user.client
		if n%4 == 0 {
			client = &http.Client{Transport: plain}
		}
		all.Go(func() {
			for range *givenUp / users {
				giveUp(t, road.user, client, n%4 == 0)
			}
		})
	}
	all.Wait()

	road.gateway.Wait("nothing of them runs at the API server", func() bool { return road.server.open.Load() == 0 })
	road.gateway.Wait("nothing of them is open at the gateway", func() bool { return road.open(t) == "requests=200, open=1" }) // the one that asks
	plain.CloseIdleConnections()
	road.gateway.Wait("no goroutine is of them", func() bool { return runtime.NumGoroutine() < goroutines+mostKept })
	road.gateway.Wait("the heap has no more than 16 MiB of them", func() bool { return heapInUse()-heap < 16<<20 }) // pools are emptied by the second collection
	came = road.server.came.Load() - came
	kept := heapInUse() - heap
	t.Logf("%d requests were given up, %d of them after they had come to the API server; %d goroutines more than before, %d KiB of the heap", *givenUp, came, runtime.NumGoroutine()-goroutines, kept>>10)
	if came < int64(*givenUp/4) {
		t.Errorf("only %d came to the API server", came)
	}
}

// calls counts requests: those that came in all, and those that are not at their end.
type calls struct{ came, open atomic.Int64 }

func (c *calls) begin() (end func()) {
	c.came.Add(1)
	c.open.Add(1)
	return func() { c.open.Add(-1) }
}

// giveUp asks for something and gives it up: before it is answered, as soon as it is, in the middle of it, or when it is done.
func giveUp(t *testing.T, u *user, client *http.Client, upgrades bool) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	paths := []string{"/never", "/watch", "/body", "/echo", "/upgrade/websocket"}
	if !upgrades { // HTTP/2 has none
		paths = paths[:4]
	}
	path := paths[rand.IntN(len(paths))]
	r := u.request(http.MethodGet, path, nil).WithContext(ctx)
	switch path {
	case "/body":
		r.Method, r.Body = http.MethodPost, io.NopCloser(endless{})
	case "/upgrade/websocket":
		r.Header.Set("Connection", "Upgrade")
		r.Header.Set("Upgrade", "websocket")
	}
	if path == "/never" || rand.IntN(2) == 0 {
		at := time.AfterFunc(time.Duration(rand.IntN(20_000))*time.Microsecond, cancel)
		defer at.Stop()
	}
	response, err := client.Do(r)
	if err != nil {
		return
	}
	if path == "/body" {
		_, _ = io.CopyN(io.Discard, response.Body, rand.Int64N(100_000))
	}
	cancel()
	_ = response.Body.Close()
}

// open is what the gateway says of how many requests the user has open.
func (r *road) open(t *testing.T) string {
	t.Helper()
	response, err := r.user.client.Do(r.user.request(http.MethodGet, "/echo", nil))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	if _, err := io.Copy(io.Discard, response.Body); err != nil || response.StatusCode != http.StatusOK {
		t.Fatal(fmt.Errorf("%s: %w", response.Status, err))
	}
	return response.Header.Get("Pipeops-Limit")
}

// heapInUse is what is reachable, in bytes.
func heapInUse() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

package session

import (
	"context"
	"net/http"
	"sync"
	"testing"
	"time"
)

// TestCancelledRequestsLeaveNothing: whoever asks and goes, at whatever point, leaves neither a stream nor (TestMain) a goroutine.
func TestCancelledRequestsLeaveNothing(t *testing.T) {
	each := manyRequests / 64
	slow := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/silent" {
			<-r.Context().Done()
			return
		}
		block := make([]byte, 8<<10)
		for r.Context().Err() == nil {
			if _, err := w.Write(block); err != nil {
				return
			}
		}
	})
	p := connect(t, false, slow, http.NotFoundHandler())
	var all sync.WaitGroup
	for worker := range 64 {
		all.Go(func() {
			for n := range each {
				ctx, cancel := context.WithCancel(t.Context())
				path := "/silent"
				if n%2 == 0 {
					path = "/loud"
				}
				if path == "/silent" || n%3 == 0 {
					time.AfterFunc(time.Duration((worker*n)%200)*time.Microsecond, cancel)
				}
				response, err := get(ctx, p.gateway, path)
				if err == nil {
					_, _ = response.Body.Read(make([]byte, 100))
					_ = response.Body.Close()
				}
				cancel()
			}
		})
	}
	all.Wait()
	for deadline := time.Now().Add(time.Minute); p.gateway.mux.Streams()+p.agent.mux.Streams() > 64; time.Sleep(time.Millisecond) { // which are kept for more
		if time.Now().After(deadline) {
			t.Fatalf("%d streams are open at the gateway, %d at the agent", p.gateway.mux.Streams(), p.agent.mux.Streams())
		}
	}
}

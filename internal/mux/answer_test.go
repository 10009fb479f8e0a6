package mux

import (
	"sync"
	"sync/atomic"
	"testing"
)

// TestWhoReceivesAnswers: where there is room, pings are answered by who receives them, and what others have to say meanwhile still goes out.
func TestWhoReceivesAnswers(t *testing.T) {
	var asked, spoke atomic.Int64
	client, server := pair(t, Config{
		Room:  func() bool { return asked.Add(1)%2 == 1 }, // not always
		Spoke: func() { spoke.Add(1) },
	})
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for range 200 {
				if _, err := client.Ping(t.Context()); err != nil {
					t.Error(err)
					return
				}
			}
		})
		mine, theirs := stream(t, client, server)
		all.Go(func() {
			for range 100 {
				if _, err := theirs.Write(make([]byte, 4<<10)); err != nil {
					t.Error(err)
					return
				}
			}
			_ = theirs.CloseWrite()
		})
		all.Go(func() {
			buf, n := make([]byte, 32<<10), 0
			for {
				got, err := mine.Read(buf)
				n += got
				if err != nil {
					break
				}
			}
			if n != 400<<10 {
				t.Errorf("%d bytes came", n)
			}
		})
	}
	all.Wait()
	if asked.Load() == 0 || spoke.Load() == 0 {
		t.Errorf("asked for room %d times, spoke %d times", asked.Load(), spoke.Load())
	}
}

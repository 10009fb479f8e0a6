package mux

import (
	"io"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// far is a connection on which every byte is so long on its way, in both directions, however many are. carried ends after it has.
func far(trip time.Duration) (a, b net.Conn, carried *sync.WaitGroup) {
	a, fromA := net.Pipe()
	b, fromB := net.Pipe()
	carried = &sync.WaitGroup{}
	carried.Go(func() { carry(fromB, fromA, trip) })
	carried.Go(func() { carry(fromA, fromB, trip) })
	return a, b, carried
}

// carry takes what comes from one end and gives it to the other when it has been on its way for a while.
func carry(to, from net.Conn, trip time.Duration) {
	type piece struct {
		bytes []byte
		due   time.Time
	}
	pieces := make(chan piece, 1<<20)
	go func() {
		defer close(pieces)
		for {
			buf := make([]byte, 64<<10)
			n, err := from.Read(buf)
			if n > 0 {
				pieces <- piece{buf[:n], time.Now().Add(trip)}
			}
			if err != nil {
				return
			}
		}
	}()
	for p := range pieces {
		time.Sleep(time.Until(p.due))
		if _, err := to.Write(p.bytes); err != nil {
			break
		}
	}
	_ = to.Close()
	for range pieces { // so that the other goroutine ends
	}
}

// TestFarReaderIsNotHeldUp: on a path of 50 ms, on which nobody pings, a stream soon carries more than 256 KiB a round trip, either way.
func TestFarReaderIsNotHeldUp(t *testing.T) {
	for _, up := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			a, b, carried := far(25 * time.Millisecond)
			client, server := New(a, Config{Client: true}), New(b, Config{})
			from, to := stream(t, client, server)
			if !up {
				from, to = to, from
			}
			const size = 64 << 20
			var all sync.WaitGroup
			all.Go(func() {
				_, _ = from.Write(make([]byte, size))
				_ = from.CloseWrite()
			})
			began := time.Now()
			if n, err := io.Copy(io.Discard, to); n != size || err != nil {
				t.Errorf("%d, %v", n, err)
			}
			// 256 KiB a round trip would take 12.8 s
			if took := time.Since(began); took > 2*time.Second {
				t.Errorf("up %t: %d bytes took %s", up, size, took)
			}
			all.Wait()
			client.Close(nil)
			server.Close(nil)
			client.Wait()
			server.Wait()
			carried.Wait()
		})
	}
}

package mux

import (
	"io"
	"net"
	"sync"
	"testing"
	"time"
)

// FuzzReceive: whatever a peer sends, the session ends with a cause when the connection does, holds no more than it may, and leaves nothing running.
func FuzzReceive(f *testing.F) {
	syn := header{kind: typeWindow, flags: flagSYN, stream: 1}.append(nil)
	data := append(header{kind: typeData, stream: 1, length: 5}.append(nil), "hello"...)
	f.Add([]byte{})
	f.Add(append(syn, data...))
	f.Add(append(append(syn, data...), header{kind: typeWindow, flags: flagFIN, stream: 1}.append(nil)...))
	f.Add(append(append(syn, data...), header{kind: typeWindow, flags: flagRST, stream: 1, length: 3}.append(nil)...))
	f.Add(append(header{kind: typeData, flags: flagSYN | flagFIN, stream: 1, length: 5}.append(nil), "hello"...))
	f.Add(header{kind: typePing, flags: flagSYN, length: 9}.append(nil))
	f.Add(header{kind: typeWindow, stream: 1, length: 1 << 31}.append(header{kind: typeWindow, stream: 1, length: 1<<32 - 1}.append(syn)))
	f.Add(header{kind: typeData, stream: 1, length: 1 << 20}.append(syn))
	f.Add(header{kind: typeGoAway}.append(nil))
	f.Fuzz(func(t *testing.T, said []byte) {
		a, b := net.Pipe()
		s := New(a, Config{Streams: 4, Budget: 1 << 20, WriteTimeout: time.Second})
		var all sync.WaitGroup
		all.Go(func() { _, _ = io.Copy(io.Discard, b) })
		all.Go(func() {
			for n := 0; ; n++ {
				st, err := s.Accept()
				if err != nil {
					return
				}
				all.Go(func() {
					if n%2 == 0 {
						_, _ = io.Copy(st, st)
					}
					_ = st.Close()
				})
			}
		})
		_, _ = b.Write(said)
		_ = b.Close()
		s.Wait()
		all.Wait()
		if s.Err() == nil {
			t.Error("it ended without a cause")
		}
		if n := s.unread.Load(); n < 0 || n > 2<<20 {
			t.Errorf("%d bytes lie unread", n)
		}
	})
}

// FuzzSecond is FuzzReceive for what comes on both connections.
func FuzzSecond(f *testing.F) {
	syn := header{kind: typeWindow, flags: flagSYN, stream: 1}.append(nil)
	move := header{kind: typeWindow, flags: flagMove, stream: 1, length: 1}.append(nil)
	yes := header{kind: typeWindow, flags: flagMove | flagACK, stream: 1, length: 1}.append(nil)
	data := append(header{kind: typeData, stream: 1, length: 5}.append(nil), "hello"...)
	end := header{kind: typeWindow, flags: flagFIN, stream: 1}.append(nil)
	ping := header{kind: typePing, flags: flagSYN, length: 9}.append(nil)
	f.Add(append(syn, move...), append(data, end...))
	f.Add(append(append(syn, move...), data...), append(ping, data...))
	f.Add(append(append(syn, data...), end...), append(ping, data...))
	f.Add(append(syn, yes...), syn)
	f.Fuzz(func(t *testing.T, first, second []byte) {
		a, b := net.Pipe()
		c, d := net.Pipe()
		s := New(a, Config{Streams: 4, Budget: 1 << 20, WriteTimeout: time.Second})
		if _, err := s.Attach(c, 1, true); err != nil {
			t.Fatal(err)
		}
		var all sync.WaitGroup
		for _, end := range []net.Conn{b, d} {
			all.Go(func() { _, _ = io.Copy(io.Discard, end) })
		}
		all.Go(func() {
			for {
				st, err := s.Accept()
				if err != nil {
					return
				}
				all.Go(func() {
					_, _ = st.Write(make([]byte, 10))
					_, _ = io.Copy(st, st)
					_ = st.Close()
				})
			}
		})
		var saying sync.WaitGroup
		saying.Go(func() { _, _ = b.Write(first) })
		saying.Go(func() { _, _ = d.Write(second) })
		saying.Wait()
		_ = d.Close()
		_ = b.Close()
		s.Wait()
		all.Wait()
		if s.Err() == nil {
			t.Error("it ended without a cause")
		}
		if n := s.unread.Load(); n < 0 || n > 2<<20 {
			t.Errorf("%d bytes lie unread", n)
		}
	})
}

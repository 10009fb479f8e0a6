package mux

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"
)

// TestAttachNumbers: only a newer connection is attached; where there are many, the oldest one is lost.
func TestAttachNumbers(t *testing.T) {
	w := openTwo(t, Config{})
	a, b := sockets(t)
	defer b.Close()
	if _, err := w.client.Attach(a, 1, true); !errors.Is(err, ErrProtocol) {
		t.Errorf("the same again: %v", err)
	}
	old := w.second
	for number := uint32(2); number <= Lanes; number++ {
		w.attach(t, number)
	}
	if _, ok := w.client.Lane(1); !ok || w.client.Further() != Lanes {
		t.Errorf("there are %d", w.client.Further())
	}
	w.attach(t, Lanes+1)
	if _, ok := w.client.Lane(1); ok || w.client.Further() != Lanes {
		t.Errorf("there are %d, with the oldest", w.client.Further())
	}
	until(t, "the oldest one is closed", func() bool { _, err := old.Write([]byte("x")); return errors.Is(err, net.ErrClosed) })
	w.client.Close(nil)
	c, d := sockets(t)
	defer d.Close()
	if _, err := w.client.Attach(c, Lanes+2, true); err == nil {
		t.Error("to a session that has ended")
	}
	for _, end := range []net.Conn{a, c, w.second} {
		if _, err := end.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
			t.Errorf("it is left open: %v", err)
		}
	}
}

// TestStreamsSpread: streams that say much get a connection each, which are called for one after the other, and share them evenly when there
// are no more. Nothing on them comes out of order.
func TestStreamsSpread(t *testing.T) {
	const streams = Lanes + 4
	calls := make(chan struct{}, 1)
	w := openTwo(t, Config{Bulky: func() {
		select {
		case calls <- struct{}{}:
		default:
		}
	}})
	var all sync.WaitGroup
	stop := make(chan struct{})
	defer func() { close(stop); all.Wait() }()
	for n := range streams {
		mine, theirs := stream(t, w.client, w.server)
		all.Go(func() {
			random := rand.NewChaCha8([32]byte{byte(n)})
			body := make([]byte, 64<<10)
			for {
				select {
				case <-stop:
					_ = mine.CloseWrite()
					return
				default:
				}
				_, _ = random.Read(body)
				if _, err := mine.Write(body); err != nil {
					t.Error(err)
					return
				}
			}
		})
		all.Go(func() {
			random := rand.NewChaCha8([32]byte{byte(n)})
			want, got := make([]byte, 64<<10), make([]byte, 64<<10)
			for {
				_, err := io.ReadFull(theirs, got)
				if err == io.EOF {
					return
				}
				if _, _ = random.Read(want); err != nil || !bytes.Equal(got, want) {
					t.Errorf("stream %d: it is not what was said, %v", n, err)
					_ = theirs.Close()
					return
				}
			}
		})
	}
	for number := uint32(2); number <= Lanes; number++ {
		select {
		case <-calls:
			w.attach(t, number)
		case <-time.After(time.Minute):
			t.Fatalf("nobody calls for connection %d", number)
		}
	}
	until(t, "all have their share", func() bool {
		w.client.mu.Lock()
		defer w.client.mu.Unlock()
		for _, l := range w.client.further {
			if l.homes < streams/Lanes || l.homes > streams/Lanes+1 || len(w.client.on(l)) != l.homes {
				return false
			}
		}
		return len(w.client.further) == Lanes
	})
}

// TestGrantsGoWhereTheDataCome: what lets the peer send more of what is large is not on the first connection: there its loss would delay what
// is small.
func TestGrantsGoWhereTheDataCome(t *testing.T) {
	w := openTwo(t, Config{})
	mine, theirs := stream(t, w.client, w.server)
	more := make(chan int)
	go func() {
		for n := range more {
			_, _ = theirs.Write(make([]byte, n))
		}
	}()
	read := func(n int64) {
		t.Helper()
		if _, err := io.CopyN(io.Discard, mine, n); err != nil {
			t.Fatal(err)
		}
	}
	defer close(more)
	more <- 4 << 20
	read(4 << 20)
	if n, _ := w.client.Lane(1); n != 1 {
		t.Fatal("it has not moved")
	}
	first, second := w.first.wrote.Load(), w.second.wrote.Load()
	more <- 64 << 20
	read(64 << 20)
	first, second = w.first.wrote.Load()-first, w.second.wrote.Load()-second
	if first > headerLen || second < headerLen { // one was perhaps on its way
		t.Errorf("%d bytes on the first connection, %d on the second", first, second)
	}
}

// TestStreamsOnLanesHaveTheSameWindow: of streams that share a connection the one with the largest window would be sent the most. What one has
// grown to alone it gives back when others come, and they are let grow as far.
func TestStreamsOnLanesHaveTheSameWindow(t *testing.T) {
	const streams, budget = 20, 32 << 20
	w := openTwo(t, Config{Budget: budget})
	w.client.probed.Store(w.client.clock(time.Now())) // so that it does not measure
	w.client.rtt.Store(int64(time.Minute))            // on a path on which half a window is read at once
	var all sync.WaitGroup
	stop := make(chan struct{})
	var ends []*Stream
	begin := func() {
		mine, theirs := stream(t, w.client, w.server)
		ends = append(ends, mine)
		all.Go(func() {
			for body := make([]byte, 64<<10); ; {
				select {
				case <-stop:
					_ = theirs.Close()
					return
				default:
				}
				if _, err := theirs.Write(body); err != nil {
					t.Error(err)
					return
				}
			}
		})
		all.Go(func() {
			_, _ = io.Copy(io.Discard, mine)
			_ = mine.Close()
		})
	}
	windows := func(each uint32) func() bool {
		return func() bool {
			for _, st := range ends {
				st.in.mu.Lock()
				limit := st.in.limit
				st.in.mu.Unlock()
				if limit != each {
					return false
				}
			}
			return true
		}
	}
	begin()
	until(t, "the only one has the most that there is", windows(defaultWindow))
	for range streams - 1 {
		begin()
	}
	until(t, "all have the same", windows(budget/2/streams))
	close(stop)
	all.Wait()
	w.client.mu.Lock()
	defer w.client.mu.Unlock()
	if w.client.grown != 0 || w.client.sharers != 0 || w.client.widest != 0 {
		t.Errorf("%d bytes, %d streams, %d are left", w.client.grown, w.client.sharers, w.client.widest)
	}
}

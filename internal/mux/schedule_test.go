package mux

import (
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// slowPipe is an end of a pipe that lets through so many bytes a second.
type slowPipe struct {
	net.Conn
	rate int
}

func (p *slowPipe) Write(b []byte) (int, error) {
	n, err := p.Conn.Write(b)
	time.Sleep(time.Duration(n) * time.Second / time.Duration(p.rate))
	return n, err
}

// TestSparseStreamsOvertake: on a link that is full, a small request waits for what is being written and for nothing else.
func TestSparseStreamsOvertake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const rate = 12_500_000 // 100 Mbit/s
		a, b := net.Pipe()
		client, server := New(&slowPipe{a, rate}, Config{Client: true}), New(&slowPipe{b, rate}, Config{})
		var all sync.WaitGroup
		all.Go(func() {
			for {
				st, err := server.Accept()
				if err != nil {
					return
				}
				all.Go(func() {
					defer func() { _ = st.Close() }()
					kind := make([]byte, 1)
					if _, err := io.ReadFull(st, kind); err != nil {
						return
					}
					if kind[0] == 'b' {
						_, _ = io.Copy(io.Discard, st)
						return
					}
					_, _ = io.Copy(st, st)
				})
			}
		})
		var carried atomic.Int64
		for range 8 {
			bulk, err := client.Open()
			if err != nil {
				t.Fatal(err)
			}
			all.Go(func() {
				block := make([]byte, 64<<10)
				block[0] = 'b'
				for {
					n, err := bulk.Write(block)
					carried.Add(int64(n))
					if err != nil {
						return
					}
				}
			})
		}
		time.Sleep(time.Second)
		small, err := client.Open()
		if err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 1024)
		buf[0] = 'e'
		if _, err := small.Write(buf); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(small, buf[1:]); err != nil {
			t.Fatal(err)
		}
		var worst time.Duration
		for range 100 {
			time.Sleep(7 * time.Millisecond)
			began := time.Now()
			if _, err := small.Write(buf); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(small, buf); err != nil {
				t.Fatal(err)
			}
			worst = max(worst, time.Since(began))
		}
		// one batch that is being written, and one that the small word is part of
		if limit := 2*time.Second*batch/rate + time.Millisecond; worst > limit {
			t.Errorf("a small request took %s, want at most %s", worst, limit)
		}
		began, before := time.Now(), carried.Load()
		time.Sleep(time.Second)
		if got := float64(carried.Load()-before) / time.Since(began).Seconds(); got < 0.95*rate {
			t.Errorf("the others carry %.0f bytes a second of %d", got, rate)
		}
		client.Close(nil)
		server.Close(nil)
		client.Wait()
		server.Wait()
		all.Wait()
	})
}

// TestManySparseStreamsLeaveTurns: streams that say little, and are very many, do not silence one that says much.
func TestManySparseStreamsLeaveTurns(t *testing.T) {
	s := &Session{config: Config{Client: true}, streams: map[uint32]*Stream{}}
	add := func(id uint32, allowance int) *Stream {
		st := newStream(s, id)
		st.pending, st.allowance = make([]byte, 100), allowance
		s.enqueue(st)
		return st
	}
	bulk := add(1, -1<<40)
	for id := uint32(3); id < 103; id += 2 {
		add(id, 1)
	}
	for n := range 2 * turns {
		if s.first.pick() == bulk {
			if n != turns {
				t.Errorf("its turn was after %d", n)
			}
			return
		}
	}
	t.Error("it had no turn")
}

// TestStalledConnection: a connection that takes nothing ends the session in time, and everything on it with a cause.
func TestStalledConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := net.Pipe() // nobody reads b
		s := New(a, Config{Client: true, WriteTimeout: 3 * time.Second})
		st, err := s.Open()
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		if _, err := st.Write([]byte("x")); err == nil {
			_, err = st.Write([]byte("x"))
			if err == nil {
				t.Error("two words were taken")
			}
		}
		s.Wait()
		if took := time.Since(began); took != 3*time.Second || !errors.Is(s.Err(), ErrStalled) {
			t.Errorf("after %s: %v", took, s.Err())
		}
		_ = b.Close()
	})
}

// deadlines counts what a connection is told.
type deadlines struct {
	net.Conn
	writes, moved atomic.Int64
	last          atomic.Pointer[time.Time]
}

func (d *deadlines) Write(p []byte) (int, error) {
	d.writes.Add(1)
	return d.Conn.Write(p)
}

func (d *deadlines) SetWriteDeadline(t time.Time) error {
	d.moved.Add(1)
	d.last.Store(&t)
	return d.Conn.SetWriteDeadline(t)
}

// TestDeadlineOfWrites: a connection is told a deadline once for what goes out together, and none when all is said. One that is slow, and
// takes each write in time, does not end the session.
func TestDeadlineOfWrites(t *testing.T) {
	for name, pause := range map[string]time.Duration{"fast": 0, "slow": time.Second} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a, b := net.Pipe()
				told := &deadlines{Conn: a}
				s := New(told, Config{Client: true, WriteTimeout: 3 * time.Second})
				go func() {
					for buf := make([]byte, batch); ; time.Sleep(pause) {
						if _, err := io.ReadFull(b, buf); err != nil {
							return
						}
					}
				}()
				st, err := s.Open()
				if err != nil {
					t.Fatal(err)
				}
				if n, err := st.Write(make([]byte, 3*batch)); n != 3*batch || err != nil {
					t.Error(n, err)
				}
				_ = b.Close()
				s.Wait()
				if writes, moved := told.writes.Load(), told.moved.Load(); writes < 4 || pause == 0 && moved != 2 {
					t.Errorf("%d writes, the deadline was set %d times", writes, moved)
				}
				if last := told.last.Load(); last == nil || !last.IsZero() {
					t.Errorf("the deadline is left at %v", last)
				}
				if errors.Is(s.Err(), ErrStalled) {
					t.Error(s.Err())
				}
			})
		})
	}
}

// TestDeadlineOfManyWrites: where writes follow one another their deadline is moved seldom. What comes after it has passed is written all the
// same, also an answer for which there is room, and takes a deadline back that stands alone.
func TestDeadlineOfManyWrites(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const timeout = 10 * time.Second
		a, b := net.Pipe()
		told := &deadlines{Conn: a}
		s := New(told, Config{WriteTimeout: timeout, Room: func() bool { return true }})
		peer := New(b, Config{Client: true, WriteTimeout: timeout})
		st, err := s.Open()
		if err != nil {
			t.Fatal(err)
		}
		write := func() {
			t.Helper()
			if _, err := st.Write([]byte("x")); err != nil {
				t.Error(err)
			}
			synctest.Wait()
		}
		for range 20 {
			write()
			time.Sleep(aloneAfter / 10)
		}
		if writes, moved := told.writes.Load(), told.moved.Load(); writes < 20 || moved != 2+2 { // alone, and back; then the next, and a second later
			t.Errorf("%d writes, the deadline was set %d times", writes, moved)
		}
		if left := time.Until(*told.last.Load()); left < timeout-2*time.Second || left > timeout {
			t.Errorf("the deadline is in %s", left)
		}
		time.Sleep(3 * timeout)
		before := told.writes.Load()
		if _, err := peer.Ping(t.Context()); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		if last := told.last.Load(); told.writes.Load() == before || !last.IsZero() {
			t.Errorf("an answer leaves the deadline at %v", last)
		}
		time.Sleep(aloneAfter)
		write()
		s.Close(nil)
		peer.Close(nil)
		s.Wait()
		peer.Wait()
	})
}

// TestBatchIsOnePacket: under TLS, whose records have 16 KiB and 22 bytes more (RFC 8446 section 5.2, AES-GCM), a batch fits the 64 KiB that a packet
// has with the headers of IPv6, 40, and of TCP with time stamps, 32.
func TestBatchIsOnePacket(t *testing.T) {
	const record, more, packet, headers = 16 << 10, 22, 64 << 10, 40 + 32
	if size := batch + (batch+record-1)/record*more; size > packet-headers {
		t.Errorf("a batch is %d bytes, of %d", size, packet-headers)
	}
}

// TestBothEndsFull: two ends that both write as much as they may, and read, do not wait for each other.
func TestBothEndsFull(t *testing.T) {
	client, server := pair(t, Config{})
	const each, size = 8, 8 << 20
	var all sync.WaitGroup
	for range each {
		mine, theirs := stream(t, client, server)
		for _, st := range []*Stream{mine, theirs} {
			all.Go(func() {
				_, _ = st.Write(make([]byte, size))
				_ = st.CloseWrite()
			})
			all.Go(func() {
				if n, err := io.Copy(io.Discard, st); n != size || err != nil {
					t.Error(n, err)
				}
			})
		}
	}
	all.Wait()
}

package mux

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// metered counts what is written to a connection.
type metered struct {
	net.Conn
	wrote atomic.Int64
}

func (m *metered) Write(p []byte) (int, error) {
	n, err := m.Conn.Write(p)
	m.wrote.Add(int64(n))
	return n, err
}

// two is a session with two connections, both ends of it, and what goes from the client to the server on each.
type two struct {
	client, server *Session
	first, second  *metered
}

func openTwo(t testing.TB, c Config) *two {
	t.Helper()
	a, b := sockets(t)
	w := &two{first: &metered{Conn: a}, server: New(b, c)}
	c.Client = true
	w.client = New(w.first, c)
	t.Cleanup(func() {
		w.client.Close(nil)
		w.server.Close(nil)
		w.client.Wait()
		w.server.Wait()
	})
	w.attach(t, 1)
	return w
}

func (w *two) attach(t testing.TB, number uint32) {
	t.Helper()
	a, b := sockets(t)
	w.second = &metered{Conn: a}
	if _, err := w.server.Attach(b, number, false); err != nil {
		t.Fatal(err)
	}
	if _, err := w.client.Attach(w.second, number, true); err != nil {
		t.Fatal(err)
	}
	if err := w.client.PingLane(t.Context(), number); err != nil {
		t.Fatal(err)
	}
}

func noise(seed byte, n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{seed}).Read(b)
	return b
}

// TestLargeStreamsMove: what says much goes on on the second connection, in each direction by itself, and comes as it was said.
func TestLargeStreamsMove(t *testing.T) {
	w := openTwo(t, Config{})
	var all sync.WaitGroup
	var ends []*Stream
	for n := range 8 {
		mine, theirs := stream(t, w.client, w.server)
		for from, to := range map[*Stream]*Stream{mine: theirs, theirs: mine} {
			size := 100
			if n < 4 {
				size = 6 << 20
			}
			body := noise(byte(from.id), size+n)
			all.Go(func() {
				if _, err := from.Write(body); err != nil {
					t.Error(err)
				}
				if err := from.CloseWrite(); err != nil {
					t.Error(err)
				}
			})
			all.Go(func() {
				if got, err := io.ReadAll(to); err != nil || !bytes.Equal(got, body) {
					t.Errorf("%d bytes of %d, %v", len(got), len(body), err)
				}
			})
		}
		ends = append(ends, mine, theirs)
	}
	all.Wait()
	first, second := w.first.wrote.Load(), w.second.wrote.Load()
	if first < 4*moveAfter || first > 4*2*moveAfter || second < 4*(6<<20-2*moveAfter) {
		t.Errorf("%d bytes on the first, %d on the second", first, second)
	}
	if w.client.DetachIdle(1) {
		t.Error("it is given up with streams on it")
	}
	for _, end := range ends {
		_ = end.Close()
	}
	until(t, "both ends are idle", func() bool { return w.client.Streams() == 0 && w.server.Streams() == 0 })
	if !w.client.DetachIdle(1) {
		t.Error("it is kept")
	}
	until(t, "the other end sees it", func() bool { _, ok := w.server.Lane(1); return !ok })
	mine, theirs := stream(t, w.client, w.server)
	go func() { _, _ = mine.Write(make([]byte, 3<<20)); _ = mine.Close() }()
	if n, err := io.Copy(io.Discard, theirs); n != 3<<20 || err != nil {
		t.Errorf("without it: %d, %v", n, err)
	}
}

func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not yet: %s", what)
		}
	}
}

// TestItIsCalledFor: a stream that says much calls for a second connection, and goes on there when it comes.
func TestItIsCalledFor(t *testing.T) {
	calls := make(chan struct{}, 100)
	client, server := pair(t, Config{Bulky: func() { calls <- struct{}{} }})
	w := &two{client: client, server: server}
	mine, theirs := stream(t, client, server)
	body := noise(3, 40<<20)
	rest := make(chan int64)
	go func() {
		_, _ = mine.Write(body[:moveAfter])
		if len(calls) > 0 {
			t.Error("it calls too soon")
		}
		_, _ = mine.Write(body[moveAfter : 2<<20])
		<-calls
		w.attach(t, 7)
		_, _ = mine.Write(body[2<<20:])
		_ = mine.CloseWrite()
		rest <- w.second.wrote.Load()
	}()
	got, err := io.ReadAll(theirs)
	if err != nil || !bytes.Equal(got, body) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if on := <-rest; on < 37<<20 {
		t.Errorf("%d bytes on the second", on)
	}
}

// TestSmallWritesAddUp: what says much in small parts, with pauses between them that forget a few bytes each, says much, too.
func TestSmallWritesAddUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		calls := make(chan struct{}, 1)
		a, b := net.Pipe()
		client, server := New(a, Config{Client: true, Bulky: func() { calls <- struct{}{} }}), New(b, Config{})
		mine, theirs := stream(t, client, server)
		var all sync.WaitGroup
		all.Go(func() { _, _ = io.Copy(io.Discard, theirs) })
		for wrote := 0; len(calls) == 0; wrote += 4 << 10 {
			if wrote > 2*moveAfter {
				t.Errorf("%d bytes call for nothing", wrote)
				break
			}
			if _, err := mine.Write(make([]byte, 4<<10)); err != nil {
				t.Fatal(err)
			}
			time.Sleep(100 * time.Microsecond)
			synctest.Wait()
		}
		client.Close(nil)
		server.Close(nil)
		client.Wait()
		server.Wait()
		all.Wait()
	})
}

// TestQuietStreamsReturn: what says little after it has said much, and was quiet, goes by the first connection again, so that the second one
// can be given up; and leaves it again.
func TestQuietStreamsReturn(t *testing.T) {
	w := openTwo(t, Config{})
	echo(t, w.server)
	st, err := w.client.Open()
	if err != nil {
		t.Fatal(err)
	}
	says := func(size int) {
		t.Helper()
		body := noise(byte(size), size)
		go func() { _, _ = st.Write(body) }()
		got := make([]byte, size)
		if _, err := io.ReadFull(st, got); err != nil || !bytes.Equal(got, body) {
			t.Fatalf("something else came: %v", err)
		}
	}
	for range 2 {
		says(5 << 20)
		if streams, _ := w.client.Lane(1); streams != 1 {
			t.Errorf("%d streams are on the second", streams)
		}
		time.Sleep(quiet)
		before := w.second.wrote.Load()
		for range 3 {
			says(10_000)
		}
		if after := w.second.wrote.Load(); after > before+2*headerLen {
			t.Errorf("%d bytes more on the second", after-before)
		}
	}
	until(t, "nothing is on the second", func() bool { return w.client.DetachIdle(1) })
	says(5 << 20)
}

// TestTrickleReturns: what says little for long, after much, goes by the first connection again, though it is never quiet; what is always about
// to say something stays, however slow its path is.
func TestTrickleReturns(t *testing.T) {
	for name, tt := range map[string]struct {
		size   int
		every  time.Duration
		second bool // it is there in the end
	}{
		"a watch":       {1000, 100 * time.Millisecond, false},
		"a slow reader": {1 << 20, 0, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a, b := net.Pipe()
				c, d := net.Pipe()
				client, server := New(a, Config{Client: true}), New(b, Config{})
				if _, err := server.Attach(d, 1, true); err != nil {
					t.Fatal(err)
				}
				if _, err := client.Attach(c, 1, true); err != nil {
					t.Fatal(err)
				}
				mine, theirs := stream(t, client, server)
				var all sync.WaitGroup
				all.Go(func() {
					buf := make([]byte, 4<<10)
					for {
						if _, err := theirs.Read(buf); err != nil {
							return
						}
						if tt.every == 0 && theirs.Received() > 2<<20 {
							time.Sleep(time.Second) // 4 KiB/s
						}
					}
				})
				all.Go(func() {
					_, err := mine.Write(make([]byte, 2<<20))
					for err == nil {
						_, err = mine.Write(make([]byte, tt.size))
						time.Sleep(tt.every)
					}
				})
				time.Sleep(time.Minute)
				synctest.Wait()
				if n, _ := client.Lane(1); n > 0 != tt.second {
					t.Errorf("%d streams are on the second", n)
				}
				client.Close(nil)
				server.Close(nil)
				client.Wait()
				server.Wait()
				all.Wait()
			})
		})
	}
}

// TestSecondIsLost: streams on it end at both ends, with how far they came; all others go on, and so do new ones.
func TestSecondIsLost(t *testing.T) {
	for name, cut := range map[string]func(*two){
		"the connection is reset": func(w *two) {
			_ = w.second.Conn.(*net.TCPConn).SetLinger(0)
			_ = w.second.Conn.Close()
		},
		"the server gives it up": func(w *two) { w.server.Detach(1, errors.New("enough")) },
		"the client gives it up": func(w *two) { w.client.Detach(1, errors.New("enough")) },
	} {
		t.Run(name, func(t *testing.T) {
			w := openTwo(t, Config{})
			echo(t, w.server)
			small, err := w.client.Open()
			if err != nil {
				t.Fatal(err)
			}
			says := func() {
				t.Helper()
				if _, err := small.Write([]byte("hello")); err != nil {
					t.Fatal(err)
				}
				if _, err := io.ReadFull(small, make([]byte, 5)); err != nil {
					t.Fatal(err)
				}
			}
			says()
			large, err := w.client.Open()
			if err != nil {
				t.Fatal(err)
			}
			wrote := make(chan error, 1)
			go func() {
				for {
					if _, err := large.Write(make([]byte, 100_000)); err != nil {
						wrote <- err
						return
					}
				}
			}()
			n, err := io.CopyN(io.Discard, large, 3<<20)
			if err != nil {
				t.Fatal(n, err)
			}
			cut(w)
			more, err := io.Copy(io.Discard, large)
			if !errors.Is(err, io.ErrUnexpectedEOF) || !bytes.Contains([]byte(err.Error()), fmt.Appendf(nil, "incomplete at byte %d", n+more)) {
				t.Errorf("after %d: %v", n+more, err)
			}
			if err := <-wrote; err == nil {
				t.Error("it is written")
			}
			says()
			until(t, "both have seen it", func() bool { return w.server.Streams() == 1 })
			w.attach(t, 2)
			again, err := w.client.Open()
			if err != nil {
				t.Fatal(err)
			}
			body := noise(9, 5<<20)
			go func() { _, _ = again.Write(body); _ = again.CloseWrite() }()
			if got, err := io.ReadAll(again); err != nil || !bytes.Equal(got, body) {
				t.Errorf("%d bytes, %v", len(got), err)
			}
			says()
		})
	}
}

// TestItIsNotWanted: where the other end has no such connection any more, the stream stays where it is.
func TestItIsNotWanted(t *testing.T) {
	w := openTwo(t, Config{})
	w.server.mu.Lock()
	gone := w.server.further[0]
	w.server.drop(gone) // it is about to close it
	w.server.mu.Unlock()
	mine, theirs := stream(t, w.client, w.server)
	body := noise(4, 5<<20)
	go func() { _, _ = mine.Write(body); _ = mine.CloseWrite() }()
	if got, err := io.ReadAll(theirs); err != nil || !bytes.Equal(got, body) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if n := w.first.wrote.Load(); n < 5<<20 {
		t.Errorf("%d bytes on the first", n)
	}
	_ = gone.conn.Close()
}

// TestEndsWhileAsking: a stream is given up, closed or late while it waits for the answer.
func TestEndsWhileAsking(t *testing.T) {
	for name, end := range map[string]func(*Stream){
		"closed":   func(st *Stream) { _ = st.Close() },
		"reset":    func(st *Stream) { st.Reset(CodeNone) },
		"deadline": func(st *Stream) { _ = st.SetWriteDeadline(time.Now()) },
	} {
		w := openTwo(t, Config{})
		mine, theirs := stream(t, w.client, w.server)
		go func() { _, _ = io.Copy(io.Discard, theirs) }()
		w.client.mu.Lock()
		mine.asking, mine.asked = true, 1 // and nobody was asked
		w.client.mu.Unlock()
		wrote := make(chan error)
		go func() { _, err := mine.Write([]byte("more")); wrote <- err }()
		end(mine)
		if err := <-wrote; err == nil {
			t.Errorf("%s: it is written", name)
		}
	}
}

// TestAnswerWhileItIsLost: the second connection is lost, with a stream that asks on it, just when the answer has come and before it is acted on:
// that is no fault of the peer's.
func TestAnswerWhileItIsLost(t *testing.T) {
	w := openTwo(t, Config{})
	mine, _ := stream(t, w.client, w.server)
	w.client.mu.Lock()
	mine.lane, mine.asking, mine.asked = w.client.further[0], true, 0
	w.client.mu.Unlock()
	w.client.Detach(1, errors.New("enough"))
	if err := w.client.first.move(mine, header{kind: typeWindow, flags: flagMove | flagACK, stream: mine.id}); err != nil {
		t.Error(err)
	}
	if _, err := mine.Write([]byte("x")); !errors.Is(err, ErrLane) {
		t.Errorf("the stream lives: %v", err)
	}
}

// TestCutsAtRandom: while second connections come and go, what says that it is whole is.
func TestCutsAtRandom(t *testing.T) {
	w := openTwo(t, Config{})
	echo(t, w.server)
	var all sync.WaitGroup
	var whole, cut atomic.Int64
	stop := make(chan struct{})
	for n := range 6 {
		all.Go(func() {
			random := rand.New(rand.NewPCG(uint64(n), 5))
			for {
				select {
				case <-stop:
					return
				default:
				}
				body := noise(byte(n), random.IntN(6<<20))
				st, err := w.client.Open()
				if err != nil {
					t.Error(err)
					return
				}
				all.Go(func() { _, _ = st.Write(body); _ = st.CloseWrite() })
				got, err := io.ReadAll(st)
				_ = st.Close()
				switch {
				case err == nil && !bytes.Equal(got, body):
					t.Errorf("%d bytes for %d, without an error", len(got), len(body))
				case err == nil:
					whole.Add(1)
				case !bytes.Equal(got, body[:len(got)]):
					t.Errorf("the first %d are others", len(got))
				default:
					cut.Add(1)
				}
			}
		})
	}
	random := rand.New(rand.NewPCG(1, 2))
	for number := uint32(2); number < 60; number++ {
		time.Sleep(time.Duration(random.IntN(30)) * time.Millisecond)
		switch number % 3 {
		case 0:
			w.server.Detach(number-1, errors.New("enough"))
		case 1:
			_ = w.second.Close()
		}
		w.attach(t, number)
	}
	close(stop)
	all.Wait()
	if whole.Load() == 0 || cut.Load() == 0 {
		t.Errorf("%d whole, %d cut", whole.Load(), cut.Load())
	}
	if w.client.Err() != nil || w.server.Err() != nil {
		t.Error(w.client.Err(), w.server.Err())
	}
}

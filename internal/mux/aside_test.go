package mux

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"testing/synctest"
)

// gate is a connection that takes nothing until it is opened.
type gate struct {
	net.Conn
	open chan struct{}
}

func (g *gate) Write(p []byte) (int, error) {
	<-g.open
	return g.Conn.Write(p)
}

// TestShortWordsDoNotWait: while somebody writes, short words are taken at once, up to what may wait; what comes of them is in order, with the
// ends of their streams behind them, and nothing is kept that they were in.
func TestShortWordsDoNotWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := net.Pipe()
		held := &gate{a, make(chan struct{})}
		client, server := New(held, Config{Client: true}), New(b, Config{})
		var all sync.WaitGroup
		open := func() *Stream {
			st, err := client.Open()
			if err != nil {
				t.Fatal(err)
			}
			return st
		}
		first := open()
		all.Go(func() {
			if _, err := first.Write([]byte("first")); err != nil {
				t.Error(err)
			}
			_ = first.CloseWrite()
		})
		synctest.Wait() // it writes, which is held

		want := map[string]bool{"first": true}
		short := open()
		for n := range 3 {
			if _, err := fmt.Fprintf(short, "word %d. ", n); err != nil { // to wait here would be for ever
				t.Fatal(err)
			}
		}
		if err := short.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		want["word 0. word 1. word 2. "] = true

		var waiting, taken int
		for n := range 2 * asideMost / asideEach {
			word := bytes.Repeat([]byte{byte('A' + n)}, asideEach-n)
			want[string(word)] = true
			st, done := open(), false
			all.Go(func() {
				if _, err := st.Write(word); err != nil {
					t.Error(err)
				}
				done = true
				_ = st.CloseWrite()
			})
			synctest.Wait()
			if done {
				taken += len(word)
			} else {
				waiting++
			}
		}
		if taken < asideMost-2*asideEach || taken > asideMost || waiting == 0 {
			t.Errorf("%d bytes were put aside, of %d that may be; %d words wait", taken, asideMost, waiting)
		}

		close(held.open)
		for range len(want) {
			st, err := server.Accept()
			if err != nil {
				t.Fatal(err)
			}
			all.Go(func() {
				got, err := io.ReadAll(st)
				if err != nil {
					t.Error(err)
				}
				client.mu.Lock()
				defer client.mu.Unlock()
				if !want[string(got)] {
					t.Errorf("nobody wrote %.40q", got)
				}
				delete(want, string(got))
			})
		}
		all.Wait()
		synctest.Wait()
		if len(want) > 0 {
			t.Errorf("%d streams did not come", len(want))
		}
		client.mu.Lock()
		if l := &client.first; l.lent != nil || cap(l.control) > asideEach {
			t.Errorf("an idle session keeps %d bytes", cap(l.control))
		}
		client.mu.Unlock()
		client.Close(nil)
		server.Close(nil)
		client.Wait()
		server.Wait()
	})
}

// TestLongWordsWait: what is no short word of a stream that says little has to wait for its turn.
func TestLongWordsWait(t *testing.T) {
	for name, change := range map[string]func(*Session, *Stream){
		"nobody writes":                  func(s *Session, _ *Stream) { s.first.flushing = false },
		"it is long":                     func(_ *Session, st *Stream) { st.pending = make([]byte, asideEach+1) },
		"it says much":                   func(_ *Session, st *Stream) { st.allowance = -1 << 30 },
		"it goes to another connection":  func(_ *Session, st *Stream) { st.much = moveAfter },
		"it is on another connection":    func(s *Session, st *Stream) { st.lane = &lane{session: s, outgoing: outgoing{flushing: true}} },
		"it asks for another connection": func(_ *Session, st *Stream) { st.asking = true },
		"the peer has no room for it":    func(_ *Session, st *Stream) { st.window = 9 },
		"others were before it":          func(s *Session, _ *Stream) { s.first.sparse.push(newStream(s, 9)) },
		"much is aside already":          func(s *Session, _ *Stream) { s.first.control = make([]byte, asideMost-headerLen-9) },
	} {
		t.Run(name, func(t *testing.T) {
			s := &Session{config: Config{Client: true}, streams: map[uint32]*Stream{}}
			s.first.session, s.first.flushing = s, true
			st := newStream(s, 1)
			st.pending = []byte("ten bytes.")
			if change(s, st); st.aside() {
				t.Error("it was put aside")
			}
			if len(st.pending) < 10 {
				t.Errorf("%d bytes are left", len(st.pending))
			}
		})
	}
}

// TestFramesAreCutInOrder: where more frames wait than go out at once, the rest of one that is cut follows it.
func TestFramesAreCutInOrder(t *testing.T) {
	s := &Session{config: Config{Client: true}, streams: map[uint32]*Stream{}}
	l := &s.first
	l.session, l.flushing = s, true
	const frames = 2 * batch / headerLen
	for n := range uint32(frames) {
		if n%1000 == 0 {
			st := newStream(s, n+1)
			if st.pending = make([]byte, 5); !st.aside() && n == 0 {
				t.Fatal("a word is not put aside")
			}
		}
		l.say(header{kind: typeWindow, stream: n + 1, length: 7})
	}
	queued := newStream(s, 1<<20)
	queued.pending = []byte("what is queued")
	s.enqueue(queued)

	var out []byte
	writes := 0
	for ; !l.empty(); writes++ {
		b := l.fill(make([]byte, 0, batch))
		if len(b) == 0 {
			t.Fatal("nothing goes out")
		}
		out = append(out, b...)
	}
	next, last := uint32(0), header{}
	for len(out) > 0 {
		h, err := parseHeader((*[headerLen]byte)(out))
		if err != nil {
			t.Fatal(err)
		}
		out = out[headerLen:]
		if h.kind == typeData {
			out = out[h.length:]
		} else if h.stream != next+1 {
			t.Fatalf("a frame of stream %d came in place of %d", h.stream, next+1)
		} else {
			next++
		}
		last = h
	}
	if next != frames || last.stream != queued.id || writes < 3 {
		t.Errorf("%d frames of %d in %d writes, the last one of stream %d", next, frames, writes, last.stream)
	}
	if l.lent != nil {
		t.Error("the buffer was not given back")
	}
}

package mux

import (
	"encoding/hex"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
)

// TestFramesOnTheWire holds the bytes of a short conversation: docs/protocol.md, section 2.
func TestFramesOnTheWire(t *testing.T) {
	a, b := net.Pipe()
	s := New(a, Config{Client: true})
	const want = "" +
		"0000000100000001" + "00000003" + "474554" + // opens 1 with a word
		"0001000400000001" + "00000000" + // 1 says no more
		"0000000100000003" + "00000001" + "78" + // opens 3
		"0001000800000003" + "00000003" + // gives up 3, since too much lies unread
		"0000000100000005" + "00000001" + "79" +
		"0001000500000007" + "00000000" + // opens 7, and says no more
		"000100010000000b" + "00000000" // opens 11, to hear; of 9 it has said nothing
	said := make(chan []byte, 1)
	go func() {
		all := make([]byte, len(want)/2)
		n, _ := io.ReadFull(b, all)
		said <- all[:n]
	}()
	st, err := s.Open()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := st.Write([]byte("GET")); err != nil {
		t.Fatal(err)
	}
	if err := st.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	other, err := s.Open()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := other.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	other.Reset(CodeBudget)
	last, err := s.Open()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := last.Write(nil); err != nil {
		t.Fatal(err)
	}
	if _, err := last.Write([]byte("y")); err != nil {
		t.Fatal(err)
	}
	for _, end := range []func(*Stream){
		func(st *Stream) { _ = st.Close() },
		func(st *Stream) { st.Reset(CodeClosed) },
		func(st *Stream) { go func() { _, _ = st.Read(make([]byte, 1)) }() }, // until the session ends
	} {
		st, err := s.Open()
		if err != nil {
			t.Fatal(err)
		}
		end(st)
	}
	if got := hex.EncodeToString(<-said); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	s.Close(nil)
	s.Wait()
	_ = b.Close()
}

func TestParseHeader(t *testing.T) {
	for text, want := range map[string]string{
		"000100010000000100000000": "",
		"010100010000000100000000": "version 1",
		"000400010000000100000000": "frame of type 4",
		"000000000000000000000001": "a frame of type 0 for no stream",
		"000200010000000000000001": "",
	} {
		raw, err := hex.DecodeString(text)
		if err != nil {
			t.Fatal(err)
		}
		h, err := parseHeader((*[headerLen]byte)(raw))
		if (err == nil) != (want == "") || err != nil && (!errors.Is(err, ErrProtocol) || err.Error() != "the peer broke the protocol: "+want) {
			t.Errorf("%s: %v", text, err)
		}
		if got := hex.EncodeToString(h.append(nil)); err == nil && got != text {
			t.Errorf("%s becomes %s", text, got)
		}
	}
}

// TestWhatNoPeerMaySay ends the session, and says why.
func TestWhatNoPeerMaySay(t *testing.T) {
	open := header{kind: typeWindow, flags: flagSYN, stream: 1}.append(nil)
	for want, frames := range map[string][]byte{
		"it opens stream 2, which is not for it to open":                 header{kind: typeWindow, flags: flagSYN, stream: 2}.append(nil),
		"it opens stream 1 twice":                                        header{kind: typeWindow, flags: flagSYN, stream: 1}.append(open),
		"262145 bytes are more than the window of stream 1 has room for": header{kind: typeData, stream: 1, length: initialWindow + 1}.append(open),
		"the window of stream 1 is larger than can be":                   header{kind: typeWindow, stream: 1, length: 1<<32 - 1}.append(open),
	} {
		a, b := net.Pipe()
		s := New(a, Config{})
		var all sync.WaitGroup
		all.Go(func() { _, _ = io.Copy(io.Discard, b) })
		_, _ = b.Write(frames)
		s.Wait()
		if err := s.Err(); !errors.Is(err, ErrProtocol) || err.Error() != "the peer broke the protocol: "+want {
			t.Errorf("got %v, want %s", err, want)
		}
		_ = b.Close()
		all.Wait()
	}
}

// TestWhoAsksAndDoesNotRead: answers do not pile up for a peer that does not take them.
func TestWhoAsksAndDoesNotRead(t *testing.T) {
	a, b := net.Pipe()
	s := New(a, Config{})
	ping := header{kind: typePing, flags: flagSYN}.append(nil)
	for range 3 * maxControl / headerLen {
		if _, err := b.Write(ping); err != nil {
			break
		}
	}
	s.Wait()
	if err := s.Err(); !errors.Is(err, ErrProtocol) {
		t.Errorf("got %v", err)
	}
	_ = b.Close()
}

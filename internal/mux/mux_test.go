package mux

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// sockets are two ends of a TCP connection of this machine.
func sockets(t testing.TB) (client, server net.Conn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	type end struct {
		conn net.Conn
		err  error
	}
	dialed := make(chan end, 1)
	go func() {
		c, err := net.Dial("tcp", ln.Addr().String())
		dialed <- end{c, err}
	}()
	server, err = ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	d := <-dialed
	if d.err != nil {
		t.Fatal(d.err)
	}
	return d.conn, server
}

// pair is a session with both ends here.
func pair(t testing.TB, c Config) (client, server *Session) {
	t.Helper()
	a, b := sockets(t)
	server = New(b, c)
	c.Client = true
	client = New(a, c)
	t.Cleanup(func() {
		client.Close(nil)
		server.Close(nil)
		client.Wait()
		server.Wait()
	})
	return client, server
}

// stream opens one at the client and accepts it at the server, which needs a word.
func stream(t testing.TB, client, server *Session) (mine, theirs *Stream) {
	t.Helper()
	mine, err := client.Open()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := mine.Write([]byte("!")); err != nil {
		t.Fatal(err)
	}
	theirs, err = server.Accept()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(theirs, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	return mine, theirs
}

// echo serves every stream by giving back what comes, until the session ends.
func echo(t testing.TB, s *Session) {
	var all sync.WaitGroup
	all.Go(func() {
		for {
			st, err := s.Accept()
			if err != nil {
				return
			}
			all.Go(func() {
				_, _ = io.Copy(st, st)
				_ = st.Close()
			})
		}
	})
	t.Cleanup(func() {
		s.Close(nil)
		all.Wait()
	})
}

func TestEcho(t *testing.T) {
	client, server := pair(t, Config{})
	echo(t, server)
	var all sync.WaitGroup
	for i := range 100 {
		all.Go(func() {
			body := make([]byte, 1+i*7919)
			_, _ = rand.Read(body)
			st, err := client.Open()
			if err != nil {
				t.Error(err)
				return
			}
			defer func() { _ = st.Close() }()
			go func() {
				_, _ = st.Write(body)
				_ = st.CloseWrite()
			}()
			got, err := io.ReadAll(st)
			if err != nil || !bytes.Equal(got, body) {
				t.Errorf("%d bytes: got %d, %v", len(body), len(got), err)
			}
		})
	}
	all.Wait()
	eventually(t, "all streams are forgotten", func() bool { return client.Streams() == 0 && server.Streams() == 0 })
	if n := client.unread.Load() + server.unread.Load(); n != 0 {
		t.Errorf("%d bytes lie unread", n)
	}
}

// eventually waits for a condition.
func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not in a minute: %s", what)
		}
	}
}

func TestHalfClose(t *testing.T) {
	client, server := pair(t, Config{})
	mine, theirs := stream(t, client, server)
	_ = mine.CloseWrite()
	if n, err := theirs.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		t.Errorf("the other end reads %d, %v", n, err)
	}
	if _, err := mine.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
		t.Errorf("a write after the end: %v", err)
	}
	go func() {
		_, _ = theirs.Write(make([]byte, 1<<20))
		_ = theirs.Close()
	}()
	if got, err := io.ReadAll(mine); err != nil || len(got) != 1<<20 {
		t.Errorf("got %d bytes, %v", len(got), err)
	}
}

// TestCutIsNoEnd: the end of the connection is an error on every stream that tells how far it got, whatever lay there can be read.
func TestCutIsNoEnd(t *testing.T) {
	client, server := pair(t, Config{})
	mine, theirs := stream(t, client, server)
	_, _ = theirs.Write([]byte("part"))
	eventually(t, "the part has come", func() bool { return client.unread.Load() == 4 })
	cause := errors.New("the cable was cut")
	client.Close(cause)
	got, err := io.ReadAll(mine)
	if string(got) != "part" || !errors.Is(err, io.ErrUnexpectedEOF) || !errors.Is(err, cause) || err.Error() != "incomplete at byte 4: the connection is gone: the cable was cut" {
		t.Errorf("got %q, %v", got, err)
	}
	if _, err := mine.Write([]byte("x")); !errors.Is(err, cause) {
		t.Errorf("write: %v", err)
	}
	if _, err := io.ReadAll(theirs); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("the other end: %v", err)
	}
	for name, err := range map[string]error{"open": second(client.Open()), "accept": second(client.Accept()), "ping": second(client.Ping(t.Context()))} {
		if !errors.Is(err, cause) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func second[T any](_ T, err error) error { return err }

// TestCloseWakes: who reads or writes on a stream that is closed gets net.ErrClosed, at once.
func TestCloseWakes(t *testing.T) {
	client, server := pair(t, Config{})
	mine, theirs := stream(t, client, server)
	woken := make(chan error, 2)
	go func() { woken <- second(mine.Read(make([]byte, 1))) }()
	go func() {
		for {
			if _, err := mine.Write(make([]byte, 64<<10)); err != nil { // nobody reads there
				woken <- err
				return
			}
		}
	}()
	eventually(t, "the window is full", func() bool { return server.unread.Load() == initialWindow-1 })
	_ = mine.Close()
	for range 2 {
		if err := <-woken; !errors.Is(err, net.ErrClosed) {
			t.Errorf("got %v", err)
		}
	}
	_ = theirs.Close()
	eventually(t, "both ends forget it", func() bool { return client.Streams() == 0 && server.Streams() == 0 })
}

// TestReaderThatLeavesWakesTheWriter: at once where it waits for room, else with what it writes next.
func TestReaderThatLeavesWakesTheWriter(t *testing.T) {
	client, server := pair(t, Config{})
	for _, full := range []bool{true, false} {
		mine, theirs := stream(t, client, server)
		failed := make(chan error, 1)
		begin := make(chan struct{})
		go func() {
			<-begin
			for {
				if _, err := mine.Write(make([]byte, 16<<10)); err != nil {
					failed <- err
					return
				}
			}
		}()
		if full {
			close(begin)
			eventually(t, "the window is full", func() bool { return server.unread.Load() == initialWindow-1 })
			_ = theirs.Close()
		} else {
			_ = theirs.Close()
			close(begin)
		}
		if err := <-failed; !errors.Is(err, ErrReset) || err.Error() != "the peer gave up the stream: it reads no more" {
			t.Errorf("full %t: %v", full, err)
		}
		_ = mine.Close()
	}
}

func TestReset(t *testing.T) {
	client, server := pair(t, Config{})
	mine, theirs := stream(t, client, server)
	mine.Reset(Code(77))
	_, err := theirs.Read(make([]byte, 1))
	if !errors.Is(err, ErrReset) || !errors.Is(err, io.ErrUnexpectedEOF) || err.Error() != "incomplete at byte 1: the peer gave up the stream: reason 77" {
		t.Errorf("got %v", err)
	}
}

func TestDeadlines(t *testing.T) {
	client, server := pair(t, Config{})
	mine, _ := stream(t, client, server)
	_ = mine.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
	if _, err := mine.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("read: %v", err)
	}
	_ = mine.SetWriteDeadline(time.Now().Add(10 * time.Millisecond))
	n, err := mine.Write(make([]byte, 1<<20))
	if !errors.Is(err, os.ErrDeadlineExceeded) || n != initialWindow-1 {
		t.Errorf("write: %d, %v", n, err)
	}
	_ = mine.SetDeadline(time.Time{})
	waits := make(chan error, 1)
	go func() { waits <- second(mine.Read(make([]byte, 1))) }()
	_ = mine.SetReadDeadline(time.Unix(1, 0)) // while it waits, or before
	if err := <-waits; !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("moved: %v", err)
	}
}

func TestTooManyStreams(t *testing.T) {
	client, server := pair(t, Config{Streams: 3})
	var open []*Stream
	for range 3 {
		mine, _ := stream(t, client, server)
		open = append(open, mine)
	}
	more, err := client.Open()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := more.Read(make([]byte, 1)); !errors.Is(err, ErrReset) || !bytes.Contains([]byte(err.Error()), []byte("too many streams")) {
		t.Errorf("got %v", err)
	}
	if _, err := open[0].Write([]byte("x")); err != nil {
		t.Errorf("another stream suffers: %v", err)
	}
}

// TestBudget: where too much lies unread, the stream with the most of it is given up, and the others go on.
func TestBudget(t *testing.T) {
	client, server := pair(t, Config{Budget: 600 << 10})
	slow, unread := stream(t, client, server)
	var others []*Stream
	for range 3 {
		mine, theirs := stream(t, client, server)
		if _, err := mine.Write(make([]byte, 150<<10)); err != nil {
			t.Fatal(err)
		}
		others = append(others, theirs)
	}
	_, _ = slow.Write(make([]byte, 200<<10))
	if _, err := slow.Read(make([]byte, 1)); !errors.Is(err, ErrReset) || !bytes.Contains([]byte(err.Error()), []byte("unread")) {
		t.Errorf("the sender: %v", err)
	}
	if _, err := unread.Read(make([]byte, 1)); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("the reader: %v", err)
	}
	for _, theirs := range others {
		if _, err := io.ReadFull(theirs, make([]byte, 150<<10)); err != nil {
			t.Error(err)
		}
	}
}

// TestStalledReaderHoldsUpNobody: a stream that nobody reads does not keep others from being read.
func TestStalledReaderHoldsUpNobody(t *testing.T) {
	client, server := pair(t, Config{})
	stuck, _ := stream(t, client, server)
	go func() { _, _ = stuck.Write(make([]byte, 1<<20)) }()
	mine, theirs := stream(t, client, server)
	go func() {
		_, _ = io.Copy(theirs, theirs)
	}()
	buf := make([]byte, 1024)
	for range 1000 {
		if _, err := mine.Write(buf); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(mine, buf); err != nil {
			t.Fatal(err)
		}
	}
}

func TestPing(t *testing.T) {
	client, server := pair(t, Config{})
	for _, s := range []*Session{client, server} {
		if rtt, err := s.Ping(t.Context()); err != nil || rtt <= 0 || s.RTT() != rtt {
			t.Errorf("%v, %v", rtt, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := client.Ping(ctx); err != nil && !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// TestWindowGrows: the window of a stream that is read as fast as it comes grows, within the budget, and is given back.
func TestWindowGrows(t *testing.T) {
	for _, budget := range []int{0, 1 << 20} {
		client, server := pair(t, Config{Budget: budget})
		for _, s := range []*Session{client, server} { // a path on which every reader keeps up
			s.rtt.Store(int64(time.Second))
			s.probed.Store(s.clock(time.Now()))
		}
		mine, theirs := stream(t, client, server)
		go func() {
			_, _ = mine.Write(make([]byte, 64<<20))
			_ = mine.CloseWrite()
		}()
		if n, err := io.Copy(io.Discard, theirs); n != 64<<20 || err != nil {
			t.Fatal(n, err)
		}
		want := uint32(16 << 20)
		if budget != 0 {
			want = uint32(budget)/2 + initialWindow
		}
		if theirs.in.limit != want {
			t.Errorf("budget %d: the window is %d, want %d", budget, theirs.in.limit, want)
		}
		_ = theirs.Close()
		_ = mine.Close()
		eventually(t, "it is given back", func() bool {
			server.mu.Lock()
			defer server.mu.Unlock()
			return server.grown == 0
		})
	}
}

func ExampleCode() {
	fmt.Println(CodeBudget)
	// Output: too much lies unread there
}

// TestTimesAreMonotonic: a machine whose clock is set right after the start neither loses its sessions nor keeps dead ones.
func TestTimesAreMonotonic(t *testing.T) {
	client, _ := pair(t, Config{})
	if _, err := client.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	for name, when := range map[string]time.Time{"heard": client.Heard(), "said": client.Said()} {
		if !strings.Contains(when.String(), " m=") { // time.Time prints what the monotonic clock said
			t.Errorf("%s is of the wall clock: %s", name, when)
		}
		if since := time.Since(when); since < 0 || since > time.Minute {
			t.Errorf("%s was %s ago", name, since)
		}
	}
}

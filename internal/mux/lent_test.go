package mux

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestReaderWhoWaits: what comes for a reader who waits is put into his buffer; the rest of it stays for the next.
func TestReaderWhoWaits(t *testing.T) {
	client, server := pair(t, Config{})
	mine, theirs := stream(t, client, server)
	body := make([]byte, 1<<20)
	_, _ = rand.Read(body)
	for _, size := range []int{1, 100, 5000, 40 << 10} {
		go func() {
			for sent := 0; sent < len(body); sent += 10_007 {
				_, _ = mine.Write(body[sent:min(len(body), sent+10_007)])
			}
		}()
		got := make([]byte, 0, len(body))
		buf := make([]byte, size)
		for len(got) < len(body) {
			n, err := theirs.Read(buf)
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, buf[:n]...)
		}
		if !bytes.Equal(got, body) {
			t.Fatalf("buffers of %d: something else came", size)
		}
	}
}

// TestBufferIsGivenBack: a buffer whose reader has returned is not written to, whatever made him return, and nothing is lost.
func TestBufferIsGivenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := net.Pipe()
		client, server := New(a, Config{Client: true}), New(b, Config{})
		mine, theirs := stream(t, client, server)
		buf := make([]byte, 100)
		_ = theirs.SetReadDeadline(time.Now().Add(time.Second))
		if n, err := theirs.Read(buf); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%d, %v", n, err)
		}
		_, _ = mine.Write([]byte("hello"))
		synctest.Wait()
		if !bytes.Equal(buf, make([]byte, 100)) {
			t.Errorf("it has %q", buf)
		}
		_ = theirs.SetReadDeadline(time.Time{})
		if _, err := io.ReadFull(theirs, buf[:5]); err != nil || string(buf[:5]) != "hello" {
			t.Errorf("%q, %v", buf[:5], err)
		}

		// a reader is woken when a frame is whole, unless his buffer is full before
		read := make(chan string, 1)
		reads := func(size int) {
			go func() {
				n, err := theirs.Read(buf[:size])
				read <- fmt.Sprintf("%q, %v", buf[:n], err)
			}()
			synctest.Wait()
		}
		frame := func(size int) {
			client.mu.Lock()
			mine.window -= uint32(size)
			client.mu.Unlock()
			_, _ = a.Write(header{kind: typeData, stream: mine.id, length: uint32(size)}.append(nil))
		}
		reads(100)
		frame(8)
		_, _ = a.Write([]byte("half"))
		synctest.Wait()
		if len(read) > 0 {
			t.Errorf("half of it is %s", <-read)
		}
		go func() { _, _ = a.Write([]byte("rest")) }()
		if got := <-read; got != `"halfrest", <nil>` {
			t.Error(got)
		}
		reads(4)
		frame(8)
		_, _ = a.Write([]byte("half"))
		if got := <-read; got != `"half", <nil>` {
			t.Error(got)
		}
		_, _ = a.Write([]byte("rest"))
		reads(100)
		if got := <-read; got != `"rest", <nil>` {
			t.Error(got)
		}

		// a deadline passes while a part comes: that part is had at once
		reads(100)
		frame(8)
		_ = theirs.SetReadDeadline(time.Now().Add(time.Second))
		time.Sleep(2 * time.Second)
		_, _ = a.Write([]byte("half"))
		if got := <-read; got != `"half", <nil>` {
			t.Error(got)
		}
		_ = theirs.SetReadDeadline(time.Time{})
		_, _ = a.Write([]byte("rest"))
		reads(100)
		if got := <-read; got != `"rest", <nil>` {
			t.Error(got)
		}

		// the stream fails while a part comes: that part is had, and then the failure
		reads(100)
		frame(8)
		theirs.end(errors.New("cut"))
		_, _ = a.Write([]byte("half"))
		if got := <-read; got != `"half", <nil>` {
			t.Error(got)
		}
		_, _ = a.Write([]byte("rest"))
		mine, theirs = stream(t, client, server)

		// closed while half of a frame is in it: the rest comes, and goes nowhere
		reads(100)
		frame(8)
		_, _ = a.Write([]byte("half"))
		synctest.Wait()
		_ = theirs.Close() // the session waits for the rest of the frame
		go func() { _, _ = a.Write([]byte("rest")) }()
		if got := <-read; got != `"", `+net.ErrClosed.Error() {
			t.Error(got)
		}
		client.Close(nil)
		server.Close(nil)
		client.Wait()
		server.Wait()
	})
}

// TestCutWhileReceiving: where a stream fails while what came for it is just being put into place, by the other direction say, its reader gets
// that, and then an error that counts it.
func TestCutWhileReceiving(t *testing.T) {
	for name, waits := range map[string]bool{"nobody waits": false, "a reader waits": true} {
		t.Run(name, func(t *testing.T) {
			client, server := pair(t, Config{})
			st, theirs := stream(t, client, server)
			if _, err := theirs.Write([]byte("hello")); err != nil {
				t.Fatal(err)
			}
			buf := make([]byte, 64)
			if _, err := io.ReadFull(st, buf[:5]); err != nil {
				t.Fatal(err)
			}
			type got struct {
				n   int
				err error
			}
			read := make(chan got, 1)
			reader := func() {
				n, err := st.Read(buf)
				read <- got{n, err}
			}
			var lent []byte
			if waits {
				go reader()
				until(t, "the reader waits", func() bool {
					st.in.mu.Lock()
					defer st.in.mu.Unlock()
					lent = st.in.lent
					return lent != nil
				})
			}
			space := st.in.space(10, false)
			if waits && &space[0] != &lent[0] {
				t.Error("it is put elsewhere")
			}
			st.end(ErrReset)
			if !waits {
				go reader()
			}
			select {
			case g := <-read:
				t.Fatalf("before it is in place: %d bytes, %v", g.n, g.err)
			case <-time.After(10 * time.Millisecond):
			}
			st.in.came(st, copy(space, "0123456789"), true)
			if g := <-read; g.n != 10 || g.err != nil {
				t.Errorf("%d bytes, %v", g.n, g.err)
			}
			reader()
			if g := <-read; g.n != 0 || g.err == nil || !strings.Contains(g.err.Error(), "incomplete at byte 15:") {
				t.Errorf("%d bytes, and then %v", g.n, g.err)
			}
			if n := client.unread.Load(); n != 0 {
				t.Errorf("%d bytes count as unread", n)
			}
		})
	}
}

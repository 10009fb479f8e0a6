package mux

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"os"
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

		// closed while half of a frame is in it: the rest comes, and goes nowhere
		read := make(chan error, 1)
		clear(buf)
		go func() { read <- second(theirs.Read(buf)) }()
		synctest.Wait()
		half := append(header{kind: typeData, stream: mine.id, length: 8}.append(nil), "half"...)
		client.mu.Lock()
		mine.window -= 8
		client.mu.Unlock()
		_, _ = a.Write(half)
		if err := <-read; err != nil || string(buf[:4]) != "half" {
			t.Errorf("%q, %v", buf[:4], err)
		}
		go func() { read <- second(theirs.Read(buf)) }()
		synctest.Wait()
		_ = theirs.Close() // the session waits for the rest of the frame
		go func() { _, _ = a.Write([]byte("rest")) }()
		if err := <-read; !errors.Is(err, net.ErrClosed) {
			t.Errorf("%v", err)
		}
		client.Close(nil)
		server.Close(nil)
		client.Wait()
		server.Wait()
	})
}

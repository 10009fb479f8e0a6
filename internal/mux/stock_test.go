package mux

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"sync"
	"testing"

	"github.com/hashicorp/yamux"
)

// TestStockPeer: a stock yamux at the other end, whichever opens the streams, gets every byte, and both ends of each.
func TestStockPeer(t *testing.T) {
	for _, client := range []bool{true, false} {
		a, b := sockets(t)
		ours := New(a, Config{Client: client})
		config := yamux.DefaultConfig()
		config.LogOutput = io.Discard
		config.MaxStreamWindowSize = 1 << 20
		start := yamux.Client
		if client {
			start = yamux.Server
		}
		stock, err := start(b, config)
		if err != nil {
			t.Fatal(err)
		}
		serve := func(accept func() (net.Conn, error)) *sync.WaitGroup {
			var all sync.WaitGroup
			all.Go(func() {
				for {
					st, err := accept()
					if err != nil {
						return
					}
					all.Go(func() {
						_, _ = io.Copy(st, st)
						_ = st.Close()
					})
				}
			})
			return &all
		}
		ask := func(open func() (net.Conn, error), size int) {
			st, err := open()
			if err != nil {
				t.Error(err)
				return
			}
			body := make([]byte, size)
			_, _ = rand.Read(body)
			var wrote sync.WaitGroup
			wrote.Go(func() {
				if _, err := st.Write(body); err != nil {
					t.Error(err)
				}
			})
			got := make([]byte, size)
			if _, err := io.ReadFull(st, got); err != nil || !bytes.Equal(got, body) {
				t.Errorf("client %t, %d bytes: %v", client, size, err)
			}
			wrote.Wait()
			if err := st.Close(); err != nil {
				t.Error(err)
			}
		}
		ourOpen := func() (net.Conn, error) { return ours.Open() }
		first := serve(func() (net.Conn, error) { return ours.Accept() })
		then := serve(func() (net.Conn, error) { return stock.AcceptStream() })
		var all sync.WaitGroup
		for i := range 20 {
			all.Go(func() { ask(ourOpen, 1+i*100_003) })
			all.Go(func() { ask(stock.Open, 1+i*100_003) })
		}
		all.Wait()
		if _, err := ours.Ping(t.Context()); err != nil {
			t.Error(err)
		}
		if _, err := stock.Ping(); err != nil {
			t.Error(err)
		}
		eventually(t, "all streams are forgotten", func() bool { return ours.Streams() == 0 && stock.NumStreams() == 0 })

		_ = stock.GoAway()
		eventually(t, "no more is opened", func() bool {
			st, err := ours.Open()
			if err == nil {
				_ = st.Close()
			}
			return errors.Is(err, ErrGoingAway)
		})
		_ = stock.Close()
		ours.Wait()
		if err := ours.Err(); err == nil {
			t.Error("no cause")
		}
		first.Wait()
		then.Wait()
	}
}

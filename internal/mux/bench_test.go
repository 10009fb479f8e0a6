package mux

import (
	"io"
	"net"
	"testing"

	"github.com/hashicorp/yamux"
)

// contenders are the sessions that are compared, each with both ends here.
func contenders(b *testing.B) map[string]func() (open, accept func() (net.Conn, error)) {
	return map[string]func() (open, accept func() (net.Conn, error)){
		"ours": func() (open, accept func() (net.Conn, error)) {
			client, server := pair(b, Config{})
			_, _ = client.Ping(b.Context())
			_, _ = server.Ping(b.Context())
			return func() (net.Conn, error) { return client.Open() }, func() (net.Conn, error) { return server.Accept() }
		},
		"stock": func() (open, accept func() (net.Conn, error)) {
			a, s := sockets(b)
			config := yamux.DefaultConfig()
			config.LogOutput = io.Discard
			client, err := yamux.Client(a, config)
			if err != nil {
				b.Fatal(err)
			}
			server, err := yamux.Server(s, config)
			if err != nil {
				b.Fatal(err)
			}
			b.Cleanup(func() { _, _ = client.Close(), server.Close() })
			return client.Open, server.Accept
		},
		"socket": func() (open, accept func() (net.Conn, error)) {
			a, s := sockets(b)
			return func() (net.Conn, error) { return a, nil }, func() (net.Conn, error) { return s, nil }
		},
	}
}

// BenchmarkEcho is a kilobyte there and back, BenchmarkBulk much one way, both over TCP without TLS.
func BenchmarkEcho(b *testing.B) {
	for name, start := range contenders(b) {
		b.Run(name, func(b *testing.B) {
			open, accept := start()
			st, err := open()
			if err != nil {
				b.Fatal(err)
			}
			defer func() { _ = st.Close() }()
			buf := make([]byte, 1024)
			_, _ = st.Write(buf)
			other, err := accept()
			if err != nil {
				b.Fatal(err)
			}
			go func() { _, _ = io.Copy(other, other) }()
			_, _ = io.ReadFull(st, buf)
			for b.Loop() {
				if _, err := st.Write(buf); err != nil {
					b.Fatal(err)
				}
				if _, err := io.ReadFull(st, buf); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkBulk(b *testing.B) {
	for name, start := range contenders(b) {
		b.Run(name, func(b *testing.B) {
			open, accept := start()
			st, err := open()
			if err != nil {
				b.Fatal(err)
			}
			defer func() { _ = st.Close() }()
			buf := make([]byte, 32<<10)
			_, _ = st.Write(buf)
			other, err := accept()
			if err != nil {
				b.Fatal(err)
			}
			done := make(chan struct{})
			go func() {
				defer close(done)
				_, _ = io.Copy(io.Discard, other)
			}()
			b.SetBytes(int64(len(buf)))
			for b.Loop() {
				if _, err := st.Write(buf); err != nil {
					b.Fatal(err)
				}
			}
			_ = st.Close()
			<-done
		})
	}
}

func BenchmarkOpen(b *testing.B) {
	for name, start := range contenders(b) {
		if name == "socket" {
			continue
		}
		b.Run(name, func(b *testing.B) {
			open, accept := start()
			go func() {
				for {
					st, err := accept()
					if err != nil {
						return
					}
					go func() {
						_, _ = io.Copy(st, st)
						_ = st.Close()
					}()
				}
			}()
			b.SetParallelism(32)
			b.RunParallel(func(pb *testing.PB) {
				buf := make([]byte, 1024)
				for pb.Next() {
					st, err := open()
					if err != nil {
						b.Error(err)
						return
					}
					if _, err := st.Write(buf); err != nil {
						b.Error(err)
					}
					if _, err := io.ReadFull(st, buf); err != nil {
						b.Error(err)
					}
					_ = st.Close()
				}
			})
		})
	}
}

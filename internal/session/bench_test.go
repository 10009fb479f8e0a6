package session

import (
	"io"
	"net/http"
	"testing"
)

// BenchmarkRequest is a small request through a session over TLS, one at a time and several.
func BenchmarkRequest(b *testing.B) {
	hello := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") })
	p := connect(b, true, hello, http.NotFoundHandler())
	ask := func() {
		response, err := get(b.Context(), p.gateway, "/")
		if err != nil {
			b.Error(err)
			return
		}
		_, _ = io.Copy(io.Discard, response.Body)
		_ = response.Body.Close()
	}
	b.Run("one", func(b *testing.B) {
		for b.Loop() {
			ask()
		}
	})
	b.Run("several", func(b *testing.B) {
		b.SetParallelism(16)
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				ask()
			}
		})
	})
}

// BenchmarkBulk is one large body through a session over TLS.
func BenchmarkBulk(b *testing.B) {
	const size = 64 << 20
	block := make([]byte, 32<<10)
	big := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		for range size / len(block) {
			if _, err := w.Write(block); err != nil {
				return
			}
		}
	})
	p := connect(b, true, big, http.NotFoundHandler())
	b.SetBytes(size)
	for b.Loop() {
		response, err := get(b.Context(), p.gateway, "/")
		if err != nil {
			b.Fatal(err)
		}
		if n, err := io.Copy(io.Discard, response.Body); n != size || err != nil {
			b.Fatal(n, err)
		}
		_ = response.Body.Close()
	}
}

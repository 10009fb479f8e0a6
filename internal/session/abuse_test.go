package session

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"testing"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

// TestTenThousandHalfOpenStreams: a peer that opens streams and does not go on with them, or never ends a header, holds a bounded amount of
// memory and no one up.
func TestTenThousandHalfOpenStreams(t *testing.T) {
	each(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") }), func(t *testing.T, _ *pair, asker, server *Session) {
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		most := 0
		for i := range 10_000 {
			conn, err := asker.Open()
			if err != nil {
				t.Fatal(err)
			}
			_, _ = fmt.Fprintf(conn, "GET /%d HTTP/1.1\r\nHost: a\r\nX:", i) // and no more; refused streams are reset
			most = max(most, server.Stats().Streams)
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		if most > 1100 {
			t.Errorf("%d streams were open", most)
		}
		if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 64<<20 {
			t.Errorf("both ends hold %d MiB more", grown>>20)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		response, err := get(ctx, server, "/") // the session is of use all the same: the other end asks
		if err != nil {
			t.Fatal(err)
		}
		if _ = response.Body.Close(); response.StatusCode != http.StatusNotFound {
			t.Errorf("status %d", response.StatusCode)
		}
	})
}

// TestGiantHeader: of a header that does not end so much is read as one may have, whatever comes; the session goes on.
func TestGiantHeader(t *testing.T) {
	each(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") }), func(t *testing.T, _ *pair, asker, server *Session) {
		conn, err := asker.Open()
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: a\r\nX: ")
		part, sent := make([]byte, 32<<10), 0
		for i := range part {
			part[i] = 'x'
		}
		for sent < 1<<30 {
			n, err := conn.Write(part)
			if sent += n; err != nil {
				break
			}
		}
		if sent > 32*wire.MaxHeader { // what its windows and the kernel hold
			t.Errorf("%d bytes of a header were taken", sent)
		}
		_ = conn.Close()
		response, err := get(t.Context(), asker, "/")
		if err != nil {
			t.Fatal(err)
		}
		if raw, err := io.ReadAll(response.Body); err != nil || string(raw) != "ok" {
			t.Errorf("%q, %v", raw, err)
		}
		_ = response.Body.Close()
	})
}

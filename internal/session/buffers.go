package session

import (
	"sync"

	"github.com/pipeopshq/pipeops-agent/internal/mux"
)

// portion is how much of a body is copied at once, in bytes: two frames.
const portion = 2 * mux.Chunk

// Buffers lends the buffers through which bodies are copied. It is an httputil.BufferPool; the
// zero value is ready.
type Buffers struct{ pool sync.Pool }

// Get returns a buffer.
func (b *Buffers) Get() []byte {
	if buf, ok := b.pool.Get().(*[portion]byte); ok {
		return buf[:]
	}
	return make([]byte, portion)
}

// Put takes a buffer back.
func (b *Buffers) Put(buf []byte) {
	if len(buf) == portion {
		b.pool.Put((*[portion]byte)(buf))
	}
}

package session

import (
	"sync"

	"github.com/pipeopshq/pipeops-agent/internal/mux"
)

// Buffers lends the buffers through which bodies are copied, each as large as a frame. It is an httputil.BufferPool; the
// zero value is ready.
type Buffers struct{ pool sync.Pool }

// Get returns a buffer.
func (b *Buffers) Get() []byte {
	if buf, ok := b.pool.Get().(*[mux.Chunk]byte); ok {
		return buf[:]
	}
	return make([]byte, mux.Chunk)
}

// Put takes a buffer back.
func (b *Buffers) Put(buf []byte) {
	if len(buf) == mux.Chunk {
		b.pool.Put((*[mux.Chunk]byte)(buf))
	}
}

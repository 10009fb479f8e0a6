// Package echo is callers who want a word back, and a server that returns it: what is the same for all tunnels that are compared. It talks to
// the kernel in as few threads as can be. Whatever it took of the processors besides, such as a goroutine for each connection, would hide how
// tunnels differ that share these processors with it.
package echo

import "encoding/binary"

const (
	// Kind is that of a stream for echoes.
	Kind = 'e'
	// Word is how many bytes an echo has.
	Word = 1 << 10
	// HelloSize is that of a hello, in bytes.
	HelloSize = 5
)

// Hello is what a stream begins with: a byte that tells its kind, and its number among those of the kind, 4 bytes.
func Hello(kind byte, number int) []byte {
	return binary.BigEndian.AppendUint32([]byte{kind}, uint32(number))
}

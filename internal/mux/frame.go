package mux

import (
	"encoding/binary"
	"fmt"
)

// The frames of yamux, version 0: https://github.com/hashicorp/yamux/blob/master/spec.md
const (
	version   = 0
	headerLen = 12

	typeData   = 0
	typeWindow = 1
	typePing   = 2
	typeGoAway = 3

	flagSYN = 1
	flagACK = 2
	flagFIN = 4
	flagRST = 8

	// initialWindow is what either end may send on a stream before it was granted more, in bytes. It is the protocol's.
	initialWindow = 256 << 10
)

// Code says why an end gave up a stream. It is in the length of the frame that resets it, which stock yamux neither sets nor reads.
type Code uint32

// The codes of this package; a user of it may have others.
const (
	CodeNone    Code = 0 // stock yamux, or an end that has nothing to say
	CodeClosed  Code = 1 // the stream was closed, and what came for it after that is lost
	CodeRefused Code = 2 // too many streams are open
	CodeBudget  Code = 3 // too much lies unread, most of it on this stream
	CodeLane    Code = 4 // the connection that it was on is gone
)

func (c Code) String() string {
	switch c {
	case CodeNone:
		return "no reason given"
	case CodeClosed:
		return "it reads no more"
	case CodeRefused:
		return "it has too many streams open"
	case CodeBudget:
		return "too much lies unread there"
	case CodeLane:
		return ErrLane.Error()
	}
	return fmt.Sprintf("reason %d", uint32(c))
}

// header is that of a frame. For a ping length is an opaque number, for a reset a [Code].
type header struct {
	kind   uint8
	flags  uint16
	stream uint32
	length uint32
}

// append adds the header to b as it goes over the wire.
func (h header) append(b []byte) []byte {
	b = append(b, version, h.kind)
	b = binary.BigEndian.AppendUint16(b, h.flags)
	b = binary.BigEndian.AppendUint32(b, h.stream)
	return binary.BigEndian.AppendUint32(b, h.length)
}

// parseHeader reads a header, and finds what none can be.
func parseHeader(b *[headerLen]byte) (header, error) {
	h := header{
		kind:   b[1],
		flags:  binary.BigEndian.Uint16(b[2:]),
		stream: binary.BigEndian.Uint32(b[4:]),
		length: binary.BigEndian.Uint32(b[8:]),
	}
	switch {
	case b[0] != version:
		return h, fmt.Errorf("%w: version %d", ErrProtocol, b[0])
	case h.kind > typeGoAway:
		return h, fmt.Errorf("%w: frame of type %d", ErrProtocol, h.kind)
	case h.kind <= typeWindow && h.stream == 0:
		return h, fmt.Errorf("%w: a frame of type %d for no stream", ErrProtocol, h.kind)
	}
	return h, nil
}

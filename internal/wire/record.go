package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/http"
	"strings"
)

// Connect is the protocol that a request for a tunnel of TCP or UDP changes to (HTTP's Upgrade). What follows in both directions are
// records: a byte that says of which kind it is, the length of its body in two bytes, big endian, and the body.
//
// An end that has no more to say sends an End; when it has sent one, has received one, and has handed on all that came, it sends a Close.
// A tunnel is complete when both ends have said so. Whatever else ends it is a cut: a Close with another outcome, or the end of the stream
// without one.
const Connect = "pipeops-connect/1"

// Kinds of records.
const (
	RecordData  byte = 0 // bytes of TCP, or one whole datagram, which may be empty
	RecordEnd   byte = 1 // no more comes; 8 bytes: how many bytes came in all
	RecordClose byte = 2 // the last of its end: a [Close]
)

// Sizes of records, in bytes.
const (
	RecordHeader = 3
	MaxRecord    = 1<<16 - 1 // of a body: a datagram has at most 65,507
	// ChunkRecord is the body that TCP is cut into: with its header it fits a frame of the session.
	ChunkRecord = 32<<10 - 64
	endSize     = 8
	closeSize   = 1 + 8 + 8
	maxWhy      = 512
	MaxClose    = closeSize + maxWhy // of the body of a Close
)

// ErrRecord means that the other end sent what is no record, or none that may come here.
var ErrRecord = errors.New("the other end broke the protocol of connections")

// Outcome says how a tunnel ended.
type Outcome byte

// Outcomes. One that is not known counts as OutcomeReset.
const (
	OutcomeComplete Outcome = 0 // all that either side had to say was handed on
	OutcomeReset    Outcome = 1 // the connection at this end broke
	OutcomeGone     Outcome = 2 // the pod or the service is no more
	OutcomeIdle     Outcome = 3 // neither side of a flow of datagrams said anything for too long
	OutcomeLost     Outcome = 4 // the way between the ends broke
	OutcomeStopped  Outcome = 5 // this end was told to stop
	OutcomeProtocol Outcome = 6 // the other end sent what it may not
)

// Close is the end of a tunnel as one of its ends sees it.
type Close struct {
	Outcome Outcome
	Sent    uint64 // bytes that this end has sent
	Taken   uint64 // bytes that this end has received and handed on
	Why     string // for people; at most 512 bytes
}

// PutHeader writes the header of a record into its first bytes.
func PutHeader(to []byte, kind byte, length int) {
	to[0] = kind
	binary.BigEndian.PutUint16(to[1:RecordHeader], uint16(length))
}

// ParseHeader reads the header of a record. An error is an [ErrRecord].
func ParseHeader(raw [RecordHeader]byte) (kind byte, length int, err error) {
	kind, length = raw[0], int(binary.BigEndian.Uint16(raw[1:]))
	switch {
	case kind > RecordClose:
		return 0, 0, fmt.Errorf("%w: there is no record of kind %d", ErrRecord, kind)
	case kind == RecordEnd && length != endSize, kind == RecordClose && (length < closeSize || length > MaxClose):
		return 0, 0, fmt.Errorf("%w: a record of kind %d has %d bytes", ErrRecord, kind, length)
	}
	return kind, length, nil
}

// EndRecord is a whole record that says that no more than these bytes come.
func EndRecord(bytes uint64) []byte {
	out := make([]byte, RecordHeader+endSize)
	PutHeader(out, RecordEnd, endSize)
	binary.BigEndian.PutUint64(out[RecordHeader:], bytes)
	return out
}

// ParseEnd reads the body of an End.
func ParseEnd(body []byte) (bytes uint64, err error) {
	if len(body) != endSize {
		return 0, ErrRecord
	}
	return binary.BigEndian.Uint64(body), nil
}

// Record is the whole record of a Close.
func (c Close) Record() []byte {
	why := strings.ToValidUTF8(c.Why[:min(len(c.Why), maxWhy)], "")
	out := make([]byte, RecordHeader+closeSize, RecordHeader+closeSize+len(why))
	PutHeader(out, RecordClose, closeSize+len(why))
	out[RecordHeader] = byte(c.Outcome)
	binary.BigEndian.PutUint64(out[RecordHeader+1:], c.Sent)
	binary.BigEndian.PutUint64(out[RecordHeader+9:], c.Taken)
	return append(out, why...)
}

// ParseClose reads the body of a Close. What it says for people has no control characters.
func ParseClose(body []byte) (Close, error) {
	if len(body) < closeSize || len(body) > MaxClose {
		return Close{}, ErrRecord
	}
	why := strings.Map(func(r rune) rune {
		if r < 0x20 || r >= 0x7f && r < 0xa0 {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(string(body[closeSize:]), ""))
	return Close{
		Outcome: Outcome(body[0]), Sent: binary.BigEndian.Uint64(body[1:]), Taken: binary.BigEndian.Uint64(body[9:]), Why: why,
	}, nil
}

// String says in a few words how a tunnel ended.
func (s Outcome) String() string {
	switch s {
	case OutcomeComplete:
		return "complete"
	case OutcomeGone:
		return "the pod or the service is gone"
	case OutcomeIdle:
		return "idle for too long"
	case OutcomeLost:
		return "the way between the ends broke"
	case OutcomeStopped:
		return "the other end was told to stop"
	case OutcomeProtocol:
		return "the protocol was broken"
	case OutcomeReset:
	}
	return "the connection at the other end broke"
}

// AsksConnect reports whether a request, or an answer 101, changes to [Connect] and to nothing else.
func AsksConnect(h http.Header) bool {
	asked := false
	for _, t := range tokens(h["Connection"]) {
		asked = asked || strings.EqualFold(t, "upgrade")
	}
	names := tokens(h["Upgrade"])
	return asked && len(names) == 1 && names[0] == Connect
}

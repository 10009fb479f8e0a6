package wire

import (
	"encoding/binary"
	"encoding/hex"
)

// Second is what an agent says first on a further connection that is to belong to a session which it has: SecondLen bytes. The gateway
// answers with the byte SecondTaken, or closes the connection; frames follow on either side.
type Second struct {
	Token  string // that the gateway gave in Welcome.Second
	Number uint32 // the agent counts its connections of that session, from 1
}

const (
	secondMagic = "pipeops-bulk" // no frame begins so: that would be one of version 112
	// SecondLen is how long a Second is, in bytes.
	SecondLen = len(secondMagic) + secondToken + 4
	// SecondTaken is the answer to one that is taken.
	SecondTaken = 1

	secondToken = 16
)

// BeginsSecond reports whether what came first on a connection, of which there is something, begins a Second and no frame.
func BeginsSecond(first []byte) bool { return len(first) > 0 && first[0] == secondMagic[0] }

// Append appends it to b as it goes over the wire. ok is false where the token is none.
func (s Second) Append(b []byte) (out []byte, ok bool) {
	token, err := hex.DecodeString(s.Token)
	if err != nil || len(token) != secondToken {
		return b, false
	}
	b = append(append(b, secondMagic...), token...)
	return binary.BigEndian.AppendUint32(b, s.Number), true
}

// ParseSecond reads one.
func ParseSecond(b []byte) (s Second, ok bool) {
	if len(b) != SecondLen || string(b[:len(secondMagic)]) != secondMagic {
		return Second{}, false
	}
	b = b[len(secondMagic):]
	return Second{Token: hex.EncodeToString(b[:secondToken]), Number: binary.BigEndian.Uint32(b[secondToken:])}, true
}

package wire

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
)

// Token is a join token: pat_<id>.<secret>.<digest of the gateway's CA>, or a node token, the same with pjt_ before it.
// The digest is the SHA-256 of the DER bytes of the CA certificate, so that a machine that holds the token can tell the
// right gateway from any other.
type Token struct {
	Node   bool   // a machine becomes a node of a cluster that is there, by PathJoin; else it enrols one, by PathEnroll
	ID     string // 16 hexadecimal digits; may be shown
	Secret string // 32 random bytes in base64url; never stored by the gateway, never kept by the agent
	CA     [sha256.Size]byte
}

const (
	tokenPrefix     = "pat_"
	nodeTokenPrefix = "pjt_"
)

// What text is that is no token, or none of the kind that is wanted. None of these ever holds any of the text.
var (
	ErrToken     = errors.New("not a join token: want pat_<id>.<secret>.<digest>")
	ErrNodeToken = errors.New("not a node token: want pjt_<id>.<secret>.<digest>")
)

// NewToken makes a join token for the gateway with the given CA certificate in DER form.
func NewToken(caDER []byte) Token {
	var id [8]byte
	var secret [32]byte
	_, _ = rand.Read(id[:]) // never fails: it ends the process instead
	_, _ = rand.Read(secret[:])
	return Token{
		ID:     hex.EncodeToString(id[:]),
		Secret: base64.RawURLEncoding.EncodeToString(secret[:]),
		CA:     sha256.Sum256(caDER),
	}
}

// NewNodeToken makes a node token for the gateway with the given CA certificate in DER form.
func NewNodeToken(caDER []byte) Token {
	t := NewToken(caDER)
	t.Node = true
	return t
}

// ParseToken reads a join token; white space round it is ignored. The error is ErrToken.
func ParseToken(s string) (Token, error) {
	t, ok := parseToken(s, tokenPrefix)
	if !ok {
		return Token{}, ErrToken
	}
	return t, nil
}

// ParseNodeToken reads a node token; white space round it is ignored. The error is ErrNodeToken.
func ParseNodeToken(s string) (Token, error) {
	t, ok := parseToken(s, nodeTokenPrefix)
	if !ok {
		return Token{}, ErrNodeToken
	}
	t.Node = true
	return t, nil
}

func parseToken(s, prefix string) (t Token, ok bool) {
	rest, ok := strings.CutPrefix(strings.TrimSpace(s), prefix)
	parts := strings.Split(rest, ".")
	if !ok || len(parts) != 3 {
		return Token{}, false
	}
	id, err1 := hex.DecodeString(parts[0])
	secret, err2 := base64.RawURLEncoding.DecodeString(parts[1])
	digest, err3 := hex.DecodeString(parts[2])
	if err1 != nil || err2 != nil || err3 != nil || len(id) != 8 || len(secret) != 32 || len(digest) != sha256.Size {
		return Token{}, false
	}
	t = Token{ID: strings.ToLower(parts[0]), Secret: parts[1]}
	copy(t.CA[:], digest)
	return t, true
}

func (t Token) prefix() string {
	if t.Node {
		return nodeTokenPrefix
	}
	return tokenPrefix
}

// Reveal returns the whole token, secret included.
func (t Token) Reveal() string {
	return fmt.Sprintf("%s%s.%s.%s", t.prefix(), t.ID, t.Secret, hex.EncodeToString(t.CA[:]))
}

// String hides the secret, so that a token that reaches a log or an error by mistake does no harm.
func (t Token) String() string { return t.prefix() + t.ID + ".(hidden)" }

// GoString hides the secret from %#v.
func (t Token) GoString() string { return t.String() }

// Pins reports whether der is the CA certificate that the token names.
func (t Token) Pins(der []byte) bool {
	sum := sha256.Sum256(der)
	return subtle.ConstantTimeCompare(sum[:], t.CA[:]) == 1
}

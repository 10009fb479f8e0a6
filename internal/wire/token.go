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

// Token is a join token: pat_<id>.<secret>.<digest of the gateway's CA>. The digest is the SHA-256 of the DER bytes of
// the CA certificate, so that a machine that holds the token can tell the right gateway from any other.
type Token struct {
	ID     string // 16 hexadecimal digits; may be shown
	Secret string // 32 random bytes in base64url; never stored by the gateway, never kept by the agent
	CA     [sha256.Size]byte
}

const tokenPrefix = "pat_"

// ErrToken is returned for text that is no join token. It never holds any of the text.
var ErrToken = errors.New("not a join token: want pat_<id>.<secret>.<digest>")

// NewToken makes a token for the gateway with the given CA certificate in DER form.
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

// ParseToken reads a token; white space round it is ignored.
func ParseToken(s string) (Token, error) {
	rest, ok := strings.CutPrefix(strings.TrimSpace(s), tokenPrefix)
	parts := strings.Split(rest, ".")
	if !ok || len(parts) != 3 {
		return Token{}, ErrToken
	}
	id, err1 := hex.DecodeString(parts[0])
	secret, err2 := base64.RawURLEncoding.DecodeString(parts[1])
	digest, err3 := hex.DecodeString(parts[2])
	if err1 != nil || err2 != nil || err3 != nil || len(id) != 8 || len(secret) != 32 || len(digest) != sha256.Size {
		return Token{}, ErrToken
	}
	t := Token{ID: strings.ToLower(parts[0]), Secret: parts[1]}
	copy(t.CA[:], digest)
	return t, nil
}

// Reveal returns the whole token, secret included.
func (t Token) Reveal() string {
	return fmt.Sprintf("%s%s.%s.%s", tokenPrefix, t.ID, t.Secret, hex.EncodeToString(t.CA[:]))
}

// String hides the secret, so that a token that reaches a log or an error by mistake does no harm.
func (t Token) String() string { return tokenPrefix + t.ID + ".(hidden)" }

// GoString hides the secret from %#v.
func (t Token) GoString() string { return t.String() }

// Pins reports whether der is the CA certificate that the token names.
func (t Token) Pins(der []byte) bool {
	sum := sha256.Sum256(der)
	return subtle.ConstantTimeCompare(sum[:], t.CA[:]) == 1
}

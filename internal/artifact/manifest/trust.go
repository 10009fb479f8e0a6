package manifest

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"time"
)

const (
	// MaxTrust bounds a trust document, in bytes: maxKeys keys of some 200 bytes.
	MaxTrust = 16 << 10
	maxKeys  = 16
)

// Trust is who may sign manifests: several keys, whose times overlap so that one can follow the other.
type Trust struct {
	Format int    `json:"format"`
	Name   string `json:"name"`            // of the series: a rotation leads to a set of the same name, and serials count within it
	Serial int64  `json:"serial"`          // grows by one with every rotation
	Floor  int64  `json:"floor,omitempty"` // the lowest serial of a manifest that is taken
	Keys   []Key  `json:"keys"`
}

// Key is a public key and when what it signs is taken.
type Key struct {
	Public      []byte    `json:"public"` // Ed25519, 32 bytes
	NotBefore   time.Time `json:"not_before"`
	NotAfter    time.Time `json:"not_after"`
	Development bool      `json:"development,omitempty"` // made by a build on somebody's machine; nobody keeps it safe
}

// ID returns the SHA-256 of the public key in hexadecimal.
func (k Key) ID() string { return keyID(k.Public) }

// Short returns the beginning of the key's id, enough for people to tell keys apart.
func (k Key) Short() string { return short(k.ID()) }

func short(id string) string { return id[:min(len(id), 16)] }

func keyID(public []byte) string {
	sum := sha256.Sum256(public)
	return hex.EncodeToString(sum[:])
}

// ParseTrust reads a trust document.
func ParseTrust(data []byte) (Trust, error) {
	var t Trust
	if len(data) > MaxTrust {
		return Trust{}, fmt.Errorf("cannot read the trust: more than %d bytes", MaxTrust)
	}
	if err := decodeFormat(data, &t); err != nil {
		return Trust{}, fmt.Errorf("cannot read the trust: %w", err)
	}
	if err := t.Check(); err != nil {
		return Trust{}, err
	}
	return t, nil
}

// Encode returns the text of the document.
func (t Trust) Encode() ([]byte, error) { return encode(t) }

// Empty reports whether nobody is trusted.
func (t Trust) Empty() bool { return len(t.Keys) == 0 }

// Key returns the key with that id.
func (t Trust) Key(id string) (Key, bool) {
	for _, k := range t.Keys {
		if k.ID() == id {
			return k, true
		}
	}
	return Key{}, false
}

// Check finds what no trust may say.
func (t Trust) Check() error {
	switch {
	case t.Format != format:
		return fmt.Errorf("cannot use the trust: %w: %d", errFormat, t.Format)
	case !regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$`).MatchString(t.Name):
		return fmt.Errorf("cannot use the trust: its name %.80q is not lower-case letters, digits and '-'", t.Name)
	case t.Serial < 1:
		return fmt.Errorf("cannot use the trust: its serial is %d", t.Serial)
	case t.Floor < 0:
		return fmt.Errorf("cannot use the trust: its floor is %d", t.Floor)
	case len(t.Keys) == 0 || len(t.Keys) > maxKeys:
		return fmt.Errorf("cannot use the trust: it has %d keys", len(t.Keys))
	}
	for i, k := range t.Keys {
		switch {
		case len(k.Public) != ed25519.PublicKeySize:
			return fmt.Errorf("cannot use the trust: key %d is no Ed25519 key", i+1)
		case !k.NotBefore.Before(k.NotAfter) || !sane(k.NotBefore) || !sane(k.NotAfter):
			return fmt.Errorf("cannot use the trust: key %s is valid at no time", k.Short())
		}
		for _, other := range t.Keys[:i] {
			if other.ID() == k.ID() {
				return fmt.Errorf("cannot use the trust: key %s is there twice", k.Short())
			}
		}
	}
	return nil
}

// compiled is set by the linker: -X github.com/pipeopshq/pipeops-agent/internal/artifact/manifest.compiled=..., a trust
// document in base64.
var compiled string //nolint:gochecknoglobals // the linker sets it, nothing else does

// Compiled returns the trust that this program was built with, an empty one if it was built without.
func Compiled() (Trust, error) {
	if compiled == "" {
		return Trust{}, nil
	}
	data, err := base64.StdEncoding.DecodeString(compiled)
	if err != nil {
		return Trust{}, errors.New("cannot read the trust that this program was built with: it is not base64")
	}
	return ParseTrust(data)
}

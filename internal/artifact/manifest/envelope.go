package manifest

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
)

// Types of payloads. They are part of what is signed, so that no document can be taken for one of another kind.
const (
	ManifestType = "application/vnd.pipeops.manifest+json"
	RotationType = "application/vnd.pipeops.trust-rotation+json"
)

const (
	// MaxEnvelope bounds an envelope, in bytes: [maxFiles] files of some 350 bytes are 0.7 MB, a third more in base64.
	MaxEnvelope = 2 << 20
	// maxSignatures bounds the signatures of an envelope: two sets of keys that overlap have a handful.
	maxSignatures = 16
)

// Envelope is a signed document as DSSE has it (github.com/secure-systems-lab/dsse): the signatures are over the bytes of
// the payload and its type, so nothing is parsed before it is known who wrote it.
type Envelope struct {
	PayloadType string      `json:"payloadType"`
	Payload     string      `json:"payload"` // base64
	Signatures  []Signature `json:"signatures"`
}

// Signature is one Ed25519 signature of an envelope.
type Signature struct {
	KeyID string `json:"keyid"` // see [Key.ID]; only a hint of which key to try
	Sig   string `json:"sig"`   // base64
}

// ParseEnvelope reads an envelope. Unknown fields and everything beyond the bounds are errors; nothing is verified.
func ParseEnvelope(data []byte) (Envelope, error) {
	var e Envelope
	if len(data) > MaxEnvelope {
		return e, fmt.Errorf("cannot read the envelope: more than %d bytes", MaxEnvelope)
	}
	if err := decode(data, &e); err != nil {
		return e, fmt.Errorf("cannot read the envelope: %w", err)
	}
	switch {
	case e.PayloadType == "" || len(e.PayloadType) > 128:
		return e, errors.New("cannot read the envelope: it does not say what it holds")
	case len(e.Signatures) > maxSignatures:
		return e, fmt.Errorf("cannot read the envelope: more than %d signatures", maxSignatures)
	}
	if _, err := e.Bytes(); err != nil {
		return e, err
	}
	for i, s := range e.Signatures {
		if _, err := s.bytes(); err != nil || !isDigest(s.KeyID) {
			return e, fmt.Errorf("cannot read the envelope: signature %d is none of Ed25519 by a key that has an id", i+1)
		}
		for _, other := range e.Signatures[:i] {
			if other.KeyID == s.KeyID {
				return e, fmt.Errorf("cannot read the envelope: two signatures of the key %s", s.KeyID)
			}
		}
	}
	return e, nil
}

// Encode returns the text of the envelope.
func (e Envelope) Encode() ([]byte, error) { return encode(e) }

// Bytes returns the payload.
func (e Envelope) Bytes() ([]byte, error) {
	payload, err := unbase64(e.Payload)
	if err != nil || len(payload) == 0 {
		return nil, errors.New("cannot read the envelope: its payload is not base64")
	}
	return payload, nil
}

// Signed returns a copy with a signature by the private key, in place of an earlier one by the same key.
func (e Envelope) Signed(private ed25519.PrivateKey) (Envelope, error) {
	payload, err := e.Bytes()
	if err != nil {
		return e, err
	}
	public, ok := private.Public().(ed25519.PublicKey)
	if !ok {
		return e, errors.New("cannot sign: no Ed25519 key")
	}
	id := keyID(public)
	signatures := []Signature{}
	for _, s := range e.Signatures {
		if s.KeyID != id {
			signatures = append(signatures, s)
		}
	}
	sig := ed25519.Sign(private, preAuth(e.PayloadType, payload))
	e.Signatures = append(signatures, Signature{KeyID: id, Sig: base64.StdEncoding.EncodeToString(sig)})
	return e, nil
}

// Seal puts a document into an envelope that nobody has signed yet.
func Seal(payloadType string, document any) (Envelope, error) {
	payload, err := json.Marshal(document)
	if err != nil {
		return Envelope{}, fmt.Errorf("cannot encode the document: %w", err)
	}
	return Envelope{PayloadType: payloadType, Payload: base64.StdEncoding.EncodeToString(payload), Signatures: []Signature{}}, nil
}

// preAuth is what is signed: DSSE's pre-authentication encoding.
func preAuth(payloadType string, payload []byte) []byte {
	return fmt.Appendf(nil, "DSSEv1 %d %s %d %s", len(payloadType), payloadType, len(payload), payload)
}

func (s Signature) bytes() ([]byte, error) {
	sig, err := unbase64(s.Sig)
	if err != nil {
		return nil, err
	}
	if len(sig) != ed25519.SignatureSize {
		return nil, fmt.Errorf("a signature has %d bytes", len(sig))
	}
	return sig, nil
}

// fits reports whether the key made the signature.
func (s Signature) fits(key Key, payloadType string, payload []byte) bool {
	sig, err := s.bytes()
	return err == nil && s.KeyID == key.ID() && ed25519.Verify(ed25519.PublicKey(key.Public), preAuth(payloadType, payload), sig)
}

// unbase64 takes one spelling of a content only: no line breaks, no spare bits.
func unbase64(text string) ([]byte, error) {
	data, err := base64.StdEncoding.Strict().DecodeString(text)
	if err == nil && base64.StdEncoding.EncodeToString(data) != text { // the decoder passes over line breaks
		err = errors.New("no plain base64")
	}
	return data, err
}

package manifest

import (
	"errors"
	"time"

	"k8s.io/apimachinery/pkg/util/version"

	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

// leeway is how far the clock of this machine may be behind the one of who signed.
const leeway = time.Hour

// Verifier is what is known where a signed document is judged.
type Verifier struct {
	Trust  Trust
	Lowest int64     // serial of the newest manifest that was ever taken here; an older one is refused
	Now    time.Time // by the clock of this machine
	Built  time.Time // of the sources of this program: it cannot be earlier now; zero means unknown
	Agent  string    // version of this program; "" or one that is no version may use any manifest
}

// Manifest returns the manifest in an envelope, if a trusted key has signed it and it is to be used now. What a user may
// meet is a [reason.Error]: [reason.TrustNone], [reason.ManifestUnsigned], [reason.ManifestTampered],
// [reason.ManifestKeyUnknown], [reason.ManifestKeyExpired], [reason.ManifestClock], [reason.ManifestFormat],
// [reason.ManifestExpired], [reason.ManifestOld], [reason.ManifestAgentOld].
func (v Verifier) Manifest(data []byte) (Manifest, error) {
	payload, err := v.open(data, ManifestType)
	if err != nil {
		return Manifest{}, err
	}
	m, err := Parse(payload)
	if err != nil {
		return Manifest{}, formatError(err)
	}
	if err := v.created(m.Created, "the manifest was made"); err != nil {
		return Manifest{}, err
	}
	if v.Now.After(m.Expires) {
		return Manifest{}, reason.Newf(reason.ManifestExpired, "manifest %d was valid until %s; the clock of this machine says %s", m.Serial, day(m.Expires), day(v.Now))
	}
	if lowest := max(v.Lowest, v.Trust.Floor); m.Serial < lowest {
		return Manifest{}, reason.Newf(reason.ManifestOld, "it is number %d, and %d is the lowest that may be used here", m.Serial, lowest)
	}
	return m, v.agent(m.Minimum.Agent)
}

func (v Verifier) agent(lowest string) error {
	own, err := version.ParseSemantic(v.Agent)
	if lowest == "" || err != nil {
		return nil // a build without a version is a developer's
	}
	if least, err := version.ParseSemantic(lowest); err == nil && own.LessThan(least) {
		return reason.Newf(reason.ManifestAgentOld, "this is %s, and the manifest asks for %s", v.Agent, lowest)
	}
	return nil
}

// Rotation returns the trust that a rotation leads to from the present one. Errors are those of Manifest, and
// [reason.TrustRotation] for one that does not continue the present trust or that a new key has not signed.
func (v Verifier) Rotation(data []byte) (Trust, error) {
	payload, err := v.open(data, RotationType)
	if err != nil {
		return Trust{}, err
	}
	r, err := ParseRotation(payload)
	if err != nil {
		return Trust{}, formatError(err)
	}
	if err := v.created(r.Created, "the new trust was made"); err != nil {
		return Trust{}, err
	}
	next := r.Trust
	switch {
	case next.Name != v.Trust.Name:
		return Trust{}, reason.Newf(reason.TrustRotation, "it is one of %q, not of %q", next.Name, v.Trust.Name)
	case r.Previous != v.Trust.Serial:
		return Trust{}, reason.Newf(reason.TrustRotation, "it leads from trust %d to %d, and this machine is at %d", r.Previous, next.Serial, v.Trust.Serial)
	}
	e, err := ParseEnvelope(data)
	if err != nil {
		return Trust{}, err
	}
	lasting := false
	for _, key := range next.Keys {
		lasting = lasting || key.NotAfter.After(v.Now)
		if _, known := v.Trust.Key(key.ID()); known {
			continue
		}
		proven := false
		for _, s := range e.Signatures {
			proven = proven || s.fits(key, e.PayloadType, payload)
		}
		if !proven {
			return Trust{}, reason.Newf(reason.TrustRotation, "the new key %s has not signed it", key.Short())
		}
	}
	if !lasting {
		return Trust{}, reason.Newf(reason.TrustRotation, "all keys of the new trust have expired")
	}
	// every release has its own floor built in, and one rotation is for all of them: a lower floor is none, and no reason to stay
	// with keys that are to go
	next.Floor = max(next.Floor, v.Trust.Floor)
	return next, nil
}

// open returns the payload of an envelope of the given type that a trusted key has signed, one that is valid now.
func (v Verifier) open(data []byte, payloadType string) ([]byte, error) {
	if v.Trust.Empty() {
		return nil, reason.Newf(reason.TrustNone, "this program was built without a key, and no trust file is given")
	}
	e, err := ParseEnvelope(data)
	if err != nil {
		return nil, reason.New(reason.ManifestUnsigned, "what came is no signed document", err)
	}
	if e.PayloadType != payloadType {
		return nil, reason.Newf(reason.ManifestFormat, "it is signed as %q, not as %q", e.PayloadType, payloadType)
	}
	payload, err := e.Bytes()
	if err != nil {
		return nil, err
	}
	return payload, v.signed(e, payload)
}

// signed tells why no signature counts; of several reasons the one of the signature that came nearest.
func (v Verifier) signed(e Envelope, payload []byte) error {
	if len(e.Signatures) == 0 {
		return reason.Newf(reason.ManifestUnsigned, "it carries no signature")
	}
	var nearest *reason.Error
	near := 0
	closer := func(n int, err *reason.Error) {
		if n > near {
			near, nearest = n, err
		}
	}
	for _, s := range e.Signatures {
		key, known := v.Trust.Key(s.KeyID)
		switch {
		case !known:
			closer(1, reason.Newf(reason.ManifestKeyUnknown, "it is signed by %s; trusted are %s", short(s.KeyID), v.Trust.shorts()))
		case !s.fits(key, e.PayloadType, payload):
			closer(2, reason.Newf(reason.ManifestTampered, "the signature by the key %s is not one of these bytes", key.Short()))
		case v.Now.After(key.NotAfter):
			closer(3, reason.Newf(reason.ManifestKeyExpired, "key %s was valid until %s; the clock of this machine says %s", key.Short(), day(key.NotAfter), day(v.Now)))
		case v.Now.Add(leeway).Before(key.NotBefore):
			closer(4, reason.Newf(reason.ManifestClock, "the clock of this machine says %s, and key %s is valid from %s on", day(v.Now), key.Short(), day(key.NotBefore)))
		default:
			return nil
		}
	}
	return nearest
}

// Clock is [reason.ManifestClock] if the clock of this machine says a time before this program was made: no need to ask
// anybody.
func (v Verifier) Clock() error {
	if v.Now.Add(leeway).Before(v.Built) {
		return reason.Newf(reason.ManifestClock, "the clock of this machine says %s, and this program was made on %s", day(v.Now), day(v.Built))
	}
	return nil
}

// created refuses a clock that is before what is known to have happened.
func (v Verifier) created(at time.Time, what string) error {
	if v.Now.Add(leeway).Before(at) {
		return reason.Newf(reason.ManifestClock, "the clock of this machine says %s, and %s on %s", day(v.Now), what, day(at))
	}
	return v.Clock()
}

func (t Trust) shorts() string {
	text := ""
	for i, k := range t.Keys {
		if i > 0 {
			text += ", "
		}
		text += k.Short()
	}
	return text
}

// formatError is for a document that was signed and still cannot be used.
func formatError(err error) error {
	e := reason.New(reason.ManifestFormat, "it is signed, but this version of pipeops-agent cannot read it", err)
	if errors.Is(err, errFormat) {
		return e.WithFix("install a newer pipeops-agent")
	}
	return e
}

func day(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 UTC") }

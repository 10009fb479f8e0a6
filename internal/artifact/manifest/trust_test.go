package manifest

import (
	"encoding/base64"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

func rotation(next Trust) Rotation {
	return Rotation{Format: 1, Previous: next.Serial - 1, Created: today().Add(-time.Hour), Trust: next}
}

func TestRotationChain(t *testing.T) {
	v := verifier(key(1))
	chain := [][]byte{
		sealed(t, RotationType, rotation(trustOf(2, key(1), key(2))), 1, 2), // the new key comes in
		sealed(t, RotationType, rotation(trustOf(3, key(2))), 2),            // the old one goes
		sealed(t, RotationType, rotation(trustOf(4, key(3))), 2, 3),         // an exchange at once
	}
	for i, data := range chain {
		for j, other := range chain { // skipped and replayed
			if _, err := v.Rotation(other); (err == nil) != (i == j) || err != nil && !reason.Is(err, reason.TrustRotation) && !reason.Is(err, reason.ManifestKeyUnknown) {
				t.Errorf("at trust %d, rotation %d: %v", v.Trust.Serial, j+2, err)
			}
		}
		next, err := v.Rotation(data)
		if err != nil || next.Serial != v.Trust.Serial+1 {
			t.Fatalf("rotation %d: %+v, %v", i+2, next, err)
		}
		v.Trust = next
	}
	if _, err := v.Manifest(sealed(t, ManifestType, sample(), 1, 2)); !reason.Is(err, reason.ManifestKeyUnknown) {
		t.Errorf("a key that went is still trusted: %v", err)
	}
	if _, err := v.Manifest(sealed(t, ManifestType, sample(), 3)); err != nil {
		t.Error(err)
	}
}

func TestRotationIsRefused(t *testing.T) {
	base := func() Trust { return trustOf(2, key(1), key(2)) }
	sign := func(change func(*Rotation), by ...byte) []byte {
		r := rotation(base())
		if change != nil {
			change(&r)
		}
		return sealed(t, RotationType, r, by...)
	}
	for name, tt := range map[string]struct {
		data   []byte
		change func(*Verifier)
		code   reason.Code
	}{
		"unsigned":                             {sign(nil), nil, reason.ManifestUnsigned},
		"by the new key only":                  {sign(nil, 2), nil, reason.ManifestKeyUnknown},
		"by the old key only":                  {sign(nil, 1), nil, reason.TrustRotation},
		"by a stranger":                        {sign(nil, 9), nil, reason.ManifestKeyUnknown},
		"by the old key and a stranger":        {sign(nil, 1, 9), nil, reason.TrustRotation},
		"a manifest":                           {sealed(t, ManifestType, rotation(base()), 1, 2), nil, reason.ManifestFormat},
		"another series":                       {sign(func(r *Rotation) { r.Trust.Name = "other" }, 1, 2), nil, reason.TrustRotation},
		"a trust skipped":                      {sign(func(r *Rotation) { r.Previous, r.Trust.Serial = 2, 3 }, 1, 2), nil, reason.TrustRotation},
		"numbers that do not follow":           {sign(func(r *Rotation) { r.Trust.Serial = 3 }, 1, 2), nil, reason.ManifestFormat},
		"replayed":                             {sign(nil, 1, 2), func(v *Verifier) { v.Trust = base() }, reason.TrustRotation},
		"old key expired":                      {sign(nil, 1, 2), func(v *Verifier) { v.Trust.Keys[0].NotAfter = today().Add(-1) }, reason.ManifestKeyExpired},
		"old key not valid yet":                {sign(nil, 1, 2), func(v *Verifier) { v.Trust.Keys[0].NotBefore = today().Add(yearLong) }, reason.ManifestClock},
		"clock behind":                         {sign(func(r *Rotation) { r.Created = today().Add(24 * time.Hour) }, 1, 2), nil, reason.ManifestClock},
		"only expired keys":                    {sign(func(r *Rotation) { r.Trust.Keys = []Key{key(2)}; r.Trust.Keys[0].NotAfter = today().Add(-1) }, 1, 2), nil, reason.TrustRotation},
		"no keys":                              {sign(func(r *Rotation) { r.Trust.Keys = nil }, 1, 2), nil, reason.ManifestFormat},
		"another format":                       {sign(func(r *Rotation) { r.Format = 2 }, 1, 2), nil, reason.ManifestFormat},
		"a trust of another format":            {sign(func(r *Rotation) { r.Trust.Format = 2 }, 1, 2), nil, reason.ManifestFormat},
		"without time":                         {sign(func(r *Rotation) { r.Created = time.Time{} }, 1, 2), nil, reason.ManifestFormat},
		"nobody is trusted, so nobody follows": {sign(nil, 1, 2), func(v *Verifier) { v.Trust = Trust{} }, reason.TrustNone},
	} {
		v := verifier(key(1))
		if tt.change != nil {
			tt.change(&v)
		}
		if next, err := v.Rotation(tt.data); !reason.Is(err, tt.code) || reason.Exit(err) != reason.ExitSignature || !reflect.DeepEqual(next, Trust{}) {
			t.Errorf("%s: %v, want %s; %+v", name, err, tt.code, next)
		}
	}
}

// Each release has a higher floor built in, and a rotation may have been made from the trust of an older release: it is followed,
// and the floor stays.
func TestRotationDoesNotLowerTheFloor(t *testing.T) {
	v := verifier(key(1))
	v.Trust.Floor = sample().Serial + 1
	next, err := v.Rotation(sealed(t, RotationType, rotation(trustOf(2, key(1), key(2))), 1, 2))
	if err != nil || next.Floor != v.Trust.Floor {
		t.Fatalf("%+v, %v", next, err)
	}
	v.Trust = next
	if _, err := v.Manifest(sealed(t, ManifestType, sample(), 2)); !reason.Is(err, reason.ManifestOld) {
		t.Errorf("a manifest below the floor: %v", err)
	}
}

func TestTrust(t *testing.T) {
	trust := trustOf(1, key(1), key(2))
	data, err := trust.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if got, err := ParseTrust(data); err != nil || !reflect.DeepEqual(got, trust) {
		t.Errorf("%+v, %v", got, err)
	}
	if k, ok := trust.Key(key(2).ID()); !ok || !reflect.DeepEqual(k, key(2)) || len(k.ID()) != 64 {
		t.Errorf("%+v, %v", k, ok)
	}
	for name, change := range map[string]func(*Trust){
		"no keys": func(t *Trust) { t.Keys = nil }, "a key twice": func(t *Trust) { t.Keys[1] = t.Keys[0] },
		"a short key": func(t *Trust) { t.Keys[0].Public = t.Keys[0].Public[1:] }, "no key": func(t *Trust) { t.Keys[0].Public = nil },
		"valid at no time": func(t *Trust) { t.Keys[0].NotAfter = t.Keys[0].NotBefore }, "for ever": func(t *Trust) { t.Keys[0].NotAfter = time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC) },
		"since ever": func(t *Trust) { t.Keys[0].NotBefore = time.Time{} }, "no name": func(t *Trust) { t.Name = "" },
		"a path as its name": func(t *Trust) { t.Name = "../x" }, "serial": func(t *Trust) { t.Serial = 0 },
		"floor": func(t *Trust) { t.Floor = -1 }, "format": func(t *Trust) { t.Format = 2 },
		"too many keys": func(t *Trust) {
			for n := range byte(maxKeys) {
				t.Keys = append(t.Keys, key(n+3))
			}
		},
	} {
		bad := trustOf(1, key(1), key(2))
		change(&bad)
		data, err := json.Marshal(bad)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := ParseTrust(data); err == nil {
			t.Errorf("%s: %+v", name, got)
		}
	}
	if _, err := ParseTrust(append(data, strings.Repeat(" ", MaxTrust)...)); err == nil {
		t.Error("a trust without an end is taken")
	}
}

func TestCompiled(t *testing.T) {
	defer func() { compiled = "" }()
	if got, err := Compiled(); err != nil || !got.Empty() {
		t.Errorf("%+v, %v", got, err)
	}
	data, err := trustOf(1, key(1)).Encode()
	if err != nil {
		t.Fatal(err)
	}
	compiled = base64.StdEncoding.EncodeToString(data)
	if got, err := Compiled(); err != nil || len(got.Keys) != 1 {
		t.Errorf("%+v, %v", got, err)
	}
	for _, bad := range []string{"?", base64.StdEncoding.EncodeToString([]byte("{}"))} {
		compiled = bad
		if got, err := Compiled(); err == nil {
			t.Errorf("%q: %+v", bad, got)
		}
	}
}

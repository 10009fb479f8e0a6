package manifest

import (
	"bytes"
	"encoding/json"
	"net/url"
	"path"
	"reflect"
	"strings"
	"testing"
)

func FuzzParseEnvelope(f *testing.F) {
	f.Add(sealed(f, ManifestType, sample(), 1, 2))
	f.Add(sealed(f, RotationType, rotation(trustOf(2, key(1), key(2))), 1, 2))
	f.Add([]byte(`{"payloadType":"x","payload":"YQ==","signatures":[]}`))
	f.Add([]byte(`{"payloadType":"x","payload":"YQ=\n=","signatures":null}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		e, err := ParseEnvelope(data)
		if err != nil {
			return
		}
		again, err := e.Encode()
		if err != nil {
			t.Fatal(err)
		}
		other, err := ParseEnvelope(again)
		if err != nil || other.Payload != e.Payload || len(other.Signatures) != len(e.Signatures) || len(e.Signatures) > maxSignatures {
			t.Errorf("%+v, then %+v, %v", e, other, err)
		}
	})
}

// FuzzVerify signs nothing itself: whatever comes, the manifest is one that was signed.
func FuzzVerify(f *testing.F) {
	good := sealed(f, ManifestType, sample(), 1)
	f.Add(good)
	f.Add(sealed(f, ManifestType, sample(), 9))
	f.Add(sealed(f, RotationType, rotation(trustOf(2, key(1), key(2))), 1, 2))
	f.Fuzz(func(t *testing.T, data []byte) {
		if m, err := verifier(key(1)).Manifest(data); err == nil && !reflect.DeepEqual(m, sample()) {
			t.Errorf("forged: %+v", m)
		}
		if next, err := verifier(key(1)).Rotation(data); err == nil && !reflect.DeepEqual(next, trustOf(2, key(1), key(2))) {
			t.Errorf("forged: %+v", next)
		}
	})
}

func FuzzParse(f *testing.F) {
	add(f, sample())
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := Parse(data)
		if err != nil {
			return
		}
		if len(m.Files) == 0 || len(m.Files) > maxFiles || m.Serial < 1 {
			t.Errorf("%+v", m)
		}
		for _, file := range m.Files {
			u, err := url.Parse(file.URL(""))
			if err != nil || u.Scheme != "https" || u.Path != "/"+file.Path || path.Clean(u.Path) != u.Path || strings.Contains(u.Path, "/.") {
				t.Errorf("%q leads to %v, %v", file.Path, u, err)
			}
			if u, err := url.Parse(file.URL("http://mirror.test/m/")); err != nil || !strings.HasPrefix(u.Path, "/m/") || path.Clean(u.Path) != u.Path {
				t.Errorf("%q leads to %v, %v", file.Path, u, err)
			}
			if found, ok := m.Find(file.Product, file.Version, file.Arch, file.Name); !ok || found != file {
				t.Errorf("%+v is found as %+v", file, found)
			}
		}
	})
}

func FuzzParseTrust(f *testing.F) {
	add(f, trustOf(1, key(1), key(2)))
	f.Fuzz(func(t *testing.T, data []byte) {
		trust, err := ParseTrust(data)
		if err != nil {
			return
		}
		again, err := trust.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if other, err := ParseTrust(again); err != nil || len(other.Keys) != len(trust.Keys) || strings.ContainsAny(trust.Name, "/.\x00") {
			t.Errorf("%+v, then %+v, %v", trust, other, err)
		}
	})
}

func FuzzParseRotation(f *testing.F) {
	add(f, rotation(trustOf(2, key(1), key(2))))
	f.Fuzz(func(t *testing.T, data []byte) {
		if r, err := ParseRotation(data); err == nil && (r.Trust.Serial != r.Previous+1 || r.Trust.Empty()) {
			t.Errorf("%+v", r)
		}
	})
}

func add(f *testing.F, document any) {
	f.Helper()
	data, err := json.Marshal(document)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add(bytes.Replace(data, []byte(`"format":1`), []byte(`"format":2`), 1))
}

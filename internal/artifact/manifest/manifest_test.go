package manifest

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

// today is when the tests play.
func today() time.Time { return time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC) }

const yearLong = 365 * 24 * time.Hour

// secret is a private key that is the same in every run.
func secret(n byte) ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(bytes.Repeat([]byte{n}, ed25519.SeedSize))
}

// key is the public half of secret n, valid half a year before and after today.
func key(n byte) Key {
	return Key{Public: secret(n).Public().(ed25519.PublicKey), NotBefore: today().Add(-yearLong / 2), NotAfter: today().Add(yearLong / 2)}
}

func trustOf(serial int64, keys ...Key) Trust {
	return Trust{Format: 1, Name: "test", Serial: serial, Keys: keys}
}

func file(arch string) File {
	name := map[string]string{"amd64": "k3s", "arm64": "k3s-arm64", "": "install.sh"}[arch]
	role := map[bool]string{true: "install-script", false: "binary"}[arch == ""]
	return File{Product: "k3s", Version: "v1.33.2+k3s1", Arch: arch, Name: role, Origin: Origin,
		Path: "k3s-io/k3s/releases/download/v1.33.2+k3s1/" + name, Bytes: 70 << 20, SHA256: strings.Repeat("ab", 32)}
}

func sample() Manifest {
	return Manifest{Format: 1, Serial: 7, Created: today().Add(-24 * time.Hour), Expires: today().Add(yearLong),
		Minimum: Minimum{Serial: 3, Agent: "v0.2.0"}, Files: []File{file("amd64"), file("arm64"), file("")}}
}

// sealed signs a document.
func sealed(t testing.TB, payloadType string, document any, by ...byte) []byte {
	t.Helper()
	e, err := Seal(payloadType, document)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range by {
		if e, err = e.Signed(secret(n)); err != nil {
			t.Fatal(err)
		}
	}
	data, err := e.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func verifier(keys ...Key) Verifier {
	return Verifier{Trust: trustOf(1, keys...), Now: today(), Built: today().Add(-48 * time.Hour), Agent: "v0.3.1"}
}

func TestPreAuth(t *testing.T) { // the example of the DSSE specification
	if got, want := string(preAuth("http://example.com/HelloWorld", []byte("hello world"))), "DSSEv1 29 http://example.com/HelloWorld 11 hello world"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestManifest(t *testing.T) {
	data := sealed(t, ManifestType, sample(), 1, 2)
	for name, v := range map[string]Verifier{"one of two": verifier(key(2)), "both": verifier(key(1), key(2)), "a build without version": {Trust: trustOf(1, key(1)), Now: today(), Agent: "dev"}} {
		if m, err := v.Manifest(data); err != nil || !reflect.DeepEqual(m, sample()) {
			t.Errorf("%s: %+v, %v", name, m, err)
		}
	}
	m := sample()
	for arch, path := range map[string]string{"amd64": "k3s", "arm64": "k3s-arm64"} {
		if f, ok := m.Find("k3s", "v1.33.2+k3s1", arch, "binary"); !ok || f.URL("") != "https://github.com/k3s-io/k3s/releases/download/v1.33.2%2Bk3s1/"+path {
			t.Errorf("%s: %v, %v", arch, f, ok)
		}
	}
	if f, ok := m.Find("k3s", "v1.33.2+k3s1", "arm64", "install-script"); !ok || f.URL("http://mirror.test/x/") != "http://mirror.test/x/k3s-io/k3s/releases/download/v1.33.2%2Bk3s1/install.sh" {
		t.Errorf("%v, %v", f, ok)
	}
	for _, other := range [][4]string{{"k3d", "v1.33.2+k3s1", "amd64", "binary"}, {"k3s", "v1.33.3+k3s1", "amd64", "binary"}, {"k3s", "v1.33.2+k3s1", "386", "binary"}, {"k3s", "v1.33.2+k3s1", "amd64", "images"}} {
		if f, ok := m.Find(other[0], other[1], other[2], other[3]); ok {
			t.Errorf("%v: %v", other, f)
		}
	}
	for _, v := range []string{"v1.9.1+k3s1", "v1.33.10+k3s1", "v1.33.2+k3s2"} {
		f := file("amd64")
		f.Version = v
		m.Files = append(m.Files, f)
	}
	if got, want := m.Versions("k3s", "amd64", "binary"), []string{"v1.33.10+k3s1", "v1.33.2+k3s2", "v1.33.2+k3s1", "v1.9.1+k3s1"}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

func TestManifestIsRefused(t *testing.T) {
	sign := func(change func(*Manifest), by ...byte) []byte {
		m := sample()
		if change != nil {
			change(&m)
		}
		return sealed(t, ManifestType, m, by...)
	}
	retyped := func(change func(*Envelope)) []byte {
		e, err := ParseEnvelope(sign(nil, 1))
		if err != nil {
			t.Fatal(err)
		}
		change(&e)
		data, err := e.Encode()
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	later := func(d time.Duration) func(*Verifier) { return func(v *Verifier) { v.Now = v.Now.Add(d) } }
	tests := []struct {
		name   string
		data   []byte
		change func(*Verifier)
		code   reason.Code
		want   string
	}{
		{"nobody is trusted", sign(nil, 1), func(v *Verifier) { v.Trust = Trust{} }, reason.TrustNone, ""},
		{"no document", []byte("<html>please log in</html>"), nil, reason.ManifestUnsigned, ""},
		{"empty", nil, nil, reason.ManifestUnsigned, ""},
		{"a bare manifest", func() []byte { data, _ := json.Marshal(sample()); return data }(), nil, reason.ManifestUnsigned, "unknown field"},
		{"no signature", sign(nil), nil, reason.ManifestUnsigned, "carries no signature"},
		{"another's key", sign(nil, 9), nil, reason.ManifestKeyUnknown, key(9).Short() + "; trusted are " + key(1).Short() + ", " + key(2).Short()},
		{"another's key that says it is ours", retyped(func(e *Envelope) {
			payload, _ := e.Bytes()
			e.Signatures[0].Sig = base64.StdEncoding.EncodeToString(ed25519.Sign(secret(9), preAuth(ManifestType, payload)))
		}), nil, reason.ManifestTampered, key(1).Short()},
		{"another payload", retyped(func(e *Envelope) {
			m := sample()
			m.Files[0].SHA256 = strings.Repeat("cd", 32)
			other, _ := Seal(ManifestType, m)
			e.Payload = other.Payload
		}), nil, reason.ManifestTampered, ""},
		{"a rotation's signature", sealed(t, RotationType, sample(), 1), nil, reason.ManifestFormat, RotationType},
		{"a rotation that calls itself a manifest", func() []byte {
			data := sealed(t, RotationType, sample(), 1)
			return bytes.Replace(data, []byte(RotationType), []byte(ManifestType), 1)
		}(), nil, reason.ManifestTampered, ""},
		{"key expired", sign(nil, 1), func(v *Verifier) { v.Trust.Keys[0].NotAfter = today().Add(-time.Minute) }, reason.ManifestKeyExpired, "clock of this machine says 2026-11-26 12:00 UTC"},
		{"key not valid yet", sign(nil, 1), func(v *Verifier) { v.Trust.Keys[0].NotBefore = today().Add(2 * time.Hour) }, reason.ManifestClock, "valid from 2026-11-26 14:00 UTC"},
		{"clock 3 years ahead", sign(nil, 1), later(3 * yearLong), reason.ManifestKeyExpired, "clock of this machine says 2029"},
		{"clock 3 years behind", sign(nil, 1), later(-3 * yearLong), reason.ManifestClock, "clock of this machine says 2023"},
		{"clock two days behind", sign(nil, 1), later(-48 * time.Hour), reason.ManifestClock, "the manifest was made on 2026-11-25"},
		{"clock before the build", sign(nil, 1), func(v *Verifier) { v.Built = today().Add(24 * time.Hour) }, reason.ManifestClock, "this program was made on 2026-11-27"},
		{"manifest expired", sign(func(m *Manifest) { m.Expires = today().Add(-time.Second) }, 1), nil, reason.ManifestExpired, "valid until 2026-11-26 11:59 UTC; the clock"},
		{"older than one before", sign(nil, 1), func(v *Verifier) { v.Lowest = 8 }, reason.ManifestOld, "number 7, and 8"},
		{"below the floor", sign(nil, 1), func(v *Verifier) { v.Trust.Floor = 9; v.Lowest = 8 }, reason.ManifestOld, "number 7, and 9"},
		{"agent too old", sign(nil, 1), func(v *Verifier) { v.Agent = "v0.1.9" }, reason.ManifestAgentOld, "this is v0.1.9, and the manifest asks for v0.2.0"},
		{"another format", sign(func(m *Manifest) { m.Format = 2 }, 1), nil, reason.ManifestFormat, "format that this version of pipeops-agent does not know: 2"},
		{"breaks a rule", sign(func(m *Manifest) { m.Files[0].Path = "../etc/passwd" }, 1), nil, reason.ManifestFormat, "../etc/passwd"},
	}
	for _, tt := range tests {
		v := verifier(key(1), key(2))
		if tt.change != nil {
			tt.change(&v)
		}
		m, err := v.Manifest(tt.data)
		if !reason.Is(err, tt.code) || !strings.Contains(err.Error(), tt.want) || reason.Exit(err) != reason.ExitSignature {
			t.Errorf("%s: %v, want %s with %q", tt.name, err, tt.code, tt.want)
		}
		if m.Files != nil && tt.code != reason.ManifestAgentOld {
			t.Errorf("%s: something of it is used: %+v", tt.name, m)
		}
	}
	// of several signatures the nearest reason is told, and a good one is enough
	v := verifier(key(1), key(2))
	v.Trust.Keys[0].NotAfter = today().Add(-time.Minute)
	if _, err := v.Manifest(sign(nil, 9, 1)); !reason.Is(err, reason.ManifestKeyExpired) {
		t.Errorf("err = %v", err)
	}
	if _, err := v.Manifest(sign(nil, 9, 1, 2)); err != nil {
		t.Errorf("err = %v", err)
	}
	// a clock that is a little behind does no harm
	v = verifier(key(1))
	v.Now = sample().Created.Add(-30 * time.Minute)
	v.Built = v.Now
	if _, err := v.Manifest(sign(nil, 1)); err != nil {
		t.Errorf("err = %v", err)
	}
}

// TestEveryByteFlipped wants a changed envelope to be refused, or to say the very same: keys are found without regard to
// what else a document calls them.
func TestEveryByteFlipped(t *testing.T) {
	m := sample()
	m.Files = m.Files[:1]
	data := sealed(t, ManifestType, m, 1)
	v := verifier(key(1))
	refused, same := 0, 0
	for i := range data {
		for _, mask := range []byte{0x01, 0x20, 0x80, 0xff} {
			changed := bytes.Clone(data)
			changed[i] ^= mask
			got, err := v.Manifest(changed)
			switch {
			case err != nil && reason.Exit(err) == reason.ExitSignature:
				refused++
			case err == nil && reflect.DeepEqual(got, m) && isSpace(changed[i]) && isSpace(data[i]):
				same++ // a space between tokens
			default:
				t.Errorf("byte %d as %q: %+v, %v", i, changed[i], got, err)
			}
		}
		if _, err := v.Manifest(data[:i]); err == nil && len(bytes.TrimSpace(data[i:])) > 0 {
			t.Errorf("cut at byte %d it is taken", i)
		}
	}
	if refused < 3*len(data) || same > 8 {
		t.Errorf("%d refused, %d the same, of %d", refused, same, 4*len(data))
	}
}

func BenchmarkManifest(b *testing.B) {
	m := sample()
	for i := range maxFiles - len(m.Files) {
		f := file("amd64")
		f.Version, f.Path = fmt.Sprintf("v1.33.%d+k3s1", i+10), fmt.Sprintf("k3s-io/k3s/releases/download/v1.33.%d+k3s1/k3s", i+10)
		m.Files = append(m.Files, f)
	}
	data := sealed(b, ManifestType, m, 1)
	if len(data) > MaxEnvelope {
		b.Fatalf("%d bytes", len(data))
	}
	for b.Loop() {
		if _, err := verifier(key(1)).Manifest(data); err != nil {
			b.Fatal(err)
		}
	}
}

func isSpace(b byte) bool { return b == ' ' || b == '\n' || b == '\t' || b == '\r' }

func TestManifestRules(t *testing.T) {
	many := func(m *Manifest) {
		for i := range maxFiles + 1 {
			f := file("amd64")
			f.Version, f.Path = fmt.Sprintf("v1.33.%d+k3s1", i+10), fmt.Sprintf("k3s/%d", i)
			m.Files = append(m.Files, f)
		}
	}
	bad := map[string]func(*Manifest){
		"no files": func(m *Manifest) { m.Files = nil }, "too many files": many,
		"serial 0": func(m *Manifest) { m.Serial = 0 }, "negative serial": func(m *Manifest) { m.Serial = -1 },
		"lowest above its own": func(m *Manifest) { m.Minimum.Serial = 8 }, "negative lowest": func(m *Manifest) { m.Minimum.Serial = -1 },
		"agent": func(m *Manifest) { m.Minimum.Agent = "newest" }, "format": func(m *Manifest) { m.Format = 0 },
		"expires first": func(m *Manifest) { m.Expires = m.Created }, "no time": func(m *Manifest) { m.Created = time.Time{} },
		"same role twice": func(m *Manifest) { f := m.Files[0]; f.Path += "2"; m.Files = append(m.Files, f) },
		"same path twice": func(m *Manifest) { f := m.Files[0]; f.Name = "images"; m.Files = append(m.Files, f) },
		"same path at two origins": func(m *Manifest) {
			f := m.Files[0]
			f.Name, f.Origin = "images", "https://dl.k8s.io"
			m.Files = append(m.Files, f)
		},
		"any and one architecture": func(m *Manifest) { f := m.Files[0]; f.Arch, f.Path = "", "x"; m.Files = append(m.Files, f) },
	}
	for _, path := range []string{"", "/k3s", "k3s/", "a//b", "../k3s", "a/../b", "a/..", ".", "a/./b", ".hidden", "a/.hidden", "a\\b", "a b", "a\nb", "a%2e%2e", "a?b", "a#b", "a:b", "ä", strings.Repeat("a", 513)} {
		bad["path "+path] = func(m *Manifest) { m.Files[0].Path = path }
	}
	for _, origin := range []string{"", "http://github.com", "https://github.com/", "https://github.com/x", "https://user@github.com", "https://", "github.com", "https://GITHUB.com", "file:///etc", "https://a\nb"} {
		bad["origin "+origin] = func(m *Manifest) { m.Files[0].Origin = origin }
	}
	for _, size := range []int64{0, -1, maxBytes + 1} {
		bad[fmt.Sprint("bytes ", size)] = func(m *Manifest) { m.Files[0].Bytes = size }
	}
	for _, sum := range []string{"", "ab", strings.Repeat("AB", 32), strings.Repeat("zz", 32)} {
		bad["sha256 "+sum] = func(m *Manifest) { m.Files[0].SHA256 = sum }
	}
	for _, word := range []string{"", "K3s", "a/b", "-a", strings.Repeat("a", 65)} {
		bad["product "+word] = func(m *Manifest) { m.Files[0].Product = word }
		bad["name "+word] = func(m *Manifest) { m.Files[0].Name = word }
	}
	bad["version"] = func(m *Manifest) { m.Files[0].Version = "../1" }
	bad["arch"] = func(m *Manifest) { m.Files[0].Arch = "amd64/../x" }
	for name, change := range bad {
		m := sample()
		change(&m)
		data, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := Parse(data); err == nil {
			t.Errorf("%s: %+v", name, got)
		}
	}
	good, err := json.Marshal(sample())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Parse(good); err != nil {
		t.Fatal(err)
	}
	for from, to := range map[string]string{
		`"serial":7`: `"serial":7,"serial":8`, `"serial"`: `"Serial"`, `"minimum"`: `"more":1,"minimum"`, `"sha256"`: `"sha512"`,
		`{"format"`: `[{"format"`, `"format":1`: `"format":"1"`, `7`: `7.5`,
	} {
		if got, err := Parse([]byte(strings.Replace(string(good), from, to, 1))); err == nil {
			t.Errorf("with %s: %+v", to, got)
		}
	}
	for _, more := range []string{"{}", "x"} {
		if _, err := Parse(append(slices.Clone(good), more...)); err == nil {
			t.Errorf("with %s at its end", more)
		}
	}
	if _, err := Parse(append(slices.Clone(good), bytes.Repeat([]byte(" "), MaxEnvelope)...)); err == nil {
		t.Error("a manifest without an end is taken")
	}
}

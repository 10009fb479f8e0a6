package artifact

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/artifact/manifest"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

// signer is a key with both halves.
type signer struct {
	manifest.Key
	private ed25519.PrivateKey
}

func newSigner(t *testing.T) signer {
	t.Helper()
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now().UTC().Truncate(time.Second)
	return signer{manifest.Key{Public: public, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(100 * time.Hour)}, private}
}

func trustIn(serial int64, keys ...signer) manifest.Trust {
	t := manifest.Trust{Format: 1, Name: "test", Serial: serial}
	for _, k := range keys {
		t.Keys = append(t.Keys, k.Key)
	}
	return t
}

func seal(t *testing.T, payloadType string, document any, by ...signer) []byte {
	t.Helper()
	e, err := manifest.Seal(payloadType, document)
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range by {
		if e, err = e.Signed(k.private); err != nil {
			t.Fatal(err)
		}
	}
	data, err := e.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func numbered(t *testing.T, serial int64, by ...signer) []byte {
	t.Helper()
	now := time.Now().UTC().Truncate(time.Second)
	return seal(t, manifest.ManifestType, manifest.Manifest{
		Format: 1, Serial: serial, Created: now, Expires: now.Add(50 * time.Hour),
		Files: []manifest.File{{Product: "k3s", Version: "v1.33.2+k3s1", Arch: "amd64", Name: "binary", Origin: manifest.Origin,
			Path: "k3s-io/k3s/releases/download/v1.33.2+k3s1/k3s", Bytes: serial, SHA256: strings.Repeat("ab", 32)}},
	}, by...)
}

func rotated(t *testing.T, next manifest.Trust, by ...signer) []byte {
	t.Helper()
	return seal(t, manifest.RotationType, manifest.Rotation{Format: 1, Previous: next.Serial - 1, Created: time.Now().UTC(), Trust: next}, by...)
}

// page is a mirror of small documents; one without documents is out of order.
type page struct {
	url  string
	mu   sync.Mutex
	docs map[string][]byte
	log  []string
}

func newPage(t *testing.T) *page {
	p := &page{docs: map[string][]byte{}}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.log = append(p.log, r.URL.Path)
		doc, ok := p.docs[r.URL.Path]
		switch {
		case len(p.docs) == 0:
			w.WriteHeader(http.StatusInternalServerError)
		case !ok:
			w.WriteHeader(http.StatusNotFound)
		}
		_, _ = w.Write(doc)
	}))
	t.Cleanup(srv.Close)
	p.url = srv.URL + "/some/folder/"
	return p
}

// put sets a document, or with nil removes it.
func (p *page) put(path string, doc []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	path = "/some/folder/" + path
	if p.docs[path] = doc; doc == nil {
		delete(p.docs, path)
	}
}

func (p *page) rotation(serial int, doc []byte) {
	p.put(fmt.Sprintf(manifest.RotationPath, serial), doc)
}

func (p *page) asked() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.log)
}

type shelf struct {
	t *testing.T
	*Manifests
	f *Fetcher
}

func newShelf(t *testing.T, trust manifest.Trust, pages ...*page) *shelf {
	s := &shelf{t, &Manifests{Trust: trust, Dir: filepath.Join(t.TempDir(), "manifest")}, &Fetcher{Pause: func(context.Context, time.Duration) error { return nil }}}
	for _, p := range pages {
		s.Mirrors = append(s.Mirrors, p.url)
	}
	return s
}

// anew is the same shelf in the next run.
func (s *shelf) anew() {
	s.Manifests = &Manifests{Trust: s.Trust, Mirrors: s.Mirrors, Dir: s.Dir, Now: s.Now, Built: s.Built}
}

// want fetches in a new run and wants a manifest of that number, which the next run knows without a network.
func (s *shelf) want(serial int64) {
	s.t.Helper()
	s.anew()
	m, err := s.Fetch(s.t.Context(), s.f)
	if err != nil || m.Serial != serial {
		s.t.Fatalf("manifest %d, %v; want %d", m.Serial, err, serial)
	}
	s.anew()
	if m, ok := s.Known(); !ok || m.Serial != serial {
		s.t.Errorf("manifest %d is known, %v; want %d", m.Serial, ok, serial)
	}
}

func (s *shelf) refused(code reason.Code, want string) {
	s.t.Helper()
	s.anew()
	m, err := s.Fetch(s.t.Context(), s.f)
	if !reason.Is(err, code) || !strings.Contains(err.Error(), want) {
		s.t.Errorf("manifest %d, %v; want %s with %q", m.Serial, err, code, want)
	}
}

func TestManifestIsFetchedAndKept(t *testing.T) {
	k, p := newSigner(t), newPage(t)
	s := newShelf(t, trustIn(1, k), p)
	if _, ok := s.Known(); ok {
		t.Error("known before it was fetched")
	}
	s.refused(reason.DownloadFailed, p.url+"pipeopshq/pipeops-agent/releases/latest/download/manifest.json")
	p.put(manifest.Path, numbered(t, 5, k))
	s.want(5)
	asked := p.asked()
	s.anew()
	if m, ok := s.Known(); !ok || m.Serial != 5 || p.asked() != asked {
		t.Errorf("%d, %v, %d requests", m.Serial, ok, p.asked()-asked)
	}
	for _, path := range []string{s.keptPath(), s.statePath()} {
		if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", path, st, err)
		}
	}
	p.put(manifest.Path, nil)
	s.want(5) // kept, since no mirror has one
	p.put(manifest.Path, numbered(t, 6, k))
	s.want(6)
}

func TestOlderManifestIsReplayed(t *testing.T) {
	k, p := newSigner(t), newPage(t)
	s := newShelf(t, trustIn(1, k), p)
	old := numbered(t, 5, k)
	p.put(manifest.Path, old)
	s.want(5)
	p.put(manifest.Path, numbered(t, 9, k))
	s.want(9)
	p.put(manifest.Path, old)
	s.want(9) // the one that was kept is newer
	if err := os.WriteFile(s.keptPath(), old, 0o600); err != nil {
		t.Fatal(err)
	}
	s.refused(reason.ManifestOld, "number 5, and 9 is the lowest") // not even by who changes what was kept
	if _, ok := s.Known(); ok {
		t.Error("it is known")
	}
	if err := os.Remove(s.keptPath()); err != nil {
		t.Fatal(err)
	}
	s.refused(reason.ManifestOld, "number 5, and 9 is the lowest")

	s = newShelf(t, trustIn(1, k), p)
	s.Trust.Floor = 6 // compiled in
	s.refused(reason.ManifestOld, "number 5, and 6 is the lowest")
}

func TestKilledBetweenManifestAndItsNumber(t *testing.T) {
	k, p := newSigner(t), newPage(t)
	s := newShelf(t, trustIn(1, k), p)
	p.put(manifest.Path, numbered(t, 5, k))
	s.want(5)
	if err := os.WriteFile(s.keptPath(), numbered(t, 9, k), 0o600); err != nil {
		t.Fatal(err)
	}
	s.want(9)
	if err := os.Remove(s.keptPath()); err != nil {
		t.Fatal(err)
	}
	s.refused(reason.ManifestOld, "number 5, and 9")
}

func TestBadManifestDoesNotReplaceTheGoodOne(t *testing.T) {
	k, p := newSigner(t), newPage(t)
	tampered := []byte(strings.Replace(string(numbered(t, 6, k)), `"payload": "ey`, `"payload": "eY`, 1))
	for code, doc := range map[reason.Code][]byte{
		reason.ManifestTampered: tampered, reason.ManifestUnsigned: []byte("<html>log in</html>"), reason.ManifestKeyUnknown: numbered(t, 6, newSigner(t)),
	} {
		s := newShelf(t, trustIn(1, k), p)
		p.put(manifest.Path, doc)
		s.refused(code, p.url)
		if left, err := os.ReadDir(s.Dir); err == nil {
			t.Errorf("%s: there is left %v", code, left)
		}
		p.put(manifest.Path, numbered(t, 5, k))
		s.want(5)
		p.put(manifest.Path, doc)
		s.want(5)
	}
}

func TestNewestOfSeveralMirrors(t *testing.T) {
	k := newSigner(t)
	broken, stale, evil, good := newPage(t), newPage(t), newPage(t), newPage(t)
	stale.put(manifest.Path, numbered(t, 3, k))
	evil.put(manifest.Path, numbered(t, 99, newSigner(t)))
	good.put(manifest.Path, numbered(t, 7, k))
	newShelf(t, trustIn(1, k), broken, stale, evil, good).want(7)
	newShelf(t, trustIn(1, k), broken, stale, evil).want(3)
	newShelf(t, trustIn(1, k), broken, evil).refused(reason.ManifestKeyUnknown, evil.url) // says more than that one is down
	newShelf(t, trustIn(1, k), broken).refused(reason.DownloadFailed, broken.url)
	newShelf(t, manifest.Trust{}, good).refused(reason.TrustNone, "")
}

func TestClock(t *testing.T) {
	k, p := newSigner(t), newPage(t)
	s := newShelf(t, trustIn(1, k), p)
	p.put(manifest.Path, numbered(t, 5, k))
	shifted := func(d time.Duration) func() time.Time { return func() time.Time { return time.Now().Add(d) } }
	const years = 3 * 365 * 24 * time.Hour
	s.Now = shifted(years)
	s.refused(reason.ManifestKeyExpired, "the clock of this machine says")
	s.Now = shifted(-years)
	s.refused(reason.ManifestClock, "the clock of this machine says")
	s.Now = nil
	s.want(5)
	s.Now = shifted(60 * time.Hour) // the manifest has expired, its key has not
	s.anew()
	if _, ok := s.Known(); ok {
		t.Error("an expired manifest is known")
	}
	p.put(manifest.Path, nil)
	s.refused(reason.DownloadFailed, "the list that was kept: the list of releases is out of date")
	s.Now = nil
	s.Built = time.Now().Add(24 * time.Hour)
	asked := p.asked()
	s.refused(reason.ManifestClock, "this program was made on")
	if p.asked() != asked {
		t.Error("somebody was asked")
	}
}

func TestClockThatIsAheadOfACertificate(t *testing.T) {
	k := newSigner(t)
	srv := httptest.NewTLSServer(http.NotFoundHandler())
	srv.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	defer srv.Close()
	s := newShelf(t, trustIn(1, k))
	s.Mirrors = []string{srv.URL}
	s.f.Client = srv.Client()
	ahead := func() time.Time { return time.Date(2099, 1, 1, 0, 0, 0, 0, time.UTC) } // its certificate is good until 2084
	s.f.Client.Transport.(*http.Transport).TLSClientConfig.Time = ahead
	s.Now = ahead
	_, err := s.Fetch(t.Context(), s.f)
	e := (*reason.Error)(nil)
	if !errors.As(err, &e) || e.Code != reason.DownloadFailed || !strings.Contains(e.Fix, "clock of this machine is right, it says 2099-01-01") {
		t.Errorf("err = %v, %+v", err, e)
	}
}

func TestKeysAreExchanged(t *testing.T) {
	a, b, c, p := newSigner(t), newSigner(t), newSigner(t), newPage(t)
	s := newShelf(t, trustIn(1, a), p)
	p.put(manifest.Path, numbered(t, 5, a))
	s.want(5)
	if asked := p.asked(); asked != 2 {
		t.Errorf("%d requests where no key changes: the manifest, and whether there is a rotation", asked)
	}
	// two rotations are missed, both are followed
	p.put(manifest.Path, numbered(t, 6, c))
	s.want(5) // there is no rotation yet, the kept manifest still is good
	p.rotation(3, rotated(t, trustIn(3, c), b, c))
	s.want(5) // the second alone leads nowhere
	p.rotation(2, rotated(t, trustIn(2, b), a, b))
	s.want(6)
	// it never goes back: neither by what the first key signs nor by the first rotation again
	p.put(manifest.Path, numbered(t, 7, a))
	s.want(6)
	p.rotation(4, rotated(t, trustIn(2, b), a, b))
	s.want(6)
	if err := os.Remove(s.keptPath()); err != nil {
		t.Fatal(err)
	}
	s.refused(reason.ManifestKeyUnknown, "trust-4.json")
	p.rotation(4, rotated(t, trustIn(4, a), c)) // the new key has not signed
	s.refused(reason.TrustRotation, "has not signed it")
	p.rotation(4, nil)
	s.refused(reason.ManifestKeyUnknown, "manifest.json")
	p.put(manifest.Path, numbered(t, 7, c))
	s.want(7)

	// a newer program brings a later trust along, an older one does not take the machine back
	s.Trust = trustIn(2, b)
	s.want(7)
	d := newSigner(t)
	s.Trust = trustIn(5, d)
	s.refused(reason.ManifestKeyUnknown, "")
	p.put(manifest.Path, numbered(t, 8, d))
	s.want(8)
	// another series has its own numbers
	s.Trust = trustIn(1, a)
	s.Trust.Name = "mine"
	p.put(manifest.Path, numbered(t, 1, a))
	s.want(1)
}

func TestFloorOfANewerProgramCountsAfterARotationToo(t *testing.T) {
	a, b, p := newSigner(t), newSigner(t), newPage(t)
	s := newShelf(t, trustIn(1, a), p)
	p.put(manifest.Path, numbered(t, 5, b))
	p.rotation(2, rotated(t, trustIn(2, b), a, b))
	s.want(5)
	s.Trust.Floor = 8 // the program was updated, and still has the first trust built in
	p.put(manifest.Path, numbered(t, 7, b))
	s.refused(reason.ManifestOld, "number 7, and 8 is the lowest")
	p.put(manifest.Path, numbered(t, 8, b))
	s.want(8)
}

func TestBadRotationSpoilsOneMirrorOnly(t *testing.T) {
	a, b, good, bad := newSigner(t), newSigner(t), newPage(t), newPage(t)
	bad.put(manifest.Path, numbered(t, 9, b))
	bad.rotation(2, rotated(t, trustIn(2, b), b))
	good.put(manifest.Path, numbered(t, 5, a))
	newShelf(t, trustIn(1, a), bad, good).want(5)
	newShelf(t, trustIn(1, a), bad).refused(reason.ManifestKeyUnknown, "trust-2.json")
	// what one mirror's rotation takes away, another mirror's manifest cannot use any more
	bad.rotation(2, rotated(t, trustIn(2, b), a, b))
	newShelf(t, trustIn(1, a), good, bad).want(9)
}

func TestStateThatIsBroken(t *testing.T) {
	k, p := newSigner(t), newPage(t)
	p.put(manifest.Path, numbered(t, 5, k))
	s := newShelf(t, trustIn(1, k), p)
	s.want(5)
	for _, text := range []string{"", "{", `{"format":2,"serial":1}`, `{"format":1,"serial":-1}`, `{"format":1,"serial":1,"more":1}`, `{"format":1,"serial":1,"trust":{}}`} {
		if err := os.WriteFile(s.statePath(), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		s.refused(reason.TrustFile, s.statePath())
		if _, ok := s.Known(); ok {
			t.Errorf("with %q a manifest is known", text)
		}
	}
}

func TestLoadTrust(t *testing.T) {
	k := newSigner(t)
	data, err := trustIn(1, k).Encode()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "trust.json")
	write := func(mode os.FileMode, data []byte) {
		t.Helper()
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	own := uint32(os.Getuid())
	write(0o644, data)
	if got, err := loadTrust(path, own); err != nil || len(got.Keys) != 1 {
		t.Errorf("%+v, %v", got, err)
	}
	refused := func(path string, owner uint32, want string) {
		t.Helper()
		if got, err := loadTrust(path, owner); !reason.Is(err, reason.TrustFile) || !strings.Contains(err.Error(), want) || !got.Empty() {
			t.Errorf("%+v, %v, want %q", got, err, want)
		}
	}
	refused(path, own+1, "does not belong to user")
	refused(dir, own, "no regular file")
	refused(filepath.Join(dir, "none"), own, "no such file")
	for _, mode := range []os.FileMode{0o664, 0o646, 0o666} {
		write(mode, data)
		refused(path, own, "others than its owner may write it")
	}
	write(0o644, []byte("{}"))
	refused(path, own, "format")
	write(0o644, []byte(strings.Repeat(" ", manifest.MaxTrust+1)))
	refused(path, own, "more than")
	if got, err := LoadTrust(""); err != nil || !got.Empty() {
		t.Errorf("built without, and yet %+v, %v", got, err)
	}
}

func TestCheckMirror(t *testing.T) {
	for _, good := range []string{"", "http://10.0.0.1:8080/x", "https://mirror.test", "https://mirror.test/a/"} {
		if err := CheckMirror(good); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
	for _, bad := range []string{"ftp://mirror.test", "mirror.test", "https://user:pass@mirror.test", "https://mirror.test/?a=", "https://mirror.test/#a", "https://", "::"} {
		if err := CheckMirror(bad); !reason.Is(err, reason.Usage) || strings.Contains(err.Error(), "pass") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func FuzzParseAccepted(f *testing.F) {
	f.Add([]byte(`{"format":1,"serial":5,"trust":{"format":1,"name":"x","serial":2,"keys":[]}}`))
	f.Add([]byte(`{"format":1,"serial":5}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if a, err := parseAccepted(data); err == nil && (a.Serial < 0 || a.Trust != nil && a.Trust.Check() != nil) {
			t.Errorf("%+v", a)
		}
	})
}

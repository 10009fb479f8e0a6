package artifact

import (
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/artifact/manifest"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

// A stolen key is dropped by a rotation that another key of the same trust has signed, and so is the next manifest. A machine that
// could take that one as it is must drop the stolen key all the same.
func TestDroppedKeyIsDroppedWhereTheManifestNeedsNoRotation(t *testing.T) {
	stolen, spare, next, p := newSigner(t), newSigner(t), newSigner(t), newPage(t)
	s := newShelf(t, trustIn(1, stolen, spare), p)
	p.put(manifest.Path, numbered(t, 5, stolen))
	s.want(5)
	p.rotation(2, rotated(t, trustIn(2, spare, next), spare, next))
	p.put(manifest.Path, numbered(t, 6, spare))
	s.want(6)
	p.put(manifest.Path, numbered(t, 9, stolen))
	s.want(6)
	newShelf(t, trustIn(1, stolen, spare), p).refused(reason.ManifestKeyUnknown, "")
}

// A rotation that nobody needs and that is no good, or a mirror that does not answer when it is asked for one, takes nothing
// from its manifest.
func TestUselessRotationCostsNothing(t *testing.T) {
	k, p := newSigner(t), newPage(t)
	p.put(manifest.Path, numbered(t, 5, k))
	p.rotation(2, rotated(t, trustIn(2, newSigner(t)), newSigner(t)))
	newShelf(t, trustIn(1, k), p).want(5)
	p.rotation(2, []byte("<html>"))
	newShelf(t, trustIn(1, k), p).want(5)

	dir, signed, now := t.TempDir(), numbered(t, 7, k), time.Now()
	synctest.Test(t, func(t *testing.T) {
		f := &Fetcher{Client: &http.Client{Transport: quiet{hosts{"a": signed, "b": signed}}}}
		m := &Manifests{Trust: trustIn(1, k), Mirrors: []string{"https://a", "https://b"}, Dir: dir, Now: func() time.Time { return now }}
		start := time.Now()
		if got, err := m.Fetch(t.Context(), f); err != nil || got.Serial != 7 {
			t.Errorf("serial %d, %v", got.Serial, err)
		}
		if took := time.Since(start); took != 2*latecomers {
			t.Errorf("it took %v", took)
		}
	})
}

// quiet answers as hosts do, but says nothing where it is asked for a rotation.
type quiet struct{ hosts }

func (q quiet) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Path != "/"+manifest.Path {
		<-r.Context().Done()
		return nil, r.Context().Err()
	}
	return q.hosts.RoundTrip(r)
}

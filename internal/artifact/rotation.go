package artifact

import (
	"context"
	"fmt"

	"github.com/pipeopshq/pipeops-agent/internal/artifact/manifest"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

// rotate follows the rotations of a mirror that has a manifest. Also where that one is signed by a key that is trusted: else a
// key that was stolen and dropped would be trusted here for as long as others that lasted sign (The Update Framework, 5.3, asks
// for the next root each time too). A rotation that is needed and refused spoils this mirror only.
func (m *Manifests) rotate(ctx context.Context, f *Fetcher, a accepted, c *candidate) (accepted, error) {
	if c.err != nil {
		return a, nil
	}
	for range maxRotations {
		_, err := m.verifier(a).Manifest(c.data)
		needed := reason.Is(err, reason.ManifestKeyUnknown) || reason.Is(err, reason.ManifestKeyExpired)
		url := c.url(fmt.Sprintf(manifest.RotationPath, m.trust(a).Serial+1))
		data, err := f.rotation(ctx, url, needed)
		if err != nil {
			f.log().Info("there is no rotation to newer keys", "url", url, "err", err)
			return a, ctx.Err()
		}
		next, err := m.verifier(a).Rotation(data)
		switch {
		case err != nil && needed:
			c.err = at(url, err)
			return a, nil
		case err != nil:
			f.log().Warn("a rotation of the keys is not followed", "url", url, "err", err)
			return a, nil
		}
		f.log().Info("the trusted keys were exchanged", "url", url, "trust", next.Name, "serial", next.Serial)
		a.Trust = &next
		if err := m.save(a); err != nil {
			return a, err
		}
	}
	return a, nil
}

// rotation fetches a rotation; one that may well not be there is asked for once, and waited for no longer than a late manifest.
func (f *Fetcher) rotation(ctx context.Context, url string, needed bool) ([]byte, error) {
	if needed {
		return f.text(ctx, url, manifest.MaxEnvelope)
	}
	ctx, enough := context.WithTimeout(ctx, latecomers)
	defer enough()
	return f.textOnce(ctx, url, manifest.MaxEnvelope)
}

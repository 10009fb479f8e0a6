package artifact

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/artifact/manifest"
	"github.com/pipeopshq/pipeops-agent/internal/atomicfile"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

// latecomers is how long the other mirrors have for their manifests once a good one has come: one that does not answer at all
// would take minutes.
const latecomers = 3 * time.Second

// maxRotations bounds the rotations that are followed in a row: one a year for a lifetime.
const maxRotations = 64

// Manifests gets the manifest from the mirrors, verifies it, and keeps the newest. One value is used by one goroutine
// that fetches and any number that read.
type Manifests struct {
	Trust   manifest.Trust   // see [LoadTrust]
	Mirrors []string         // their bases; "" is the origin, and so is none
	Dir     string           // where the newest manifest and what else must not be forgotten is kept
	Agent   string           // version of this program
	Built   time.Time        // see [manifest.Verifier]
	Now     func() time.Time // nil means time.Now

	mu    sync.Mutex
	known *manifest.Manifest // what this run goes by
}

// Ready is the error [reason.TrustNone] if no manifest can ever be taken, since nobody is trusted.
func (m *Manifests) Ready() error {
	if m.Trust.Empty() {
		return reason.Newf(reason.TrustNone, "this program was built without keys, and no file with keys is given")
	}
	return nil
}

// Trusted returns who is trusted by now, rotations included where what was kept of them can be read.
func (m *Manifests) Trusted() manifest.Trust {
	if a, err := m.state(); err == nil {
		return m.trust(a)
	}
	return m.Trust
}

// Known returns the manifest that this run goes by: the one that was fetched, else the one that an earlier run kept. False if
// there is none that may be used now. It uses no network.
func (m *Manifests) Known() (manifest.Manifest, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.known == nil {
		if kept, err := m.kept(); err == nil {
			m.known = &kept
		}
	}
	if m.known == nil {
		return manifest.Manifest{}, false
	}
	return *m.known, true
}

// kept reads and verifies the manifest that an earlier run has kept.
func (m *Manifests) kept() (manifest.Manifest, error) {
	if err := m.Ready(); err != nil { // no trust, no name
		return manifest.Manifest{}, err
	}
	data, err := atomicfile.Read(m.keptPath(), manifest.MaxEnvelope)
	if err != nil {
		return manifest.Manifest{}, err
	}
	a, err := m.state()
	if err != nil {
		return manifest.Manifest{}, err
	}
	return m.verifier(a).Manifest(data)
}

// Fetch gets the manifest from every mirror and takes the newest that is valid, or the one that was kept if that is newer
// or no mirror has one. What it takes is the lowest that is ever taken here again. The rotations of the keys that a mirror
// has are followed first. What a user may meet is that of
// [manifest.Verifier], [reason.TrustFile] and the failures of a download.
func (m *Manifests) Fetch(ctx context.Context, f *Fetcher) (manifest.Manifest, error) {
	if err := m.Ready(); err != nil {
		return manifest.Manifest{}, err
	}
	a, err := m.state()
	if err != nil {
		return manifest.Manifest{}, err
	}
	if err := m.verifier(a).Clock(); err != nil { // before TLS fails for the same reason and says it worse
		return manifest.Manifest{}, err
	}
	found, err := m.ask(ctx, f, a)
	if err != nil {
		return manifest.Manifest{}, err
	}
	for i := range found {
		if a, err = m.rotate(ctx, f, a, &found[i]); err != nil {
			return manifest.Manifest{}, err
		}
	}
	best, failure := m.newest(f, a, found)
	kept, keptErr := m.kept()
	switch {
	case best == nil && keptErr != nil:
		return manifest.Manifest{}, withKept(failure, keptErr)
	case best == nil || keptErr == nil && kept.Serial > best.manifest.Serial:
		if failure != nil {
			f.log().Warn("the manifest that was kept is used", "err", failure)
		}
		return m.accept(a, kept)
	}
	// the envelope first: killed between the two, the next run finds a manifest that is newer than the number, which is fine
	if err := m.write(m.keptPath(), best.data); err != nil {
		return manifest.Manifest{}, err
	}
	return m.accept(a, best.manifest)
}

// accept makes a manifest the lowest that is ever taken here, and what this run goes by.
func (m *Manifests) accept(a accepted, best manifest.Manifest) (manifest.Manifest, error) {
	if a.Serial < best.Serial {
		a.Serial = best.Serial
		if err := m.save(a); err != nil {
			return manifest.Manifest{}, err
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.known = &best
	return best, nil
}

// candidate is what one mirror handed out.
type candidate struct {
	base     string
	data     []byte
	err      error
	manifest manifest.Manifest
}

func (c candidate) url(path string) string {
	return manifest.File{Origin: manifest.Origin, Path: path}.URL(c.base)
}

// ask gets the manifests of all mirrors at once. It fails only when it is stopped. Only a manifest that may be used now makes
// it hurry: a mirror that is quick with another one must not cut the others short.
func (m *Manifests) ask(ctx context.Context, f *Fetcher, a accepted) ([]candidate, error) {
	found := []candidate{{}}
	if len(m.Mirrors) > 0 {
		found = make([]candidate, len(m.Mirrors))
	}
	asked, enough := context.WithCancel(ctx)
	defer enough()
	var all sync.WaitGroup
	var first sync.Once
	for i := range found {
		if i < len(m.Mirrors) {
			found[i].base = m.Mirrors[i]
		}
		all.Go(func() {
			data, err := f.text(asked, found[i].url(manifest.Path), manifest.MaxEnvelope)
			if err == nil && m.usable(a, data) {
				first.Do(func() { time.AfterFunc(latecomers, enough) })
			}
			found[i].data, found[i].err = data, m.blameClock(err)
		})
	}
	all.Wait()
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("cannot fetch the manifest: %w", err)
	}
	return found, nil
}

func (m *Manifests) usable(a accepted, data []byte) bool {
	_, err := m.verifier(a).Manifest(data)
	return err == nil
}

// newest returns the newest manifest that is valid. If some are not, the error tells why; a bad signature matters more
// than a mirror that does not answer.
func (m *Manifests) newest(f *Fetcher, a accepted, found []candidate) (best *candidate, failure error) {
	for i := range found {
		c := &found[i]
		if c.err == nil {
			c.manifest, c.err = m.verifier(a).Manifest(c.data)
			c.err = at(c.url(manifest.Path), c.err)
		}
		switch {
		case c.err == nil:
			if best == nil || c.manifest.Serial > best.manifest.Serial {
				best = c
			}
			continue
		case failure == nil, reason.Exit(failure) != reason.ExitSignature && reason.Exit(c.err) == reason.ExitSignature:
			failure = c.err
		}
		f.log().Warn("a mirror has no manifest that may be used", "err", c.err)
	}
	return best, failure
}

func (m *Manifests) verifier(a accepted) manifest.Verifier {
	return manifest.Verifier{Trust: m.trust(a), Lowest: a.Serial, Now: m.now(), Built: m.Built, Agent: m.Agent}
}

func (m *Manifests) now() time.Time {
	if m.Now != nil {
		return m.Now()
	}
	return time.Now()
}

// URLs returns the addresses of a file, at every mirror in order.
func (m *Manifests) URLs(file manifest.File) []string {
	if len(m.Mirrors) == 0 {
		return []string{file.URL("")}
	}
	all := make([]string, len(m.Mirrors))
	for i, base := range m.Mirrors {
		all[i] = file.URL(base)
	}
	return all
}

// Lacks is the error for a file that the manifest does not list; it names the versions that it has.
func Lacks(m manifest.Manifest, product, version, arch, name string) error {
	const most = 8
	has := m.Versions(product, arch, name)
	evidence := fmt.Sprintf("manifest %d has no %s of %s %s for %s", m.Serial, name, product, version, arch)
	switch {
	case len(has) == 0:
		evidence += ", nor of any other version"
	case len(has) > most:
		evidence += fmt.Sprintf("; it has %s and %d older", strings.Join(has[:most], ", "), len(has)-most)
	default:
		evidence += "; it has " + strings.Join(has, ", ")
	}
	return reason.New(reason.ManifestLacks, evidence, nil)
}

// blameClock names the clock where a certificate is out of its time: it is more often wrong than that of a mirror.
func (m *Manifests) blameClock(err error) error {
	e, c := (*reason.Error)(nil), x509.CertificateInvalidError{}
	if !errors.As(err, &e) || !errors.As(err, &c) || c.Reason != x509.Expired {
		return err
	}
	return e.WithFix("see that the clock of this machine is right, it says " + m.now().UTC().Format("2006-01-02 15:04 UTC") + "; if it is, use another mirror")
}

// at says of an error with a reason where it comes from.
func at(url string, err error) error {
	if e := (*reason.Error)(nil); errors.As(err, &e) {
		c := *e
		c.Evidence = url + ": " + c.Evidence
		return &c
	}
	return err
}

// withKept says of an error with a reason why the manifest that was kept does not help either, if there is one.
func withKept(err, kept error) error {
	e, k := (*reason.Error)(nil), (*reason.Error)(nil)
	if errors.As(err, &e) && errors.As(kept, &k) {
		c := *e
		c.Evidence += "; the list that was kept: " + k.Error()
		return &c
	}
	return err
}

//go:build e2e

package e2e

import (
	"bytes"
	"crypto/ed25519"
	"strings"
	"testing"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/artifact/manifest"
	"github.com/pipeopshq/pipeops-agent/test/lab"
)

// TestManifestRefusals gives one machine a mirror that lies in every way. Each must give its one clear error and leave the
// machine as it was; a mirror that is honest again is then enough.
func TestManifestRefusals(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	m := w.machine(t, lab.Options{})
	w.withAgent(t, m)
	shell(t, m, "mkdir -p /var/lib/rancher") // before the first fingerprint
	if err := w.PrepareMachine(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	honest, err := w.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	publish := func(change func(*manifest.Manifest)) func(t *testing.T) {
		return func(t *testing.T) {
			t.Helper()
			m := honest
			m.Files = append([]manifest.File{}, honest.Files...)
			change(&m)
			if err := w.Publish(m); err != nil {
				t.Fatal(err)
			}
		}
	}
	raw := func(make func() ([]byte, error)) func(t *testing.T) {
		return func(t *testing.T) {
			t.Helper()
			data, err := make()
			if err == nil {
				err = w.PublishBytes(data)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	sealed := func(by ...ed25519.PrivateKey) ([]byte, error) {
		e, err := manifest.Seal(manifest.ManifestType, honest)
		for _, key := range by {
			if err == nil {
				e, err = e.Signed(key)
			}
		}
		if err != nil {
			return nil, err
		}
		return e.Encode()
	}
	tests := []struct {
		name    string
		prepare func(t *testing.T)
		install []string
		code    string
		exit    int
	}{
		{name: "no manifest", prepare: func(*testing.T) { w.Mirror.Inject(lab.Fault{Pattern: "/" + manifest.Path, Status: 404}) }, code: "DOWNLOAD_FAILED", exit: 20},
		{name: "page of a login", prepare: raw(func() ([]byte, error) { return []byte("<html>log in</html>"), nil }), code: "MANIFEST_UNSIGNED", exit: 21},
		{name: "no signature", prepare: raw(func() ([]byte, error) { return sealed() }), code: "MANIFEST_UNSIGNED", exit: 21},
		{name: "a stranger's signature", prepare: raw(func() ([]byte, error) {
			_, key, err := ed25519.GenerateKey(nil)
			if err != nil {
				return nil, err
			}
			return sealed(key)
		}), code: "MANIFEST_KEY_UNKNOWN", exit: 21},
		{name: "changed after it was signed", prepare: raw(func() ([]byte, error) {
			data, err := w.Sign(honest)
			return bytes.Replace(data, []byte(`"payload": "eyJ`), []byte(`"payload": "eYJ`), 1), err
		}), code: "MANIFEST_TAMPERED", exit: 21},
		{name: "older than this program", prepare: publish(func(m *manifest.Manifest) { m.Serial = 5 }), code: "MANIFEST_OLD", exit: 21},
		{name: "expired", prepare: publish(func(m *manifest.Manifest) {
			m.Created, m.Expires = m.Created.Add(-48*time.Hour), m.Created.Add(-24*time.Hour)
		}), code: "MANIFEST_EXPIRED", exit: 21},
		{name: "clock 3 years behind", prepare: publish(func(m *manifest.Manifest) {
			m.Created, m.Expires = m.Created.AddDate(3, 0, 0), m.Expires.AddDate(3, 0, 0)
		}), code: "MANIFEST_CLOCK", exit: 21},
		{name: "for a newer agent", prepare: publish(func(m *manifest.Manifest) { m.Minimum.Agent = "v99.0.0" }), code: "MANIFEST_AGENT_OLD", exit: 21},
		{name: "version that is not listed", prepare: publish(func(*manifest.Manifest) {}), install: []string{"--k3s-version", "v1.33.99+k3s1"}, code: "MANIFEST_LACKS", exit: 20},
		{name: "another file than listed", prepare: publish(func(m *manifest.Manifest) {
			m.Serial++
			for i := range m.Files {
				m.Files[i].SHA256 = strings.Repeat("ab", 32)
			}
		}), code: "DOWNLOAD_DIGEST", exit: 20},
		{name: "older than the one before", prepare: func(t *testing.T) {
			publish(func(*manifest.Manifest) {})(t) // by one, see above
			shell(t, m, "rm /var/lib/pipeops-agent/manifest/*.manifest.json")
		}, code: "MANIFEST_OLD", exit: 21},
		{name: "keys that others may write", prepare: func(t *testing.T) {
			shell(t, m, "echo {} >/etc/trust.json; chmod 0666 /etc/trust.json")
		}, install: []string{"--trust", "/etc/trust.json"}, code: "TRUST_FILE", exit: 21},
	}
	before := shell(t, m, fingerprint)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.prepare(t)
			result, err := m.Exec(t.Context(), nil, w.install("lied-to", append([]string{"-o", "json"}, tt.install...)...)...)
			if err != nil {
				t.Fatal(err)
			}
			w.Mirror.Mend()
			checkFailure(t, result, tt.code, tt.exit)
			shell(t, m, "rm -f /etc/trust.json")
			if after := shell(t, m, fingerprint); after != before {
				t.Errorf("the machine is not as it was:\n%s", difference(before, after))
			}
		})
	}
	publish(func(m *manifest.Manifest) { m.Serial += 2 })(t)
	if result, err := m.Exec(t.Context(), nil, w.install("lied-to")...); err != nil || result.Code != 0 {
		t.Fatalf("with an honest mirror: %v\n%s", err, result.Told())
	}
	// with everything in place the mirror is not asked
	requests, _ := w.Mirror.Sent("/" + manifest.Path)
	w.Mirror.Inject(lab.Fault{Pattern: "/" + manifest.Path, Status: 503})
	result, err := m.Exec(t.Context(), nil, w.install("lied-to")...)
	w.Mirror.Mend()
	if again, _ := w.Mirror.Sent("/" + manifest.Path); err != nil || result.Code != 0 || again != requests {
		t.Errorf("a second install: %v, %d requests\n%s", err, again-requests, result.Told())
	}
	if out := shell(t, m, "pipeops-agent version"); !strings.Contains(out, "DEVELOPMENT key") {
		t.Errorf("version does not say that it trusts a development key: %s", out)
	}
}

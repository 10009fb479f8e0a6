// Package manifest is who may say what is installed: a signed list of every byte that we install, the keys that may sign it,
// and how those keys are exchanged. It is pure: it reads no file, no clock and no network. Envelopes are those of DSSE with
// Ed25519; they need 20 lines, and the reasons why a signature is not taken are ours, so no library is used for them.
package manifest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/version"
)

// maxFiles bounds the files of a manifest: ten releases of seven products for two architectures are below 1000.
const maxFiles = 4096

// Where every origin and mirror has the manifest and the documents of key rotation, with the number of the trust that a
// document leads to.
const (
	Origin       = "https://github.com"
	Path         = "pipeopshq/pipeops-agent/releases/latest/download/manifest.json"
	RotationPath = "pipeopshq/pipeops-agent/releases/latest/download/trust-%d.json"
)

// Manifest lists every file that may be installed.
type Manifest struct {
	Format  int       `json:"format"`
	Serial  int64     `json:"serial"` // grows with every manifest: nobody goes back
	Created time.Time `json:"created"`
	Expires time.Time `json:"expires"`
	Minimum Minimum   `json:"minimum"`
	Files   []File    `json:"files"`
}

// Minimum is what a manifest asks of what is older than itself. A machine that has taken this manifest refuses every older
// one anyway; who keeps no state, such as somebody who looks at an offline bundle, goes by Serial.
type Minimum struct {
	Serial int64  `json:"serial"`          // manifests below it are valid no longer
	Agent  string `json:"agent,omitempty"` // the lowest version of pipeops-agent that may use it; "" means any
}

// Parse reads the payload of a manifest and refuses one that breaks a rule anywhere: none is used in part.
func Parse(payload []byte) (Manifest, error) {
	var m Manifest
	if len(payload) > MaxEnvelope {
		return Manifest{}, errors.New("cannot read the manifest: it is too long")
	}
	if err := decodeFormat(payload, &m); err != nil {
		return Manifest{}, fmt.Errorf("cannot read the manifest: %w", err)
	}
	if err := m.Check(); err != nil {
		return Manifest{}, err
	}
	return m, nil
}

// Check finds what no manifest may say.
func (m Manifest) Check() error {
	switch {
	case m.Format != format:
		return fmt.Errorf("cannot use the manifest: %w: %d", errFormat, m.Format)
	case m.Serial < 1:
		return fmt.Errorf("cannot use the manifest: its serial is %d", m.Serial)
	case m.Minimum.Serial < 0 || m.Minimum.Serial > m.Serial:
		return fmt.Errorf("cannot use the manifest: its lowest serial is %d and its own %d", m.Minimum.Serial, m.Serial)
	case !m.Created.Before(m.Expires) || !sane(m.Created) || !sane(m.Expires):
		return errors.New("cannot use the manifest: it expires before it is created")
	case len(m.Files) == 0 || len(m.Files) > maxFiles:
		return fmt.Errorf("cannot use the manifest: it lists %d files", len(m.Files))
	}
	if m.Minimum.Agent != "" {
		if _, err := version.ParseSemantic(m.Minimum.Agent); err != nil || len(m.Minimum.Agent) > 64 {
			return fmt.Errorf("cannot use the manifest: %.80q is no version of pipeops-agent", m.Minimum.Agent)
		}
	}
	roles, paths, anyArch := map[[4]string]bool{}, map[string]bool{}, map[[4]string]bool{}
	forms := rules()
	for _, f := range m.Files {
		if err := f.check(forms); err != nil {
			return fmt.Errorf("cannot use the manifest: %w", err)
		}
		role, place := [4]string{f.Product, f.Version, f.Arch, f.Name}, f.Path // mirrors know no origin
		if roles[role] || paths[place] {
			return fmt.Errorf("cannot use the manifest: it lists %s twice", f.Path)
		}
		roles[role], paths[place] = true, true
		if role[2] = ""; f.Arch == "" {
			anyArch[role] = true
		}
	}
	for _, f := range m.Files {
		if f.Arch != "" && anyArch[[4]string{f.Product, f.Version, "", f.Name}] {
			return fmt.Errorf("cannot use the manifest: %s is one of two that fit %s", f.Path, f.Arch)
		}
	}
	return nil
}

// Find returns the file of a product's release for an architecture, and whether there is one.
func (m Manifest) Find(product, version, arch, name string) (File, bool) {
	i := slices.IndexFunc(m.Files, func(f File) bool {
		return f.Product == product && f.Version == version && f.Name == name && (f.Arch == arch || f.Arch == "")
	})
	if i < 0 {
		return File{}, false
	}
	return m.Files[i], true
}

// Versions returns the versions of a product that have a file of that name for the architecture, the newest first.
func (m Manifest) Versions(product, arch, name string) []string {
	var all []string
	for _, f := range m.Files {
		if f.Product == product && f.Name == name && (f.Arch == arch || f.Arch == "") {
			all = append(all, f.Version)
		}
	}
	slices.SortFunc(all, func(a, b string) int {
		va, errA := version.ParseGeneric(a)
		vb, errB := version.ParseGeneric(b)
		if errA != nil || errB != nil || va.EqualTo(vb) {
			return strings.Compare(b, a)
		}
		if va.LessThan(vb) {
			return 1
		}
		return -1
	})
	return slices.Compact(all)
}

// sane reports whether a time can be written and read again.
func sane(t time.Time) bool { return t.Year() >= 2020 && t.Year() < 9999 }

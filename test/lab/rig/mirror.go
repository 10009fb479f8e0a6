package rig

import (
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/artifact/manifest"
)

// K3sPath is where the mirror has the k3s release, as its origin has it.
const K3sPath = "/k3s-io/k3s/releases/download/" + K3sVersion

// latest is where every mirror has what this release publishes beside its programs.
const latest = "pipeopshq/pipeops-agent/releases/latest/download"

// mirror is the folder of the mirror.
func (r *Rig) mirror() string { return filepath.Join(r.dir, "mirror") }

// layMirror lays the folder of the mirror out as the origins are, with a manifest that the key of dist has signed.
func (r *Rig) layMirror() error {
	folder := filepath.Join(r.mirror(), latest)
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	k3s := filepath.Join(r.mirror(), K3sPath)
	if err := os.MkdirAll(filepath.Dir(k3s), 0o755); err != nil {
		return err
	}
	_ = os.Remove(k3s) // of an earlier run
	if err := os.Symlink(r.Release, k3s); err != nil {
		return err
	}
	m, err := r.Manifest()
	if err != nil {
		return err
	}
	return r.Publish(m)
}

// Manifest returns a list of the k3s release and of what dist lists, newer than any before.
func (r *Rig) Manifest() (manifest.Manifest, error) {
	now := time.Now().UTC().Truncate(time.Second)
	m := manifest.Manifest{Format: 1, Serial: now.Unix(), Created: now, Expires: now.Add(24 * time.Hour)}
	for role, name := range map[string]string{"binary": binary(), "images": "k3s-airgap-images-" + runtime.GOARCH + ".tar.zst"} {
		f := manifest.File{Product: "k3s", Version: K3sVersion, Arch: runtime.GOARCH, Name: role, Origin: manifest.Origin, Path: K3sPath[1:] + "/" + name}
		var err error
		if f.SHA256, f.Bytes, err = digest(filepath.Join(r.Release, name)); err != nil {
			return m, err
		}
		m.Files = append(m.Files, f)
	}
	data, err := os.ReadFile(filepath.Join(r.root, Dist, "manifest.json"))
	if err != nil {
		return m, fmt.Errorf("cannot find the manifest of dist; run make dist: %w", err)
	}
	e, err := manifest.ParseEnvelope(data)
	if err != nil {
		return m, err
	}
	payload, err := e.Bytes()
	if err != nil {
		return m, err
	}
	of, err := manifest.Parse(payload)
	if err != nil {
		return m, err
	}
	for _, f := range of.Files {
		// dist may know another release than the one behind this mirror
		if f.Product != "k3s" && !slices.ContainsFunc(r.built, func(b manifest.File) bool { return b.Path == f.Path }) {
			m.Files = append(m.Files, f)
		}
	}
	m.Files = append(m.Files, r.built...)
	return m, m.Check()
}

// Publish signs a manifest with the key of dist and puts it into the mirror.
func (r *Rig) Publish(m manifest.Manifest) error {
	data, err := r.Sign(m)
	if err != nil {
		return err
	}
	return r.PublishBytes(data)
}

// Sign signs a manifest with the key of dist.
func (r *Rig) Sign(m manifest.Manifest) ([]byte, error) {
	key, err := r.key()
	if err != nil {
		return nil, err
	}
	e, err := manifest.Seal(manifest.ManifestType, m)
	if err != nil {
		return nil, err
	}
	if e, err = e.Signed(key); err != nil {
		return nil, err
	}
	return e.Encode()
}

// PublishBytes puts what is or is not a signed manifest into the mirror.
func (r *Rig) PublishBytes(data []byte) error {
	return os.WriteFile(filepath.Join(r.mirror(), manifest.Path), data, 0o644)
}

// key reads the key that dist has signed with.
func (r *Rig) key() (ed25519.PrivateKey, error) {
	path := os.Getenv("RELEASE_KEY")
	if path == "" {
		path = filepath.Join(r.root, ".cache", "development.key")
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("cannot read the key that signs; make dist makes one: %w", err)
	}
	block, _ := pem.Decode(data)
	if block == nil {
		return nil, fmt.Errorf("cannot read the key %s: it is no PEM", path)
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("cannot read the key %s: %w", path, err)
	}
	private, ok := key.(ed25519.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("cannot read the key %s: it is none of Ed25519", path)
	}
	return private, nil
}

func digest(path string) (sum string, size int64, err error) {
	file, err := os.Open(path)
	if err != nil {
		return "", 0, err
	}
	hash := sha256.New()
	size, err = io.Copy(hash, file)
	return hex.EncodeToString(hash.Sum(nil)), size, errors.Join(err, file.Close())
}

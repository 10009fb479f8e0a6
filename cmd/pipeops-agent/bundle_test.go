package main

import (
	"archive/tar"
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/artifact/manifest"
	"github.com/pipeopshq/pipeops-agent/internal/distro"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
	"github.com/pipeopshq/pipeops-agent/internal/version"
)

// depot is a mirror with a signed list, and a file with the key that signs it.
type depot struct {
	url, trust string

	mu    sync.Mutex
	files map[string][]byte // by path
}

func newDepot(t *testing.T) *depot {
	t.Helper()
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now().UTC().Truncate(time.Second)
	d := &depot{files: map[string][]byte{}, trust: filepath.Join(t.TempDir(), "trust.json")}
	m := manifest.Manifest{Format: 1, Serial: 1, Created: now, Expires: now.Add(time.Hour)}
	list := func(product, version, arch, role string) {
		path, content := product+"/"+version+"/"+role+"-"+arch, bytes.Repeat([]byte(product+role+arch), 10_000)
		sum := sha256.Sum256(content)
		m.Files = append(m.Files, manifest.File{Product: product, Version: version, Arch: arch, Name: role, Origin: manifest.Origin,
			Path: path, Bytes: int64(len(content)), SHA256: hex.EncodeToString(sum[:])})
		d.files["/"+path] = content
	}
	for _, arch := range []string{"amd64", "arm64"} {
		list(distro.K3s, distro.K3sVersion, arch, "binary")
		list(distro.K3s, distro.K3sVersion, arch, "images")
		list("pipeops-agent", version.String(), arch, "binary")
	}
	list(distro.K3s, "v1.34.1+k3s1", "amd64", "binary")
	e, err := manifest.Seal(manifest.ManifestType, m)
	if err == nil {
		e, err = e.Signed(private)
	}
	if err != nil {
		t.Fatal(err)
	}
	if d.files["/"+manifest.Path], err = e.Encode(); err != nil {
		t.Fatal(err)
	}
	trust, err := manifest.Trust{Format: 1, Name: "test", Serial: 1, Keys: []manifest.Key{{Public: public, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour)}}}.Encode()
	if err == nil {
		err = os.WriteFile(d.trust, trust, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		d.mu.Lock()
		content, ok := d.files[r.URL.Path]
		d.mu.Unlock()
		if !ok {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content))
	}))
	t.Cleanup(srv.Close)
	d.url = srv.URL
	return d
}

// put changes a file of the mirror, which may still be at the answer before.
func (d *depot) put(path string, content []byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.files[path] = content
}

// run runs a command as main does.
func run(t *testing.T, args ...string) (string, error) {
	t.Helper()
	dir := t.TempDir()
	command := newRoot(&globals{})
	var out bytes.Buffer
	command.SetOut(&out)
	command.SetErr(io.Discard)
	command.SetArgs(append(args, "--config", filepath.Join(dir, "config.yaml"), "--state-dir", filepath.Join(dir, "state")))
	err := command.ExecuteContext(t.Context())
	return out.String(), err
}

func (d *depot) bundle(t *testing.T, file string, args ...string) (string, error) {
	t.Helper()
	return run(t, append([]string{"bundle", "--out", file, "--mirror", d.url, "--trust", d.trust}, args...)...)
}

func TestBundleCommand(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("a file with trusted keys has to be root's")
	}
	d := newDepot(t)
	file := filepath.Join(t.TempDir(), "bundle.tar")
	out, err := d.bundle(t, file, "--arch", "amd64", "-o", "json")
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(out), "\n")
	var done struct {
		Kind   string
		Detail bundleDone
	}
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &done); err != nil || done.Kind != "done" {
		t.Fatalf("%v: %s", err, out)
	}
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(content)
	if done.Detail.Bytes != int64(len(content)) || done.Detail.SHA256 != hex.EncodeToString(sum[:]) || len(done.Detail.Contents) != 2 {
		t.Errorf("it tells %+v", done.Detail)
	}
	if left, err := filepath.Glob(file + "*"); err != nil || len(left) != 1 {
		t.Errorf("left are %v, %v", left, err)
	}

	// on a terminal of nobody, for another machine
	other := filepath.Join(t.TempDir(), "other.tar")
	if out, err = d.bundle(t, other, "--arch", "arm64"); err != nil || !strings.Contains(out, "ok  Download k3s "+distro.K3sVersion+" for arm64") || !strings.Contains(out, "SHA-256 ") {
		t.Errorf("%v: %s", err, out)
	}
	if got := member(t, other, "pipeops-agent"); !bytes.Equal(got, d.files["/pipeops-agent/"+version.String()+"/binary-arm64"]) {
		t.Errorf("its program has %d bytes", len(got))
	}

	machine := filepath.Join("../../internal/host/testdata/machines", "hetzner-vm")
	if out, err = run(t, "plan", "--root", machine, "--bundle", file, "--trust", d.trust); err != nil || !strings.Contains(out, "bundle://file/") {
		t.Errorf("plan: %v: %s", err, out)
	}
	for args, want := range map[string]reason.Code{
		"--k3s-version v1.34.1+k3s1": reason.BundleLacks,
		"--bundle /nonexistent":      reason.BundleInvalid,
		"--bundle " + other:          reason.BundleArch,
	} {
		all := append([]string{"plan", "--root", machine, "--bundle", file, "--trust", d.trust}, strings.Fields(args)...)
		if _, err := run(t, all...); !reason.Is(err, want) || reason.Exit(err) != reason.ExitDownload {
			t.Errorf("plan %s: %v", args, err)
		}
	}
}

// Whoever makes a bundle in a folder of all must not put into it what somebody else has laid there; and what is not of the
// bundle stays.
func TestBundleBesideFilesOfOthers(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("a file with trusted keys has to be root's")
	}
	d := newDepot(t)
	file := filepath.Join(t.TempDir(), "bundle.tar")
	work := file + ".downloads"
	trojan := sha256.Sum256(d.files["/pipeops-agent/"+version.String()+"/binary-arm64"])
	if err := os.Mkdir(work, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(work, hex.EncodeToString(trojan[:])), []byte("another program"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(work, 12345, 12345); err != nil {
		t.Fatal(err)
	}
	if _, err := d.bundle(t, file, "--arch", "arm64"); !reason.Is(err, reason.Usage) || !strings.Contains(err.Error(), work) {
		t.Errorf("err = %v", err)
	}
	if _, err := os.Stat(file); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("there is a bundle: %v", err)
	}

	if err := os.RemoveAll(work); err != nil {
		t.Fatal(err)
	}
	mine := filepath.Join(work, "mine")
	if err := errors.Join(os.Mkdir(work, 0o755), os.WriteFile(mine, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	if _, err := d.bundle(t, file, "--arch", "arm64"); err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(work); err != nil || len(left) != 1 || left[0].Name() != "mine" {
		t.Errorf("left are %v, %v", left, err)
	}
}

func TestBundleThatCannotBeMade(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("a file with trusted keys has to be root's")
	}
	d := newDepot(t)
	file := filepath.Join(t.TempDir(), "bundle.tar")
	for args, want := range map[string]reason.Code{
		"--arch riscv64":             reason.Usage,
		"--k3s-version v1.99.1+k3s1": reason.ManifestLacks,
		"--k3s-version v1.34.1+k3s1": reason.ManifestLacks, // there are no images of it
		"--out=":                     reason.Usage,
		"--out=.":                    reason.Usage,
		"--mirror=ftp://a":           reason.Usage,
	} {
		if _, err := d.bundle(t, file, strings.Fields(args)...); !reason.Is(err, want) {
			t.Errorf("%s: %v, want %s", args, err, want)
		}
	}
	images := "/k3s/" + distro.K3sVersion + "/images-amd64"
	whole := d.files[images]
	d.put(images, bytes.ToUpper(whole))
	if _, err := d.bundle(t, file, "--arch", "amd64"); !reason.Is(err, reason.DownloadDigest) {
		t.Errorf("another file than listed: %v", err)
	}
	if _, err := os.Stat(file); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("there is a bundle: %v", err)
	}
	d.put(images, whole)
	if _, err := d.bundle(t, file, "--arch", "amd64"); err != nil {
		t.Errorf("the second run does not go on: %v", err)
	}
}

// member returns a file of an archive.
func member(t *testing.T, archive, name string) []byte {
	t.Helper()
	file, err := os.Open(archive)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var names []string
	for r := tar.NewReader(file); ; {
		h, err := r.Next()
		if err != nil {
			t.Fatal(fmt.Errorf("%s is not in %v: %w", name, names, err))
		}
		if names = append(names, h.Name); !slices.Contains(names, name) {
			continue
		}
		content, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		return content
	}
}

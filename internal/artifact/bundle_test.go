package artifact

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/artifact/manifest"
	"github.com/pipeopshq/pipeops-agent/internal/command"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

const k3sV = "v1.33.2+k3s1"

// packed is a bundle, and the keys that a machine trusts.
type packed struct {
	t     *testing.T
	path  string
	trust manifest.Trust
	files map[string][]byte // by role
	list  manifest.Manifest
	page  *page
	made  Bundled
}

// pack makes a bundle of a release of k3s, which is signed by a key that the trusted one was exchanged for.
func pack(t *testing.T) *packed {
	a, b := newSigner(t), newSigner(t)
	p := &packed{t: t, trust: trustIn(1, a), page: newPage(t), path: filepath.Join(t.TempDir(), "bundle.tar"),
		files: map[string][]byte{"binary": bytes.Repeat([]byte("k3s"), 100_000), "images": bytes.Repeat([]byte("images"), 200_000)}}
	now := time.Now().UTC().Truncate(time.Second)
	p.list = manifest.Manifest{Format: 1, Serial: 7, Created: now, Expires: now.Add(time.Hour)}
	for _, arch := range []string{"amd64", "arm64"} {
		for _, v := range []string{k3sV, "v1.34.1+k3s1"} {
			for role, content := range p.files {
				path := "k3s-io/k3s/releases/download/" + v + "/" + role + "-" + arch
				p.list.Files = append(p.list.Files, manifest.File{Product: "k3s", Version: v, Arch: arch, Name: role, Origin: manifest.Origin,
					Path: path, Bytes: int64(len(content)), SHA256: sum(content)})
				p.page.put(path, content)
			}
		}
	}
	p.page.put(manifest.Path, seal(t, manifest.ManifestType, p.list, b))
	p.page.rotation(2, rotated(t, trustIn(2, b), a, b))
	agent := filepath.Join(t.TempDir(), "agent")
	if err := os.WriteFile(agent, []byte("the program"), 0o755); err != nil {
		t.Fatal(err)
	}
	f := &Fetcher{Pause: func(context.Context, time.Duration) error { return nil }}
	work := t.TempDir()
	m := &Manifests{Trust: p.trust, Mirrors: []string{p.page.url}, Dir: filepath.Join(work, "manifest")}
	var last, total int64
	made, err := Gather(t.Context(), f, m, work, func(m manifest.Manifest) (files []manifest.File, _ error) {
		for _, role := range []string{"binary", "images"} {
			file, _ := m.Find("k3s", k3sV, "amd64", role)
			files = append(files, file)
		}
		return files, nil
	}, func(done, of int64) { last, total = max(last, done), of })
	if err != nil {
		t.Fatal(err)
	}
	if last != 1_500_000 || total != last {
		t.Errorf("progress ended at %d of %d", last, total)
	}
	p.made, p.made.Agent = made, agent
	p.write(p.path)
	return p
}

func (p *packed) write(path string) (size int64, digest string) {
	p.t.Helper()
	size, digest, err := p.made.Write(p.t.Context(), &Fetcher{}, path, func(int64, int64) {})
	if err != nil {
		p.t.Fatal(err)
	}
	return size, digest
}

// install does what an install does with a bundle.
func (p *packed) install(path, version, arch string) error {
	p.t.Helper()
	b, err := OpenBundle(path)
	if err != nil {
		return err
	}
	defer b.Close()
	if err := b.Check("k3s", version, arch, "binary", "images"); err != nil {
		return err
	}
	dir := p.t.TempDir()
	f := &Fetcher{Client: b.Client(), Pause: func(context.Context, time.Duration) error { return nil }}
	m := &Manifests{Trust: p.trust, Mirrors: []string{BundleBase}, Dir: filepath.Join(dir, "manifest")}
	list, err := m.Fetch(p.t.Context(), f)
	if err != nil {
		return err
	}
	for _, role := range []string{"binary", "images"} {
		file, ok := list.Find("k3s", version, arch, role)
		if !ok {
			return errors.New("not listed")
		}
		d := Download{URLs: m.URLs(file), SHA256: file.SHA256, Bytes: file.Bytes, Dir: dir}
		if role == "images" { // an earlier run was stopped
			if err := os.WriteFile(d.part(), p.files[role][:1000], 0o600); err != nil {
				p.t.Fatal(err)
			}
		}
		if err := f.Fetch(p.t.Context(), d, nil); err != nil {
			return err
		}
		if got, err := os.ReadFile(d.Path()); err != nil || !bytes.Equal(got, p.files[role]) {
			p.t.Errorf("%s: %d bytes, %v", role, len(got), err)
		}
	}
	return nil
}

func TestBundle(t *testing.T) {
	p := pack(t)
	if err := p.install(p.path, k3sV, "amd64"); err != nil {
		t.Fatal(err)
	}
	out, err := command.Run(t.Context(), time.Minute, "tar", "-tvf", p.path)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	for i, want := range []string{"manifest.json", "-rwxr-xr-x ... pipeops-agent", fmt.Sprintf(manifest.RotationPath, 2),
		"k3s-io/k3s/releases/download/v1.33.2+k3s1/binary-amd64", "k3s-io/k3s/releases/download/v1.33.2+k3s1/images-amd64"} {
		mode, name, ok := strings.Cut(want, " ... ")
		if !ok {
			mode, name = "-rw-r--r--", want
		}
		if i >= len(lines) || !strings.HasPrefix(lines[i], mode) || !strings.HasSuffix(lines[i], " "+name) {
			t.Errorf("tar lists %q", lines)
			break
		}
	}
	size, digest := p.write(filepath.Join(t.TempDir(), "again.tar"))
	if again, err := fileDigest(p.path); err != nil || again != digest {
		t.Errorf("the same content gives another bundle: %s, %s, %v", digest, again, err)
	}
	if st, err := os.Stat(p.path); err != nil || st.Size() != size {
		t.Errorf("%d bytes are told, %d are there", size, st.Size())
	}
	asked := p.page.asked()
	if err := p.install(p.path, k3sV, "amd64"); err != nil || p.page.asked() != asked {
		t.Errorf("%v, the mirror was asked", err)
	}
}

func TestBadBundles(t *testing.T) {
	p := pack(t)
	whole, err := os.ReadFile(p.path)
	if err != nil {
		t.Fatal(err)
	}
	at := func(what string) int {
		i := bytes.Index(whole, []byte(what))
		if i < 0 {
			t.Fatalf("no %q", what)
		}
		return i
	}
	flip := func(i int) []byte { b := bytes.Clone(whole); b[i] ^= 1; return b }
	for name, c := range map[string]struct {
		content       []byte
		version, arch string
		want          reason.Code
		says          string
	}{
		"another architecture":        {content: whole, arch: "arm64", want: reason.BundleArch, says: k3sV + " for amd64"},
		"another version":             {content: whole, version: "v1.34.1+k3s1", want: reason.BundleLacks, says: k3sV + " for amd64"},
		"a version of nobody":         {content: whole, version: "v1.99.1+k3s1", want: reason.BundleLacks, says: k3sV + " for amd64"},
		"a byte of k3s":               {content: flip(at("k3sk3sk3s") + 5000), want: reason.DownloadDigest, says: "bundle://file/k3s-io/"},
		"a byte of the images":        {content: flip(at("imagesimages") + 5000), want: reason.DownloadDigest, says: "images-amd64"},
		"a byte more in the manifest": {content: bytes.Replace(whole, []byte(`"keyid": "`), []byte(`"keyid":  "`), 1)[:len(whole)], want: reason.BundleInvalid},
		"empty":                       {want: reason.BundleInvalid, says: "empty"},
		"text":                        {content: []byte(strings.Repeat("no archive at all\n", 100)), want: reason.BundleInvalid, says: "no tar archive"},
		"cut in k3s":                  {content: whole[:at("k3sk3sk3s")+5000], want: reason.BundleTruncated},
		"cut in the images":           {content: whole[:at("imagesimages")+5000], want: reason.BundleTruncated},
		"cut between two files":       {content: whole[:at("k3s-io/k3s/releases/download/v1.33.2+k3s1/images-amd64")], want: reason.BundleTruncated},
		"without its end":             {content: whole[:len(whole)-1024], want: reason.BundleTruncated},
		"cut by a byte":               {content: whole[:len(whole)-1], want: reason.BundleTruncated},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "bad.tar")
			if err := os.WriteFile(path, c.content, 0o600); err != nil {
				t.Fatal(err)
			}
			version, arch := k3sV, "amd64"
			if c.version != "" {
				version = c.version
			}
			if c.arch != "" {
				arch = c.arch
			}
			if err := p.install(path, version, arch); !reason.Is(err, c.want) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("err = %v, want %s", err, c.want)
			}
		})
	}
	t.Run("a manifest that was changed", func(t *testing.T) {
		made, list := p.made, p.list
		list.Serial++
		e, err := manifest.ParseEnvelope(made.Envelope)
		if err != nil {
			t.Fatal(err)
		}
		changed, err := manifest.Seal(manifest.ManifestType, list)
		if err != nil {
			t.Fatal(err)
		}
		e.Payload = changed.Payload
		if made.Envelope, err = e.Encode(); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(t.TempDir(), "bad.tar")
		if _, _, err := made.Write(t.Context(), &Fetcher{}, path, func(int64, int64) {}); err != nil {
			t.Fatal(err)
		}
		if err := p.install(path, k3sV, "amd64"); !reason.Is(err, reason.ManifestTampered) && !reason.Is(err, reason.ManifestKeyUnknown) {
			t.Errorf("err = %v", err)
		}
	})
	t.Run("a manifest of somebody else", func(t *testing.T) {
		stranger := newSigner(t)
		made := p.made
		made.Envelope = seal(t, manifest.ManifestType, p.list, stranger)
		path := filepath.Join(t.TempDir(), "bad.tar")
		if _, _, err := made.Write(t.Context(), &Fetcher{}, path, func(int64, int64) {}); err != nil {
			t.Fatal(err)
		}
		if err := p.install(path, k3sV, "amd64"); !reason.Is(err, reason.ManifestKeyUnknown) {
			t.Errorf("err = %v", err)
		}
	})
	t.Run("no file", func(t *testing.T) {
		for _, path := range []string{"/nonexistent", t.TempDir()} {
			if _, err := OpenBundle(path); !reason.Is(err, reason.BundleInvalid) {
				t.Errorf("%s: %v", path, err)
			}
		}
	})
}

// archive makes a tar archive of these files.
func archive(t testing.TB, headers ...tar.Header) []byte {
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, h := range headers {
		if h.Typeflag == 0 {
			h.Typeflag = tar.TypeReg
		}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(make([]byte, h.Size)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestWhatABundleMayHold(t *testing.T) {
	first := tar.Header{Name: bundleManifest, Size: 10}
	long := strings.Repeat("a/", 150) + "file" // more than plain headers hold
	for name, c := range map[string]struct {
		headers []tar.Header
		want    string // "" is fine
	}{
		"files":            {headers: []tar.Header{first, {Name: "a/b+c", Size: 513}, {Name: "d"}}},
		"a long name":      {headers: []tar.Header{first, {Name: long, Size: 3}}},
		"manifest second":  {headers: []tar.Header{{Name: "a"}, first}, want: "not with manifest.json"},
		"link":             {headers: []tar.Header{first, {Name: "a", Typeflag: tar.TypeSymlink, Linkname: "/etc/passwd"}}, want: "no plain file"},
		"hard link":        {headers: []tar.Header{first, {Name: "a", Typeflag: tar.TypeLink, Linkname: bundleManifest}}, want: "no plain file"},
		"folder":           {headers: []tar.Header{first, {Name: "a/", Typeflag: tar.TypeDir}}, want: "no plain file"},
		"device":           {headers: []tar.Header{first, {Name: "a", Typeflag: tar.TypeChar}}, want: "no plain file"},
		"up":               {headers: []tar.Header{first, {Name: "../a"}}, want: "no place"},
		"up in the middle": {headers: []tar.Header{first, {Name: "a/../../b"}}, want: "no place"},
		"absolute":         {headers: []tar.Header{first, {Name: "/etc/passwd"}}, want: "no place"},
		"hidden":           {headers: []tar.Header{first, {Name: "a/.b"}}, want: "no place"},
		"twice":            {headers: []tar.Header{first, {Name: "a"}, {Name: "a"}}, want: "no place"},
		"manifest twice":   {headers: []tar.Header{first, first}, want: "no place"},
		"attributes":       {headers: []tar.Header{first, {Name: "a", PAXRecords: map[string]string{"SCHILY.xattr.user.a": "b"}, Format: tar.FormatPAX}}, want: "no plain file"},
		"nothing":          {want: "empty"},
		"too many": {headers: func() []tar.Header {
			all := []tar.Header{first}
			for i := range maxBundleFiles {
				all = append(all, tar.Header{Name: fmt.Sprint("f", i)})
			}
			return all
		}(), want: "more than"},
	} {
		data := archive(t, c.headers...)
		files, err := readBundle(bytes.NewReader(data), int64(len(data)))
		switch {
		case c.want == "" && (err != nil || len(files) != len(c.headers)):
			t.Errorf("%s: %v, %v", name, files, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s: %v", name, err)
		}
	}
	whole := archive(t, first, tar.Header{Name: "a", Size: 1000}, tar.Header{Name: "b", Size: 512})
	for n := 1024; n < len(whole); n++ {
		if _, err := readBundle(bytes.NewReader(whole[:n]), int64(n)); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Fatalf("cut at %d of %d: %v", n, len(whole), err)
		}
	}
}

func TestBundleIsWrittenWholeOrNotAtAll(t *testing.T) {
	p := pack(t)
	before, err := os.ReadFile(p.path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	if _, _, err := p.made.Write(ctx, &Fetcher{}, p.path, func(done, _ int64) {
		if done > 500_000 {
			cancel()
		}
	}); err == nil {
		t.Error("it was not stopped")
	}
	full := &Fetcher{Free: func(string) (int64, uint64, error) { return 1 << 20, 1, nil }}
	if _, _, err := p.made.Write(t.Context(), full, p.path, func(int64, int64) {}); !reason.Is(err, reason.DownloadNoSpace) {
		t.Errorf("err = %v", err)
	}
	if after, err := os.ReadFile(p.path); err != nil || !bytes.Equal(after, before) {
		t.Errorf("the bundle is another one, %v", err)
	}
	if left, _ := filepath.Glob(filepath.Dir(p.path) + "/*"); len(left) != 1 {
		t.Errorf("left: %v", left)
	}
}

func TestParseMirrors(t *testing.T) {
	for list, want := range map[string]string{
		"": "[]", "https://a": "[https://a]", "https://a/x, http://b:1,origin": "[https://a/x http://b:1 ]", "origin": "[]",
	} {
		if got, err := ParseMirrors(list); err != nil || fmt.Sprint(got) != want {
			t.Errorf("%q: %v, %v", list, got, err)
		}
	}
	for _, list := range []string{",", "https://a,", "a", BundleBase, "https://a,bundle://file", "https://u:s3cret@a", "https://b,https://u:s3cret@a/%", "u:s3cret@a", strings.Repeat("https://a,", maxSources) + "https://b"} {
		if got, err := ParseMirrors(list); !reason.Is(err, reason.Usage) || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%q: %v, %v", list, got, err)
		}
	}
}

func FuzzReadBundle(f *testing.F) {
	first := tar.Header{Name: bundleManifest, Size: 10}
	f.Add(archive(f, first, tar.Header{Name: "a", Size: 513}))
	f.Add(archive(f, first, tar.Header{Name: strings.Repeat("a/", 150) + "file", Size: 3}))
	f.Add(archive(f, first, tar.Header{Name: "a", Typeflag: tar.TypeSymlink, Linkname: "b"}))
	f.Fuzz(func(t *testing.T, data []byte) {
		files, err := readBundle(bytes.NewReader(data), int64(len(data)))
		if err != nil {
			return
		}
		if _, ok := files[bundleManifest]; !ok {
			t.Error("no manifest")
		}
		for name, s := range files {
			if s.at < 512 || s.size < 0 || s.at+s.size > int64(len(data)) || strings.Contains(name, "..") && strings.Contains("/"+name, "/.") || strings.HasPrefix(name, "/") {
				t.Errorf("%q: %+v of %d", name, s, len(data))
			}
		}
	})
}

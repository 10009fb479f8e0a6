package artifact

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/pipeopshq/pipeops-agent/internal/artifact/manifest"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

// BundleBase is the base of a mirror that is a bundle: see [Bundle.Client].
const BundleBase = "bundle://file"

const (
	bundleManifest = "manifest.json"
	bundleAgent    = "pipeops-agent"
	// maxBundleFiles bounds the files of a bundle: ours have five, and a rotation of the keys for each year.
	maxBundleFiles = 256
)

// Bundle is a tar archive with the signed manifest, as its first file manifest.json, and files that it lists, each under
// the path that it has at every mirror. Beside them there is pipeops-agent, the program for the machine, for people. A bundle is one more mirror:
// nothing in it is believed that the manifest does not prove.
type Bundle struct {
	path  string
	file  *os.File
	files map[string]section
}

// section is where a file lies in the archive, in bytes.
type section struct{ at, size int64 }

// OpenBundle opens a bundle and looks what it holds. A file that is none is a [reason.BundleInvalid], one without its end
// a [reason.BundleTruncated].
func OpenBundle(path string) (*Bundle, error) {
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a pipe must not keep us waiting
	if err != nil {
		return nil, reason.New(reason.BundleInvalid, "the bundle cannot be opened", err).WithFix("look whether the path is right")
	}
	b := &Bundle{path: path, file: file}
	st, err := file.Stat()
	if err == nil && !st.Mode().IsRegular() {
		err = errors.New("it is no regular file")
	}
	if err == nil {
		b.files, err = readBundle(file, st.Size())
	}
	if err != nil {
		file.Close()
		if errors.Is(err, io.ErrUnexpectedEOF) {
			return nil, reason.Newf(reason.BundleTruncated, "%s has %d bytes, and they end before it does", path, st.Size())
		}
		return nil, reason.New(reason.BundleInvalid, path, err)
	}
	return b, nil
}

// Close closes the file.
func (b *Bundle) Close() error { return b.file.Close() }

// readBundle finds the files of an archive of so many bytes. An end that is missing is an [io.ErrUnexpectedEOF].
func readBundle(r io.ReadSeeker, size int64) (map[string]section, error) {
	name := regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._+~@-]*(/[A-Za-z0-9_][A-Za-z0-9._+~@-]*)*$`) // as manifests have paths
	files := map[string]section{}
	archive, end := tar.NewReader(r), int64(0)
	for {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil && len(files) == 0 {
			return nil, fmt.Errorf("it is no tar archive: %s", err.Error())
		}
		if err != nil {
			return nil, err
		}
		at, err := r.Seek(0, io.SeekCurrent)
		if err != nil {
			return nil, err
		}
		_, double := files[h.Name]
		switch {
		case len(files) == 0 && h.Name != bundleManifest:
			return nil, fmt.Errorf("it begins with %.80q, not with %s", h.Name, bundleManifest)
		case h.Typeflag != tar.TypeReg, slices.ContainsFunc(slices.Collect(maps.Keys(h.PAXRecords)), func(k string) bool { return k != "path" }):
			return nil, fmt.Errorf("%.80q in it is no plain file", h.Name)
		case !name.MatchString(h.Name), double, h.Size < 0, h.Size > maxSize:
			return nil, fmt.Errorf("it has no place for a file %.80q of %d bytes", h.Name, h.Size)
		case len(files) == maxBundleFiles:
			return nil, fmt.Errorf("it has more than %d files", maxBundleFiles)
		}
		files[h.Name], end = section{at, h.Size}, at+(h.Size+511)/512*512
	}
	switch {
	case len(files) == 0:
		return nil, errors.New("it is empty")
	case size < end+1024: // two empty blocks are the end of an archive
		return nil, io.ErrUnexpectedEOF
	}
	return files, nil
}

// Check finds early what an install of a product would find late: that the bundle is for another architecture, a
// [reason.BundleArch], or of another version, a [reason.BundleLacks]. The manifest is not verified yet.
func (b *Bundle) Check(product, version, arch string, roles ...string) error {
	m, err := b.peek()
	if err != nil {
		return reason.New(reason.BundleInvalid, b.path, err)
	}
	for _, role := range roles {
		if f, ok := m.Find(product, version, arch, role); ok {
			if _, ok := b.files[f.Path]; ok {
				continue
			}
		}
		has, here := b.has(m, product, role)
		what := fmt.Sprintf("%s has no %s of %s %s for %s; it has ", b.path, role, product, version, arch)
		switch {
		case len(has) == 0:
			return reason.Newf(reason.BundleLacks, "%snone at all", what)
		case !slices.Contains(here, arch) && !slices.Contains(here, ""):
			return reason.Newf(reason.BundleArch, "%s%s", what, strings.Join(has, ", "))
		}
		return reason.Newf(reason.BundleLacks, "%s%s", what, strings.Join(has, ", "))
	}
	return nil
}

// has lists the releases in the bundle that have the file of this role, and for which architectures.
func (b *Bundle) has(m manifest.Manifest, product, role string) (releases, archs []string) {
	for _, f := range m.Files {
		if _, ok := b.files[f.Path]; ok && f.Product == product && f.Name == role {
			releases, archs = append(releases, f.Version+" for "+f.Arch), append(archs, f.Arch)
		}
	}
	return releases, archs
}

// peek reads the manifest without asking who signed it.
func (b *Bundle) peek() (manifest.Manifest, error) {
	at := b.files[bundleManifest]
	if at.size > manifest.MaxEnvelope {
		return manifest.Manifest{}, errors.New("its manifest is too long")
	}
	data, err := io.ReadAll(io.NewSectionReader(b.file, at.at, at.size))
	if err != nil {
		return manifest.Manifest{}, err
	}
	e, err := manifest.ParseEnvelope(data)
	if err != nil {
		return manifest.Manifest{}, err
	}
	payload, err := e.Bytes()
	if err != nil {
		return manifest.Manifest{}, err
	}
	return manifest.Parse(payload)
}

// Client returns a client that finds below [BundleBase] what is in the bundle, and nothing anywhere else.
func (b *Bundle) Client() *http.Client { return &http.Client{Transport: bundleTransport{b}} }

type bundleTransport struct{ *Bundle }

// RoundTrip answers as a mirror does that knows ranges.
func (b bundleTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	if err := req.Context().Err(); err != nil {
		return nil, err
	}
	name := strings.TrimPrefix(req.URL.Path, "/")
	if name == manifest.Path {
		name = bundleManifest
	}
	f, ok := b.files[name]
	if !ok || req.URL.Scheme+"://"+req.URL.Host != BundleBase {
		return nil, reason.Newf(reason.BundleLacks, "%s has no %s", b.path, name)
	}
	resp := &http.Response{StatusCode: http.StatusOK, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: http.Header{}, Request: req}
	from := int64(0)
	if text, ok := strings.CutPrefix(req.Header.Get("Range"), "bytes="); ok {
		n, err := strconv.ParseInt(strings.TrimSuffix(text, "-"), 10, 64)
		if err != nil || n < 0 {
			return nil, fmt.Errorf("cannot give the range %q of a bundle", text)
		}
		if from, resp.StatusCode = n, http.StatusPartialContent; from >= f.size {
			from, resp.StatusCode = f.size, http.StatusRequestedRangeNotSatisfiable
			resp.Header.Set("Content-Range", fmt.Sprintf("bytes */%d", f.size))
		} else {
			resp.Header.Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, f.size-1, f.size))
		}
	}
	resp.Status = fmt.Sprintf("%d %s", resp.StatusCode, http.StatusText(resp.StatusCode))
	resp.ContentLength = f.size - from
	resp.Body = io.NopCloser(until(req.Context(), io.NewSectionReader(b.file, f.at+from, f.size-from)))
	return resp, nil
}

// readerFunc is a function as a reader.
type readerFunc func(p []byte) (int, error)

func (r readerFunc) Read(p []byte) (int, error) { return r(p) }

// until returns a reader that ends with the context.
func until(ctx context.Context, r io.Reader) io.Reader {
	return readerFunc(func(p []byte) (int, error) {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		return r.Read(p)
	})
}

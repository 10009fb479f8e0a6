package artifact

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/pipeopshq/pipeops-agent/internal/artifact/manifest"
	"github.com/pipeopshq/pipeops-agent/internal/atomicfile"
)

// Bundled is what a bundle is made of.
type Bundled struct {
	Envelope  []byte            // the signed manifest
	Created   time.Time         // of the manifest, and of every file in the bundle: the same content gives the same bytes
	Rotations map[string][]byte // of the trusted keys, by path
	Files     []manifest.File   // downloaded already
	Dir       string            // to where
	Agent     string            // the program for the machine
}

// Gather fetches what a bundle with these files needs into dir: the newest manifest, the rotations that lead to the keys
// that signed it, the files. pick chooses from the manifest; progress is called by one goroutine at a time.
func Gather(ctx context.Context, f *Fetcher, m *Manifests, dir string, pick func(manifest.Manifest) ([]manifest.File, error), progress func(done, total int64)) (Bundled, error) {
	b := Bundled{Dir: dir, Rotations: map[string][]byte{}}
	taken, err := m.Fetch(ctx, f)
	if err != nil {
		return b, err
	}
	b.Created = taken.Created
	if b.Files, err = pick(taken); err != nil {
		return b, err
	}
	if b.Envelope, err = atomicfile.Read(m.keptPath(), manifest.MaxEnvelope); err != nil {
		return b, fmt.Errorf("cannot read the manifest that was fetched: %w", err)
	}
	v := m.verifier(accepted{}) // as a machine that knows nothing yet
	for v.Trust.Serial < m.Trusted().Serial {
		path := fmt.Sprintf(manifest.RotationPath, v.Trust.Serial+1)
		if b.Rotations[path], v.Trust, err = m.rotationFromAny(ctx, f, path, v); err != nil {
			return b, err
		}
	}
	return b, f.fetchAll(ctx, m, b.Files, dir, progress)
}

// rotationFromAny fetches a rotation from the first mirror that has one which leads on from where the verifier is.
func (m *Manifests) rotationFromAny(ctx context.Context, f *Fetcher, path string, v manifest.Verifier) (data []byte, next manifest.Trust, err error) {
	for _, url := range m.URLs(manifest.File{Origin: manifest.Origin, Path: path}) {
		if data, err = f.text(ctx, url, manifest.MaxEnvelope); err == nil {
			next, err = v.Rotation(data)
			err = at(url, err)
		}
		if err == nil || ctx.Err() != nil {
			break
		}
	}
	return data, next, err
}

// fetchAll downloads files at once.
func (f *Fetcher) fetchAll(ctx context.Context, m *Manifests, files []manifest.File, dir string, progress func(done, total int64)) error {
	total := int64(0)
	downloads := make([]Download, len(files))
	for i, file := range files {
		total += file.Bytes
		downloads[i] = Download{URLs: m.URLs(file), SHA256: file.SHA256, Bytes: file.Bytes, Dir: dir}
	}
	if err := f.Fits(downloads...); err != nil {
		return err
	}
	var mu sync.Mutex
	done := make([]int64, len(files))
	report := func(i int, n int64) {
		mu.Lock()
		defer mu.Unlock()
		done[i] = n
		sum := int64(0)
		for _, n := range done {
			sum += n
		}
		progress(sum, total)
	}
	group, ctx := errgroup.WithContext(ctx)
	for i, d := range downloads {
		group.Go(func() error {
			err := f.Fetch(ctx, d, func(n, _ int64) { report(i, n) })
			if err == nil {
				report(i, d.Bytes)
			}
			return err
		})
	}
	return group.Wait()
}

// Write writes the bundle, in place of what is at path only when it is whole, and returns its size and SHA-256.
func (b Bundled) Write(ctx context.Context, f *Fetcher, path string, progress func(done, total int64)) (size int64, digest string, err error) {
	parts := []entry{{name: bundleManifest, mode: 0o644, data: b.Envelope}, {name: bundleAgent, mode: 0o755, from: b.Agent}}
	for _, path := range slices.Sorted(maps.Keys(b.Rotations)) {
		parts = append(parts, entry{name: path, mode: 0o644, data: b.Rotations[path]})
	}
	for _, file := range b.Files {
		parts = append(parts, entry{name: file.Path, mode: 0o644, from: filepath.Join(b.Dir, file.SHA256)})
	}
	var readers []io.Reader
	for _, p := range parts {
		r, n, err := p.reader(b.Created)
		if err != nil {
			return 0, "", err
		}
		if c, ok := r.(io.Closer); ok {
			defer c.Close()
		}
		readers, size = append(readers, r), size+n
	}
	readers, size = append(readers, bytes.NewReader(make([]byte, 1024))), size+1024
	dir := filepath.Dir(path)
	if err := f.checkSpace(Download{Dir: dir}, size, size); err != nil {
		return 0, "", err
	}
	hash := sha256.New()
	content, written := io.TeeReader(until(ctx, io.MultiReader(readers...)), hash), int64(0)
	err = atomicfile.Copy(path, 0o644, readerFunc(func(p []byte) (int, error) {
		n, err := content.Read(p)
		if written += int64(n); errors.Is(err, io.EOF) && written != size {
			err = errors.New("a file has changed while it was written")
		}
		progress(written, size)
		return n, err
	}))
	if err != nil {
		return 0, "", noSpace(dir, err)
	}
	return size, hex.EncodeToString(hash.Sum(nil)), nil
}

// entry is one file of the archive: bytes, or a file.
type entry struct {
	name, from string
	data       []byte
	mode       int64
}

// reader returns the file as the archive has it, with its header and up to a full block, and the number of those bytes.
func (p entry) reader(at time.Time) (io.Reader, int64, error) {
	size := int64(len(p.data))
	var content io.Reader = bytes.NewReader(p.data)
	var closer io.Closer = io.NopCloser(nil)
	if p.from != "" {
		file, err := os.Open(p.from)
		if err != nil {
			return nil, 0, fmt.Errorf("cannot put %s into the bundle: %w", p.name, err)
		}
		st, err := file.Stat()
		if err != nil {
			return nil, 0, errors.Join(err, file.Close())
		}
		content, closer, size = io.LimitReader(file, st.Size()), file, st.Size()
	}
	var header bytes.Buffer
	w := tar.NewWriter(&header)
	if err := w.WriteHeader(&tar.Header{Name: p.name, Size: size, Mode: p.mode, ModTime: at.UTC().Truncate(time.Second), Typeflag: tar.TypeReg}); err != nil {
		return nil, 0, errors.Join(fmt.Errorf("cannot put %s into the bundle: %w", p.name, err), closer.Close())
	}
	fill := (512 - size%512) % 512
	n := int64(header.Len()) + size + fill
	return struct {
		io.Reader
		io.Closer
	}{io.MultiReader(&header, content, bytes.NewReader(make([]byte, fill))), closer}, n, nil
}

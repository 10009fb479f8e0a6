package artifact

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"

	"github.com/pipeopshq/pipeops-agent/internal/atomicfile"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

const (
	// DefaultMirror is where k3s publishes its releases.
	DefaultMirror = "https://github.com/k3s-io/k3s/releases"
	// maxSums bounds a list of digests, in bytes: those of k3s have half a kilobyte.
	maxSums = 64 << 10
)

// Release is a k3s release at a mirror that is laid out as GitHub's: BASE/download/VERSION/FILE.
type Release struct {
	Base       string // "" means DefaultMirror
	Version    string // v1.33.2+k3s1
	Arch       string // amd64 or arm64
	SumsDigest string // SHA-256 of the release's list of digests, if it is known; else the list is trusted as it comes
	Dir        string // where downloads are prepared and the list is kept

	mu   sync.Mutex
	sums Sums
}

// Binary is the name of the k3s binary in the release.
func (r *Release) Binary() string {
	if r.Arch == "amd64" {
		return "k3s"
	}
	return "k3s-" + r.Arch
}

// Images is the name of the archive of images in the release.
func (r *Release) Images() string { return "k3s-airgap-images-" + r.Arch + ".tar.zst" }

func (r *Release) list() string { return "sha256sum-" + r.Arch + ".txt" }

// URL returns the address of a file of the release. The + of the version is escaped, as GitHub wants it.
func (r *Release) URL(file string) string {
	base := r.Base
	if base == "" {
		base = DefaultMirror
	}
	version := strings.ReplaceAll(url.PathEscape(r.Version), "+", "%2B")
	return strings.TrimRight(base, "/") + "/download/" + version + "/" + url.PathEscape(file)
}

// Check finds a version, architecture or mirror that cannot be.
func (r *Release) Check() error {
	if !regexp.MustCompile(`^v1\.[0-9]{1,3}\.[0-9]{1,3}(-rc[0-9]{1,2})?\+k3s[0-9]{1,2}$`).MatchString(r.Version) {
		return reason.Newf(reason.Usage, "%q is no version of k3s, such as v1.33.2+k3s1", r.Version)
	}
	if r.Arch != "amd64" && r.Arch != "arm64" {
		return reason.Newf(reason.HostArch, "k3s has no release for %s", r.Arch)
	}
	u, err := url.Parse(r.URL("k3s"))
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || u.User != nil || u.RawQuery != "" {
		return reason.Newf(reason.Usage, "%q is no address of a mirror, such as https://mirror.example/k3s", r.Base)
	}
	return nil
}

// Digest returns the SHA-256 of a file of the release. The list is fetched once and kept in Dir, so that a second run
// needs no network to see that nothing is to do.
func (r *Release) Digest(ctx context.Context, f *Fetcher, file string) (string, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.sums == nil {
		sums, err := r.load(ctx, f)
		if err != nil {
			return "", err
		}
		r.sums = sums
	}
	sum, ok := r.sums[file]
	if !ok {
		return "", reason.Newf(reason.DownloadFailed, "%s does not list %s", r.URL(r.list()), file)
	}
	return sum, nil
}

// Known is Digest without the network: "" when no earlier run has kept the list.
func (r *Release) Known(file string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.sums == nil {
		if data, err := readBounded(r.kept()); err == nil {
			r.sums, _ = r.judge(data) // a bad list is fetched anew
		}
	}
	return r.sums[file]
}

// Forget drops the list, after a file did not have the digest that it says.
func (r *Release) Forget() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sums = nil
	return atomicfile.Remove(r.kept())
}

// kept is where the list of this mirror and version is kept.
func (r *Release) kept() string {
	id := sha256.Sum256([]byte(r.URL(r.list())))
	return filepath.Join(r.Dir, "sums-"+hex.EncodeToString(id[:8])+".txt")
}

func (r *Release) load(ctx context.Context, f *Fetcher) (Sums, error) {
	if data, err := readBounded(r.kept()); err == nil {
		if sums, err := r.judge(data); err == nil {
			return sums, nil
		}
	}
	data, err := f.text(ctx, r.URL(r.list()))
	if err != nil {
		return nil, err
	}
	sums, err := r.judge(data)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(r.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("cannot make the download folder: %w", err)
	}
	if err := atomicfile.Write(r.kept(), 0o600, data); err != nil {
		return nil, noSpace(r.Dir, err)
	}
	return sums, nil
}

func (r *Release) judge(data []byte) (Sums, error) {
	sum := sha256.Sum256(data)
	if got := hex.EncodeToString(sum[:]); r.SumsDigest != "" && got != r.SumsDigest {
		return nil, reason.Newf(reason.DownloadDigest, "%s has SHA-256 %s, not %s", r.URL(r.list()), got, r.SumsDigest)
	}
	sums, err := ParseSums(data)
	if err != nil {
		return nil, reason.New(reason.DownloadFailed, r.URL(r.list()), err)
	}
	return sums, nil
}

// text fetches a short text, with the attempts of a download.
func (f *Fetcher) text(ctx context.Context, url string) ([]byte, error) {
	for attempt := 1; ; attempt++ {
		data, err := f.textOnce(ctx, url)
		if err == nil {
			return data, nil
		}
		if ctx.Err() != nil {
			return nil, fmt.Errorf("cannot fetch %s: %w", url, errors.Join(ctx.Err(), err))
		}
		t := (*transientError)(nil)
		if !errors.As(err, &t) {
			return nil, err
		}
		if attempt >= maxAttempts {
			return nil, reason.New(t.code, url, t.err)
		}
		f.log().Info("download interrupted, trying again", "url", url, "err", err)
		if err := f.pause(ctx, attempt); err != nil {
			return nil, fmt.Errorf("cannot fetch %s: %w", url, err)
		}
	}
}

func (f *Fetcher) textOnce(ctx context.Context, url string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, defaultStall)
	defer cancel()
	resp, err := f.get(ctx, url, 0)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxSums+1))
	switch {
	case len(data) > maxSums:
		return nil, reason.Newf(reason.DownloadFailed, "%s has more than %d bytes", url, maxSums)
	case err != nil:
		return nil, &transientError{reason.DownloadTruncated, err}
	case resp.StatusCode != http.StatusOK:
		return nil, reason.Newf(reason.DownloadFailed, "%s: the server answers %s", url, resp.Status)
	}
	return data, nil
}

func readBounded(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxSums))
}

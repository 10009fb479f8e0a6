// Package artifact downloads files whose digest is known, and gets the signed manifest that has the digests. A download has
// several sources, each as good as the other, and is resumed where it was cut, within a run and by the next one; nothing
// that has another digest ever gets its final name.
package artifact

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"sync"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/atomicfile"
	"github.com/pipeopshq/pipeops-agent/internal/proxy"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

const (
	// maxAttempts bounds the attempts in a row that bring nothing; an attempt that brings bytes starts the count anew.
	maxAttempts = 5
	// firstPause doubles with each attempt that brings nothing: 5 attempts take 4.5 s on average, short enough for
	// somebody who waits and mistyped the mirror.
	firstPause = 400 * time.Millisecond
	// defaultStall is how long a connection may take for minGain bytes; giveWay is the same where another source is left.
	defaultStall = 30 * time.Second
	giveWay      = 10 * time.Second
	// defaultStagger is how long a source has for its first byte before the next one is asked too. RFC 8305 has 250 ms for
	// one TCP connection; this is TLS and the redirect of GitHub to its store, three connections' worth.
	defaultStagger = 800 * time.Millisecond
	// maxSize bounds a download, in bytes: the largest file of a k3s release is 0.7 GB.
	maxSize = 4 << 30
	// maxSources bounds the sources of one download.
	maxSources = 16
)

// minGain is how many bytes an attempt must bring to count as one that got on: a mirror that gives a byte at a time must
// not hold an install up for ever.
const minGain = 64 << 10

// Fetcher downloads. The zero value works.
type Fetcher struct {
	Client  *http.Client                                            // nil: [NewClient] with the proxy of the environment
	Log     *slog.Logger                                            // nil: none
	Stall   time.Duration                                           // 0: 30 s, or 10 s where another source is left
	Stagger time.Duration                                           // 0: 0.8 s
	Free    func(dir string) (free int64, device uint64, err error) // bytes; nil: statfs
	Pause   func(context.Context, time.Duration) error              // nil: waits

	once sync.Once
	own  *http.Client
}

// Download is one file to fetch.
type Download struct {
	URLs   []string // where the file is, in the order of preference: mirrors, then the origin
	SHA256 string   // in hexadecimal; it is also the file's name
	Bytes  int64    // its size; 0 is unknown
	Dir    string   // where it is prepared
	Dest   string   // the folder where it will be placed, "" if it stays in Dir; its file system needs the space too
}

// Path is where the finished download lies: Dir and the digest.
func (d Download) Path() string { return filepath.Join(d.Dir, d.SHA256) }

func (d Download) part() string { return d.Path() + ".part" }

func (d Download) check() error {
	switch {
	case !regexp.MustCompile(`^[0-9a-f]{64}$`).MatchString(d.SHA256):
		return fmt.Errorf("cannot fetch %v: %q is no SHA-256", d.URLs, d.SHA256)
	case len(d.URLs) == 0 || len(d.URLs) > maxSources:
		return fmt.Errorf("cannot fetch %s: it has %d sources, not 1 to %d", d.SHA256, len(d.URLs), maxSources)
	case d.Bytes < 0 || d.Bytes > maxSize:
		return reason.Newf(reason.DownloadFailed, "%s has %d bytes, more than any release", d.URLs[0], d.Bytes)
	}
	return nil
}

// Fetch downloads the file to d.Path, synced, with mode 0600, unless it is there. The sources are asked one after the
// other, at short intervals, until one delivers; where that one is cut or stalls, the rest is asked of the others.
// progress, if not nil, is told the bytes that are there and their total, 0 if unknown. Errors that a user may meet are
// [reason.DownloadFailed], [reason.DownloadTruncated], [reason.DownloadDigest] and [reason.DownloadNoSpace].
func (f *Fetcher) Fetch(ctx context.Context, d Download, progress func(done, total int64)) error {
	if err := d.check(); err != nil {
		return err
	}
	if st, err := os.Stat(d.Path()); err == nil && st.Mode().IsRegular() {
		return nil // it got this name after its digest was checked and it was synced
	}
	if err := os.MkdirAll(d.Dir, 0o700); err != nil {
		return fmt.Errorf("cannot make the download folder: %w", err)
	}
	p, err := openPart(d.part())
	if err != nil {
		return noSpace(d.Dir, err)
	}
	defer p.close()
	if d.Bytes > 0 && p.size > d.Bytes {
		if err := p.restart(); err != nil {
			return noSpace(d.Dir, err)
		}
	}
	if d.Bytes > 0 {
		if err := f.checkSpace(d, d.Bytes-p.size, d.Bytes); err != nil {
			return err
		}
	}
	if err := newTransfer(f, d, p, progress).run(ctx); err != nil {
		if p.size == 0 { // nothing to go on with
			err = errors.Join(err, atomicfile.Remove(d.part()))
		}
		return err
	}
	if err := p.file.Sync(); err != nil {
		return noSpace(d.Dir, err)
	}
	if err := os.Rename(d.part(), d.Path()); err != nil {
		return fmt.Errorf("cannot finish %s: %w", d.Path(), err)
	}
	return atomicfile.SyncDir(d.Dir)
}

// transientError is worth another attempt; code is what it becomes after the last one.
type transientError struct {
	code reason.Code
	err  error
}

func (t *transientError) Error() string { return t.err.Error() }
func (t *transientError) Unwrap() error { return t.err }

// get sends the request and judges the status.
func (f *Fetcher) get(ctx context.Context, address string, from int64) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, reason.New(reason.DownloadFailed, address, err)
	}
	if from > 0 {
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-", from))
	}
	resp, err := f.client().Do(req)
	if err != nil {
		if u := (*url.Error)(nil); errors.As(err, &u) {
			err = u.Err // the address is told anyway
		}
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		if known := (*reason.Error)(nil); errors.As(err, &known) { // of a bundle
			return nil, known
		}
		if refused := (*refusedError)(nil); errors.As(err, &refused) && refused.final() {
			return nil, refused.reason(address)
		}
		return nil, &transientError{reason.DownloadFailed, err}
	}
	switch code := resp.StatusCode; {
	case code == http.StatusOK,
		code == http.StatusPartialContent && from > 0 && rangeStart(resp.Header.Get("Content-Range")) == from,
		code == http.StatusRequestedRangeNotSatisfiable && from > 0:
		return resp, nil
	case code >= 500, code == http.StatusTooManyRequests, code == http.StatusRequestTimeout:
		resp.Body.Close()
		return nil, &transientError{reason.DownloadFailed, fmt.Errorf("the server answers %s", status(code))}
	case code == http.StatusProxyAuthRequired:
		resp.Body.Close()
		return nil, (&refusedError{code}).reason(address)
	}
	resp.Body.Close()
	return nil, reason.Newf(reason.DownloadFailed, "%s: the server answers %s", address, status(resp.StatusCode))
}

func (f *Fetcher) client() *http.Client {
	if f.Client != nil {
		return f.Client
	}
	f.once.Do(func() { f.own = NewClient(proxy.FromEnvironment(os.Getenv)) })
	return f.own
}

func (f *Fetcher) stagger() time.Duration {
	if f.Stagger > 0 {
		return f.Stagger
	}
	return defaultStagger
}

// stall is how long a connection may take for minGain bytes; others is how many other sources are left.
func (f *Fetcher) stall(others int) time.Duration {
	switch {
	case f.Stall > 0:
		return f.Stall
	case others > 0:
		return giveWay
	}
	return defaultStall
}

func (f *Fetcher) pause(ctx context.Context, attempt int) error {
	d := firstPause << (attempt - 1)
	d = d/2 + rand.N(d/2)
	if f.Pause != nil {
		return f.Pause(ctx, d)
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

func (f *Fetcher) log() *slog.Logger {
	if f.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return f.Log
}

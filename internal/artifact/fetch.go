// Package artifact downloads files whose digest is known, and gets the signed manifest that has the digests. A download is
// resumed where it was cut, within a run and by the next one; nothing that has another digest ever gets its final name.
package artifact

import (
	"context"
	"errors"
	"fmt"
	"io"
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
	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

const (
	// maxAttempts bounds the attempts in a row that bring nothing; an attempt that brings bytes starts the count anew.
	maxAttempts = 5
	// firstPause doubles with each attempt that brings nothing: 5 attempts take 4.5 s on average, short enough for
	// somebody who waits and mistyped the mirror.
	firstPause = 400 * time.Millisecond
	// defaultStall is how long a connection may bring no byte.
	defaultStall = 30 * time.Second
	// maxSize bounds a download, in bytes: the largest file of a k3s release is 0.7 GB.
	maxSize = 4 << 30
)

// Fetcher downloads. The zero value works.
type Fetcher struct {
	Client *http.Client                                            // nil: [NewClient]
	Log    *slog.Logger                                            // nil: none
	Stall  time.Duration                                           // 0: 30 s
	Free   func(dir string) (free int64, device uint64, err error) // bytes; nil: statfs
	Pause  func(context.Context, time.Duration) error              // nil: waits

	once sync.Once
	own  *http.Client
}

// Download is one file to fetch.
type Download struct {
	URL    string
	SHA256 string // in hexadecimal; it is also the file's name
	Bytes  int64  // its length; 0 means unknown
	Dir    string // where it is prepared
	Dest   string // the folder where it will be placed, "" if it stays in Dir; its file system needs the space too
}

// Path is where the finished download lies: Dir and the digest.
func (d Download) Path() string { return filepath.Join(d.Dir, d.SHA256) }

func (d Download) part() string { return d.Path() + ".part" }

// Fetch downloads the file to d.Path, synced, with mode 0600, unless it is there. progress, if not nil, is told the bytes
// that are there and their total, 0 if unknown. Errors that a user may meet are [reason.DownloadFailed],
// [reason.DownloadTruncated], [reason.DownloadDigest] and [reason.DownloadNoSpace].
func (f *Fetcher) Fetch(ctx context.Context, d Download, progress func(done, total int64)) error {
	if !regexp.MustCompile(`^[0-9a-f]{64}$`).MatchString(d.SHA256) {
		return fmt.Errorf("cannot fetch %s: %q is no SHA-256", d.URL, d.SHA256)
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
	resumed := p.size > 0 // by an earlier run: its bytes may be of another release
	if err := f.fill(ctx, d, p, progress); err != nil {
		return err
	}
	if got := p.digest(); got != d.SHA256 && resumed {
		f.log().Warn("the part of an earlier run does not fit, starting anew", "url", d.URL)
		if err := p.restart(); err != nil {
			return noSpace(d.Dir, err)
		}
		if err := f.fill(ctx, d, p, progress); err != nil {
			return err
		}
	}
	if got := p.digest(); got != d.SHA256 {
		return errors.Join(reason.Newf(reason.DownloadDigest, "%s has SHA-256 %s, the release says %s", d.URL, got, d.SHA256), atomicfile.Remove(d.part()))
	}
	if err := p.file.Sync(); err != nil {
		return noSpace(d.Dir, err)
	}
	if err := os.Rename(d.part(), d.Path()); err != nil {
		return fmt.Errorf("cannot finish %s: %w", d.Path(), err)
	}
	return atomicfile.SyncDir(d.Dir)
}

// minGain is how many bytes an attempt must bring to count as one that got on: a mirror that gives a byte at a time must
// not hold an install up for ever.
const minGain = 64 << 10

// fill brings the part to its full length, by as many attempts as get on.
func (f *Fetcher) fill(ctx context.Context, d Download, p *part, progress func(done, total int64)) error {
	most := p.size
	for attempt := 1; ; attempt++ {
		err := f.attempt(ctx, d, p, progress)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return fmt.Errorf("cannot fetch %s: %w", d.URL, errors.Join(ctx.Err(), err))
		}
		if p.size >= most+minGain {
			most, attempt = p.size, 1
		}
		if t := (*transientError)(nil); !errors.As(err, &t) {
			return err
		} else if attempt >= maxAttempts {
			return reason.New(t.code, d.URL, t.err)
		}
		f.log().Info("download interrupted, trying again", "url", d.URL, "at", p.size, "err", err)
		if err := f.pause(ctx, attempt); err != nil {
			return fmt.Errorf("cannot fetch %s: %w", d.URL, err)
		}
	}
}

// transientError is worth another attempt; code is what it becomes after the last one.
type transientError struct {
	code reason.Code
	err  error
}

func (t *transientError) Error() string { return t.err.Error() }
func (t *transientError) Unwrap() error { return t.err }

// attempt asks for what is missing and appends it to the part.
func (f *Fetcher) attempt(ctx context.Context, d Download, p *part, progress func(done, total int64)) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stall := f.Stall
	if stall == 0 {
		stall = defaultStall
	}
	watch := time.AfterFunc(stall, func() { cancel(fmt.Errorf("no byte for %v", stall)) })
	defer watch.Stop()

	resp, err := f.get(ctx, d.URL, p.size)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	switch {
	case resp.StatusCode == http.StatusRequestedRangeNotSatisfiable: // the part has at least the file's length
		if rangeTotal(resp.Header.Get("Content-Range")) == p.size {
			return nil
		}
		return errors.Join(&transientError{reason.DownloadFailed, errors.New("the part is longer than the file")}, p.restart())
	case resp.StatusCode == http.StatusOK && p.size > 0: // the server knows no ranges
		if err := p.restart(); err != nil {
			return noSpace(d.Dir, err)
		}
	}
	total := int64(0)
	if resp.ContentLength >= 0 {
		total = p.size + resp.ContentLength
	}
	if total > maxSize {
		return reason.Newf(reason.DownloadFailed, "%s has %d bytes, more than any release", d.URL, total)
	}
	if d.Bytes > 0 && total > 0 && total != d.Bytes { // not downloaded to be thrown away
		return errors.Join(reason.Newf(reason.DownloadDigest, "%s has %d bytes, the release says %d", d.URL, total, d.Bytes), atomicfile.Remove(d.part()))
	}
	if err := f.checkSpace(d, total-p.size, total); err != nil {
		return err
	}
	report := func() {
		watch.Reset(stall)
		if progress != nil {
			progress(p.size, total)
		}
	}
	report()
	err = p.readFrom(resp.Body, report)
	if w := (*writeError)(nil); errors.As(err, &w) {
		return errors.Join(noSpace(d.Dir, w.err), p.restart()) // what has come must not keep the machine's disk full
	}
	if cause := context.Cause(ctx); err != nil && cause != nil {
		err = cause
	}
	if err == nil && total > 0 && p.size != total {
		err = fmt.Errorf("%d of %d bytes: %w", p.size, total, io.ErrUnexpectedEOF)
	}
	if err != nil {
		return &transientError{reason.DownloadTruncated, fmt.Errorf("cut at byte %d of %d: %w", p.size, total, err)}
	}
	return nil
}

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
		return nil, &transientError{reason.DownloadFailed, err}
	}
	switch code := resp.StatusCode; {
	case code == http.StatusOK,
		code == http.StatusPartialContent && from > 0 && rangeStart(resp.Header.Get("Content-Range")) == from,
		code == http.StatusRequestedRangeNotSatisfiable && from > 0:
		return resp, nil
	case code >= 500, code == http.StatusTooManyRequests, code == http.StatusRequestTimeout:
		resp.Body.Close()
		return nil, &transientError{reason.DownloadFailed, fmt.Errorf("the server answers %s", resp.Status)}
	}
	resp.Body.Close()
	return nil, reason.Newf(reason.DownloadFailed, "%s: the server answers %s", address, resp.Status)
}

func (f *Fetcher) client() *http.Client {
	if f.Client != nil {
		return f.Client
	}
	f.once.Do(func() { f.own = NewClient() })
	return f.own
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

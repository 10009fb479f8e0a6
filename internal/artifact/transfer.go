package artifact

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

// transfer is a Fetch on its way.
type transfer struct {
	f        *Fetcher
	d        Download
	part     *part
	progress func(done, total int64)

	sources []string        // that may still have the file, in the order in which they are asked
	wrong   []*reason.Error // why the others are asked no more
	poor    map[string]bool // those that failed with next to nothing to show for it
	from    []string        // the sources of what the part holds
	earlier bool            // the part has bytes of an earlier run: they may be of any source, or another release
	alone   bool            // the bytes of several sources did not fit together: from now on each is used by itself
}

func newTransfer(f *Fetcher, d Download, p *part, progress func(done, total int64)) *transfer {
	t := &transfer{f: f, d: d, part: p, progress: progress, poor: map[string]bool{}, earlier: p.size > 0}
	for _, u := range d.URLs {
		if !slices.Contains(t.sources, u) {
			t.sources = append(t.sources, u)
		}
	}
	return t
}

// localError is a fault of this machine: no source helps.
type localError struct{ err error }

func (l *localError) Error() string { return l.err.Error() }

// run brings the part to the file that has the digest.
func (t *transfer) run(ctx context.Context) error {
	for {
		if err := t.fill(ctx); err != nil {
			return err
		}
		got := t.part.digest()
		if got == t.d.SHA256 {
			return nil
		}
		if err := t.blame(got); err != nil {
			return err
		}
	}
}

// blame finds out which source gave the bytes of a wrong file, and starts anew without it. Where the bytes are of several
// sources, each has to show by itself what it gives.
func (t *transfer) blame(got string) error {
	if len(t.from) == 1 && !t.earlier {
		t.drop(t.from[0], reason.Newf(reason.DownloadDigest, "%s has SHA-256 %s, the release says %s", t.from[0], got, t.d.SHA256))
	} else {
		t.f.log().Warn("the parts of the download do not fit together, starting anew", "sources", t.from, "of an earlier run", t.earlier)
		t.alone = len(t.from) > 1
		for _, u := range t.from {
			t.last(u)
		}
	}
	if err := t.restart(); err != nil || len(t.sources) > 0 {
		return err
	}
	return t.failure()
}

func (t *transfer) restart() error {
	t.from, t.earlier = nil, false
	if err := t.part.restart(); err != nil {
		return noSpace(t.d.Dir, err)
	}
	return nil
}

// drop asks a source no more.
func (t *transfer) drop(source string, why *reason.Error) {
	t.f.log().Warn("a source is of no use", "url", source, "err", why)
	t.sources = slices.DeleteFunc(t.sources, func(s string) bool { return s == source })
	t.wrong = append(t.wrong, why)
}

// last makes a source the one that is asked last.
func (t *transfer) last(source string) {
	if i := slices.Index(t.sources, source); i >= 0 {
		t.sources = append(slices.Delete(t.sources, i, i+1), source)
	}
}

// failure says what is wrong with all the sources. A file that is another one than was released tells more than one that
// is not there.
func (t *transfer) failure() error {
	if len(t.wrong) == 1 {
		return t.wrong[0]
	}
	code := t.wrong[len(t.wrong)-1].Code
	var all []string
	for _, w := range t.wrong {
		if w.Code == reason.DownloadDigest {
			code = w.Code
		}
		evidence := w.Evidence
		if w.Err != nil {
			evidence += ": " + w.Err.Error()
		}
		all = append(all, evidence)
	}
	return reason.Newf(code, "%s", strings.Join(all, "; "))
}

// fill brings the part to its full length, by as many rounds as get on.
func (t *transfer) fill(ctx context.Context) error {
	most := t.part.size
	for attempt := 1; ; attempt++ {
		if t.d.Bytes > 0 && t.part.size == t.d.Bytes {
			return nil
		}
		err := t.round(ctx)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return fmt.Errorf("cannot fetch %s: %w", t.d.URLs[0], errors.Join(ctx.Err(), err))
		}
		if local := (*localError)(nil); errors.As(err, &local) {
			return local.err
		}
		if len(t.sources) == 0 {
			return t.failure()
		}
		if t.part.size >= most+minGain {
			most, attempt = t.part.size, 1
		}
		if attempt >= maxAttempts {
			return t.exhausted(err)
		}
		t.f.log().Info("download interrupted, trying again", "at", t.part.size, "sources", t.sources, "err", err)
		if attempt == 1 && len(t.sources) > 1 {
			continue // the next one may be well
		}
		if err := t.f.pause(ctx, attempt); err != nil {
			return fmt.Errorf("cannot fetch %s: %w", t.d.URLs[0], err)
		}
	}
}

// exhausted adds those that would be asked again to those that are of no use.
func (t *transfer) exhausted(err error) error {
	var failed *roundError
	if !errors.As(err, &failed) {
		return err
	}
	for _, s := range failed.all {
		t.wrong = append(t.wrong, reason.New(s.err.code, s.url, s.err.err))
	}
	return t.failure()
}

// roundError is what came of the sources that are worth asking again.
type roundError struct{ all []sourceError }

type sourceError struct {
	url string
	err *transientError
}

func (r *roundError) Error() string {
	var all []string
	for _, s := range r.all {
		all = append(all, s.url+": "+s.err.Error())
	}
	return strings.Join(all, "; ")
}

// round asks the sources for what is missing, and appends what the first one gives. An error other than a localError
// leaves the sources in another order, or fewer of them.
func (t *transfer) round(ctx context.Context) error {
	failed := &roundError{}
	st, err := t.race(ctx, failed)
	if err != nil || st == nil {
		return errors.Join(err, failed)
	}
	defer st.close()
	err = t.take(st)
	if err == nil {
		return nil
	}
	if local := (*localError)(nil); errors.As(err, &local) {
		return err
	}
	t.judge(st.url, t.part.size-st.from, err, failed)
	return failed
}

// judge drops a source that failed for good, and puts off one that did not; gave is how many bytes it has brought.
func (t *transfer) judge(source string, gave int64, err error, failed *roundError) {
	if final := (*reason.Error)(nil); errors.As(err, &final) {
		t.drop(source, final)
		return
	}
	transient := (*transientError)(nil)
	if !errors.As(err, &transient) {
		transient = &transientError{reason.DownloadFailed, err}
	}
	failed.all = append(failed.all, sourceError{source, transient})
	t.poor[source] = gave < minGain
	if !t.alone || t.poor[source] { // alone, a change costs all that has come; but one that gives next to nothing holds up the others
		t.last(source)
	}
}

// begin is the first byte to ask of a source.
func (t *transfer) begin(source string) int64 {
	if t.alone && !slices.Equal(t.from, []string{source}) {
		return 0
	}
	return t.part.size
}

// take appends what a source gives to the part.
func (t *transfer) take(st *stream) error {
	if st.whole {
		t.gives(st.url)
		return nil
	}
	if st.from != t.part.size { // the source knows no ranges, or is used by itself
		if err := t.restart(); err != nil {
			return &localError{err}
		}
	}
	if t.d.Bytes == 0 {
		if err := t.f.checkSpace(t.d, max(0, st.total-st.from), st.total); err != nil {
			return &localError{err}
		}
	}
	mark := t.part.size
	report := func() {
		t.gives(st.url)
		if t.part.size-mark >= minGain {
			mark = t.part.size
			st.alive()
		}
		if t.progress != nil {
			t.progress(t.part.size, st.total)
		}
	}
	limit := int64(maxSize)
	if st.total > 0 {
		limit = st.total
	}
	err := t.part.readFrom(st, limit, report)
	switch w := (*writeError)(nil); {
	case errors.As(err, &w):
		return &localError{errors.Join(noSpace(t.d.Dir, w.err), t.part.restart())} // it must not keep the machine's disk full
	case errors.Is(err, errTooLong):
		return reason.Newf(reason.DownloadDigest, "%s gives more than the %d bytes of the release", st.url, limit)
	case err == nil && st.total > 0 && t.part.size != st.total:
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return &transientError{reason.DownloadTruncated, fmt.Errorf("cut at byte %d of %d: %w", t.part.size, st.total, st.cause(err))}
	}
	return nil
}

// gives remembers that bytes of the part are of this source.
func (t *transfer) gives(source string) {
	if !slices.Contains(t.from, source) {
		t.from = append(t.from, source)
	}
}

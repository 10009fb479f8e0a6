package artifact

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

// stream is a source that has begun to deliver.
type stream struct {
	url   string
	from  int64 // the first byte that it gives
	total int64 // the length of the whole file, 0 if unknown
	whole bool  // the part has the whole file already

	resp   *http.Response
	first  []byte       // of the body, read already
	end    error        // that came with first
	why    func() error // it was cut by us, nil if it was not
	cancel context.CancelCauseFunc
	watch  *time.Timer
	stall  time.Duration
}

func (st *stream) Read(p []byte) (int, error) {
	if len(st.first) > 0 {
		n := copy(p, st.first)
		st.first = st.first[n:]
		return n, nil
	}
	if st.end != nil {
		return 0, st.end
	}
	return st.resp.Body.Read(p)
}

// alive gives it another while.
func (st *stream) alive() { st.watch.Reset(st.stall) }

// cause is why it was cut, if we did it.
func (st *stream) cause(err error) error {
	if why := st.why(); why != nil {
		return why
	}
	return err
}

func (st *stream) close() {
	st.watch.Stop()
	st.cancel(nil)
	if st.resp != nil {
		st.resp.Body.Close()
	}
}

// firstRead is how much is read to see that a source delivers: a small part of what the socket holds.
const firstRead = 4 << 10

// open asks a source, and returns as soon as the first bytes are there.
func (t *transfer) open(ctx context.Context, cancel context.CancelCauseFunc, source string, from int64, stall time.Duration) (_ *stream, err error) {
	st := &stream{url: source, from: from, total: t.d.Bytes, stall: stall, cancel: cancel, why: func() error { return context.Cause(ctx) }}
	st.watch = time.AfterFunc(stall, func() { st.cancel(fmt.Errorf("stalled: less than %d bytes in %v", minGain, stall)) })
	defer func() {
		if err != nil {
			st.close()
		}
	}()
	st.resp, err = t.f.get(ctx, source, from) //nolint:bodyclose // the stream closes it
	if err != nil {
		return nil, err
	}
	if err := st.size(t.d.Bytes); err != nil || st.whole {
		return st, err
	}
	buf := make([]byte, firstRead)
	n, err := st.resp.Body.Read(buf)
	for n == 0 && err == nil {
		n, err = st.resp.Body.Read(buf)
	}
	if n == 0 && !errors.Is(err, io.EOF) {
		return nil, &transientError{reason.DownloadTruncated, fmt.Errorf("cut at byte %d of %d: %w", st.from, st.total, st.cause(err))}
	}
	st.first, st.end = buf[:n], err
	return st, nil
}

// size finds the length of the whole file in the answer, and compares it with what it should be, 0 if that is unknown.
func (st *stream) size(want int64) error {
	var told int64 // below 0 is untold
	ranges := st.resp.Header.Get("Content-Range")
	switch st.resp.StatusCode {
	case http.StatusRequestedRangeNotSatisfiable: // the part has at least the file's length
		told = rangeTotal(ranges)
		st.whole = told == st.from
	case http.StatusOK:
		st.from = 0
		told = st.resp.ContentLength
	default:
		if told = rangeTotal(ranges); told < 0 && st.resp.ContentLength >= 0 {
			told = st.from + st.resp.ContentLength
		}
	}
	switch {
	case want > 0 && told >= 0 && told < want:
		return reason.Newf(reason.DownloadTruncated, "%s has only %d of the %d bytes of the release", st.url, told, want).
			WithFix("use another mirror: the file of this one is cut short")
	case want > 0 && told > want:
		return reason.Newf(reason.DownloadDigest, "%s has %d bytes, the release says %d", st.url, told, want)
	case told > maxSize:
		return reason.Newf(reason.DownloadFailed, "%s has %d bytes, more than any release", st.url, told)
	case st.resp.StatusCode == http.StatusRequestedRangeNotSatisfiable && !st.whole:
		return errLonger
	}
	st.total = max(want, told, 0)
	return nil
}

// errLonger means that the part, of an earlier run, is longer than the file of a source: it is of another release.
var errLonger = errors.New("the part is longer than the file")

// patience is how many times longer than usual others are waited for before a source is asked that has given next to nothing:
// 8 s, less than the time after which a silent one is given up.
const patience = 10

// answer is what came of asking a source.
type answer struct {
	source string
	st     *stream
	err    error
}

// race asks the sources one after the other, each when the one before it has failed or had some time, and returns the
// first that delivers. One that begins at the first byte although there is a part is taken only if no other delivers.
// It returns nil where all have failed; failed then says why. The losers are gone when it returns. A source that is used
// by itself runs alone: else the quickest would win every time, and the others could never show what they give.
func (t *transfer) race(ctx context.Context, failed *roundError) (*stream, error) {
	sources := slices.Clone(t.sources)
	stall := t.f.stall(len(sources) - 1)
	if t.alone && len(sources) > 1 {
		sources = sources[:1]
	}
	answers := make(chan answer, len(sources))
	cancels := make(map[string]context.CancelCauseFunc, len(sources))
	var asked sync.WaitGroup
	next, open := 0, 0
	ask := func() {
		source, from := sources[next], t.begin(sources[next])
		next, open = next+1, open+1
		ctx, cancel := context.WithCancelCause(ctx)
		cancels[source] = cancel
		asked.Go(func() {
			st, err := t.open(ctx, cancel, source, from, stall)
			answers <- answer{source, st, err}
		})
	}
	var won, spare *stream
	longer := false
	due := time.NewTimer(0)
	stagger := func() time.Duration { // one that gave next to nothing must not outrun the others again
		if next < len(sources) && t.poor[sources[next]] {
			return patience * t.f.stagger()
		}
		return t.f.stagger()
	}
	defer due.Stop()
	for won == nil && (open > 0 || next < len(sources) && ctx.Err() == nil) {
		select {
		case <-due.C:
			if next < len(sources) {
				ask()
				due.Reset(stagger())
			}
			continue
		case a := <-answers:
			open--
			switch {
			case a.err != nil:
				longer = longer || errors.Is(a.err, errLonger)
				t.judge(a.source, 0, a.err, failed)
			case a.st.from == t.part.size:
				won = a.st
			case spare == nil:
				spare = a.st
				spare.watch.Stop()
			default:
				a.st.close()
			}
		}
		due.Reset(0) // no reason to wait for the next one
	}
	if won == nil && spare != nil {
		won = spare
		won.alive()
	}
	for source, cancel := range cancels {
		if won == nil || source != won.url {
			cancel(nil)
		}
	}
	asked.Wait()
	for ; open > 0; open-- {
		if a := <-answers; a.st != nil {
			a.st.close()
		}
	}
	if spare != nil && spare != won {
		spare.close()
	}
	if won == nil && longer {
		if err := t.restart(); err != nil {
			return nil, &localError{err}
		}
	}
	return won, nil
}

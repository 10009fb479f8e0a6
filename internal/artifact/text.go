package artifact

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

// text fetches a text of at most so many bytes, with the attempts of a download.
func (f *Fetcher) text(ctx context.Context, url string, most int64) ([]byte, error) {
	for attempt := 1; ; attempt++ {
		data, err := f.textOnce(ctx, url, most)
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

func (f *Fetcher) textOnce(ctx context.Context, url string, most int64) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, defaultStall)
	defer cancel()
	resp, err := f.get(ctx, url, 0)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, most+1))
	switch {
	case int64(len(data)) > most:
		return nil, reason.Newf(reason.DownloadFailed, "%s has more than %d bytes", url, most)
	case err != nil:
		return nil, &transientError{reason.DownloadTruncated, err}
	case resp.StatusCode != http.StatusOK:
		return nil, reason.Newf(reason.DownloadFailed, "%s: the server answers %s", url, status(resp.StatusCode))
	}
	return data, nil
}

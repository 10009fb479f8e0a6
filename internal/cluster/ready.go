package cluster

import (
	"context"
	"errors"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

// How often a layer is asked, and how long one question may take.
const (
	pollEvery   = 200 * time.Millisecond
	pollTimeout = 10 * time.Second
	// A layer that is not there after pollSoon is asked less often, so that the API server is left to its work.
	pollSoon   = 20 * time.Second
	pollSeldom = time.Second
	// cut is how near its end the time of a layer cuts an answer: that is no evidence.
	cut = 100 * time.Millisecond
	// settled is how long a layer must say that it cannot be proved until that is believed: the nodes of a young cluster tell
	// their images, and k3s makes its StorageClass, a moment after the rest.
	settled = 5 * time.Second
)

// Until asks a layer again and again until it works, is known not to be provable, or ctx ends. It returns what was seen, an
// [UnprovableError], or an error of the layer's code with the last answer.
func Until(ctx context.Context, source *Source, layer Layer) (string, error) {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	began, end := time.Now(), time.Now().Add(time.Hour)
	if deadline, ok := ctx.Deadline(); ok {
		end = deadline
	}
	var last error
	var since time.Time // of the first answer in a row that it cannot be proved
	for {
		evidence, err := ask(ctx, source, layer)
		var unprovable *UnprovableError
		switch {
		case err == nil:
			return evidence, nil
		case errors.As(err, &unprovable):
			if since.IsZero() {
				since = time.Now()
			}
			if time.Since(since) >= settled {
				return "", unprovable
			}
		default:
			since = time.Time{}
		}
		if last == nil || ctx.Err() == nil && time.Until(end) > cut {
			last = err
		}
		if time.Since(began) > pollSoon {
			tick.Reset(pollSeldom)
		}
		select {
		case <-ctx.Done():
			return "", reason.New(layer.Code, last.Error(), context.Cause(ctx))
		case <-tick.C:
		}
	}
}

func ask(ctx context.Context, source *Source, layer Layer) (string, error) {
	client, err := source.Client()
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, pollTimeout)
	defer cancel()
	return layer.Check(ctx, client)
}

package tunnel

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/identity"
	"github.com/pipeopshq/pipeops-agent/internal/refusal"
	"github.com/pipeopshq/pipeops-agent/internal/transport"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

const (
	reportInterval = 500 * time.Millisecond // at which events are gathered into one request
	reportTimeout  = 10 * time.Second       // of one request
	maxWaiting     = 1000                   // events; above it the oldest are dropped
)

// Reporter sends the progress of an install to the gateway over HTTPS, before there is a tunnel. It never holds up nor
// fails the install.
type Reporter struct {
	client *http.Client
	url    string
	log    *slog.Logger

	mu      sync.Mutex
	waiting []wire.Event
	wake    chan struct{}
	closing chan struct{}
	stop    context.CancelFunc
	done    sync.WaitGroup
}

// NewReporter starts a reporter that reaches the gateway by way of through; nil is directly. Close ends it.
func NewReporter(id *identity.Identity, through *transport.Dialer, log *slog.Logger) *Reporter {
	client, base := id.Client(through)
	ctx, stop := context.WithCancel(context.Background())
	r := &Reporter{client: client, url: base + wire.PathEvents, log: log,
		wake: make(chan struct{}, 1), closing: make(chan struct{}), stop: stop}
	r.done.Go(func() { r.run(ctx) })
	return r
}

// Send hands over an event and returns at once.
func (r *Reporter) Send(e wire.Event) {
	r.mu.Lock()
	r.waiting = append(r.waiting, e)
	if n := len(r.waiting) - maxWaiting; n > 0 {
		r.waiting = append([]wire.Event(nil), r.waiting[n:]...)
	}
	r.mu.Unlock()
	r.signal()
}

// Close sends what is left, for as long as ctx lasts, and stops the reporter. A request that is under way is not cut off:
// a busy gateway may have stored its events, and would get them twice.
func (r *Reporter) Close(ctx context.Context) error {
	close(r.closing)
	cut := context.AfterFunc(ctx, r.stop)
	r.done.Wait()
	cut()
	r.stop()
	defer r.client.CloseIdleConnections()
	return r.flush(ctx)
}

func (r *Reporter) run(ctx context.Context) {
	for {
		select {
		case <-r.wake:
		case <-r.closing:
			return
		}
		gather := time.NewTimer(reportInterval)
		select {
		case <-gather.C:
		case <-r.closing:
			gather.Stop()
			return
		}
		short, cancel := context.WithTimeout(ctx, reportTimeout)
		err := r.flush(short)
		cancel()
		if err != nil {
			r.log.Debug("progress not reported", "err", err)
			r.signal()
		}
	}
}

func (r *Reporter) signal() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// flush sends everything that waits; what could not be sent waits on.
func (r *Reporter) flush(ctx context.Context) error {
	r.mu.Lock()
	batch := r.waiting
	r.waiting = nil
	r.mu.Unlock()
	if len(batch) == 0 {
		return nil
	}
	err := r.post(ctx, batch)
	if err != nil {
		r.mu.Lock()
		r.waiting = append(batch, r.waiting...)
		r.waiting = r.waiting[max(0, len(r.waiting)-maxWaiting):]
		r.mu.Unlock()
	}
	return err
}

func (r *Reporter) post(ctx context.Context, batch []wire.Event) error {
	var body bytes.Buffer
	lines := json.NewEncoder(&body)
	for _, e := range batch {
		if err := lines.Encode(e); err != nil {
			return fmt.Errorf("cannot write an event: %w", err)
		}
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, r.url, &body)
	if err != nil {
		return fmt.Errorf("cannot make the request: %w", err)
	}
	request.Header.Set("Content-Type", "application/x-ndjson")
	response, err := r.client.Do(request)
	if err != nil {
		return fmt.Errorf("cannot send events: %w", err)
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode >= 300 {
		return refusal.Read(response)
	}
	_, err = io.Copy(io.Discard, io.LimitReader(response.Body, maxSmall))
	return err
}

package tunnel

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/reason"
	"github.com/pipeopshq/pipeops-agent/internal/refusal"
	"github.com/pipeopshq/pipeops-agent/internal/session"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

const (
	// callTimeout bounds a small request and its answer.
	callTimeout = 30 * time.Second
	// DesiredSilence is how long the stream of documents may be silent: the gateway gives a sign of life every 20 to 50 s.
	DesiredSilence = time.Minute
	maxSmall       = 64 << 10 // of small answers
)

// Client asks the gateway over one session. When the session ends its calls fail, and OnSession gets another client.
type Client struct {
	http  *http.Client
	every atomic.Int64 // until an agent pings, as the gateway has told; 0: not yet
}

// Paced is how often to do at this gateway what is to be done every d: with thousands of agents it has each of them do it as much less often as
// it has them ping.
func (c *Client) Paced(d time.Duration) time.Duration {
	return session.Pace(d, time.Duration(c.every.Load()))
}

// Heartbeat tells the gateway how the agent and its cluster are.
func (c *Client) Heartbeat(ctx context.Context, h wire.Heartbeat) error {
	return c.call(ctx, wire.PathHeartbeat, h, nil)
}

// Beat is Heartbeat, and returns what the gateway says to it.
func (c *Client) Beat(ctx context.Context, h wire.Heartbeat) (wire.HeartbeatAnswer, error) {
	var answer wire.HeartbeatAnswer
	err := c.call(ctx, wire.PathHeartbeat, h, &answer)
	return answer, err
}

// RoundTrip has the gateway ask this agent something, and returns nil when that has come and gone: the path that requests of users take is
// whole. The error is GATEWAY_REFUSED if the gateway is too old to know how.
func (c *Client) RoundTrip(ctx context.Context) error {
	return c.call(ctx, wire.PathRoundTrip, struct{}{}, nil)
}

// Status reports on a document.
func (c *Client) Status(ctx context.Context, s wire.Status) error {
	return c.call(ctx, wire.PathStatus, s, nil)
}

// Renew asks for a new certificate; it is an identity.Post.
func (c *Client) Renew(ctx context.Context, r wire.RenewRequest) (wire.RenewResponse, error) {
	var answer wire.RenewResponse
	err := c.call(ctx, wire.PathRenew, r, &answer)
	return answer, err
}

// hello says which process this is. An old gateway, which does not know of that, is one of no name.
func (c *Client) hello(ctx context.Context, h wire.Hello) (wire.Welcome, error) {
	var answer wire.Welcome
	err := c.call(ctx, wire.PathHello, h, &answer)
	var known *notFoundError
	if errors.As(err, &known) {
		return wire.Welcome{}, nil
	}
	return answer, err
}

// handover asks the gateway to give this session no more requests, and to end it after the last one.
func (c *Client) handover(ctx context.Context) error {
	return c.call(ctx, wire.PathHandover, struct{}{}, nil)
}

// notFoundError is the answer of a gateway that does not know a path.
type notFoundError struct{ error }

func (e *notFoundError) Unwrap() error { return e.error }

func (c *Client) call(ctx context.Context, path string, body, answer any) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	raw, err := json.Marshal(body)
	if err != nil {
		return fmt.Errorf("cannot make the request: %w", err)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://gateway"+path, bytes.NewReader(raw))
	if err != nil {
		return fmt.Errorf("cannot make the request: %w", err)
	}
	r.Header.Set("Content-Type", "application/json")
	response, err := c.http.Do(r)
	if err != nil {
		return reason.New(reason.SessionLost, path, err)
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode >= 300 {
		err := refusal.Read(response)
		if response.StatusCode == http.StatusNotFound {
			return &notFoundError{err}
		}
		return err
	}
	if answer == nil || response.StatusCode == http.StatusNoContent {
		_, err = io.Copy(io.Discard, io.LimitReader(response.Body, maxSmall)) // so that the stream can be used again
	} else {
		err = json.NewDecoder(io.LimitReader(response.Body, maxSmall)).Decode(answer)
	}
	if err != nil {
		return reason.New(reason.SessionLost, "the answer to "+path+" was cut", err)
	}
	return nil
}

// Desired calls accept for every document of a higher generation than after, those that are there and those to come, in
// the order of their generations. It returns when ctx or the session ends, when accept fails, or with an error when the
// gateway is silent for DesiredSilence; never with nil.
func (c *Client) Desired(ctx context.Context, after int64, accept func(wire.Document) error) error {
	return c.follow(ctx, url.Values{"after": {strconv.FormatInt(after, 10)}}, accept, func(wire.Lead) error { return nil })
}

// Follow is Desired for a machine that may not be the only one of its cluster: term is that of the documents it holds, and lead
// is called with what the gateway says of who makes them true, in its place between them.
func (c *Client) Follow(ctx context.Context, after, term int64, accept func(wire.Document) error, lead func(wire.Lead) error) error {
	return c.follow(ctx, url.Values{"after": {strconv.FormatInt(after, 10)}, "term": {strconv.FormatInt(term, 10)}}, accept, lead)
}

func (c *Client) follow(ctx context.Context, query url.Values, accept func(wire.Document) error, lead func(wire.Lead) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://gateway"+wire.PathDesired+"?"+query.Encode(), nil)
	if err != nil {
		return fmt.Errorf("cannot make the request: %w", err)
	}
	silence := time.AfterFunc(DesiredSilence, func() {
		cancel(reason.Newf(reason.SessionLost, "no sign of life on %s for %s", wire.PathDesired, DesiredSilence))
	})
	defer silence.Stop()
	lost := func(err error) error {
		if cause := context.Cause(ctx); cause != nil {
			return cause
		}
		return reason.New(reason.SessionLost, wire.PathDesired, err)
	}
	response, err := c.http.Do(r)
	if err != nil {
		return lost(err)
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return refusal.Read(response)
	}
	lines := bufio.NewScanner(response.Body)
	lines.Buffer(nil, wire.MaxDocument)
	for lines.Scan() {
		silence.Reset(DesiredSilence)
		if len(lines.Bytes()) == 0 {
			continue
		}
		var line struct {
			wire.LeadLine
			wire.Document
		}
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			return fmt.Errorf("cannot read a document: %w", err)
		}
		var err error
		if line.Lead != nil {
			err = lead(*line.Lead)
		} else {
			err = accept(line.Document)
		}
		if err != nil {
			return err
		}
	}
	err = lines.Err()
	if err == nil {
		err = errors.New("the gateway ended the stream")
	}
	return lost(err)
}

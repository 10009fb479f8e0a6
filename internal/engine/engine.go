// Package engine speaks the API of a Docker engine on its Unix socket: as much of it as clusters in containers need.
//
// It is our own small client and not github.com/moby/moby/client: that one brings 18 modules, OpenTelemetry among them, for
// a dozen plain requests, and pins one range of API versions with each of its own.
package engine

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// The versions of the API that the requests of this package were written for. What they ask for has not changed between the two:
// 1.40 is that of Docker 19.03, the newest is what Docker 29 speaks.
const (
	oldestAPI = "1.40"
	newestAPI = "1.52"
)

const (
	// Socket is where the engine of a machine answers.
	Socket = "/run/docker.sock"
	// maxAnswer bounds an answer, in bytes: an inspected container has 10 KiB, a list of 1000 of them 2 MiB.
	maxAnswer = 8 << 20
	// maxComplaint bounds what is read of a refusal.
	maxComplaint = 4 << 10
	// askTimeout is for questions, and for changes that are done at once.
	askTimeout = 30 * time.Second
)

// Client asks one engine. Its zero value is of no use: see [Connect].
type Client struct {
	socket string
	api    string // "" asks without a version
	http   *http.Client
}

// Error is an answer by which the engine refuses.
type Error struct {
	Status  int // of HTTP
	Message string
	what    string
}

// Error says what was asked for and how the engine refuses.
func (e *Error) Error() string {
	return fmt.Sprintf("cannot %s: the Docker engine says: %s", e.what, cmp.Or(e.Message, http.StatusText(e.Status)))
}

// NotFound reports whether the engine knows no such thing.
func NotFound(err error) bool { return refused(err, http.StatusNotFound) }

// Conflict reports whether something else still uses the thing.
func Conflict(err error) bool { return refused(err, http.StatusConflict) }

// Forbidden reports whether the engine does not do so, such as to remove a network that containers are in.
func Forbidden(err error) bool { return refused(err, http.StatusForbidden) }

func refused(err error, status int) bool {
	var e *Error
	return errors.As(err, &e) && e.Status == status
}

// At returns a client of the engine behind a socket that asks without a version, so that the engine takes its newest. It does not
// contact it.
func At(socket string) *Client {
	return &Client{socket: socket, http: &http.Client{Transport: &http.Transport{
		DisableCompression: true, MaxIdleConns: 2, IdleConnTimeout: 10 * time.Second,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", socket)
		},
	}}}
}

// Connect returns a client of the engine behind a socket, which speaks a version of the API that both know.
func Connect(ctx context.Context, socket string) (*Client, error) {
	c := At(socket)
	v, err := c.Version(ctx)
	if err != nil {
		return nil, err
	}
	c.api, err = negotiate(v.API, v.MinAPI)
	return c, err
}

// API returns the version of the API that is spoken: "1.44"; "" without one.
func (c *Client) API() string { return c.api }

// Close lets go of the connections that are kept.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// negotiate picks the newest version that both know.
func negotiate(newest, oldest string) (string, error) {
	theirs, ok := parseAPI(newest)
	if !ok {
		return "", fmt.Errorf("cannot speak with the Docker engine: it names no version of its API: %.40q", newest)
	}
	least, ok := parseAPI(cmp.Or(oldest, newest))
	if !ok {
		return "", fmt.Errorf("cannot speak with the Docker engine: it names no oldest version of its API: %.40q", oldest)
	}
	ourLeast, _ := parseAPI(oldestAPI)
	ourMost, _ := parseAPI(newestAPI)
	if theirs < ourLeast {
		return "", fmt.Errorf("cannot speak with the Docker engine: its API is %s, and %s is the oldest that can be spoken", newest, oldestAPI)
	}
	if least > ourMost {
		return "", fmt.Errorf("cannot speak with the Docker engine: it speaks no API older than %s, and %s is the newest that can be spoken", oldest, newestAPI)
	}
	return fmt.Sprintf("1.%d", min(theirs, ourMost)), nil
}

// parseAPI returns the second number of "1.44".
func parseAPI(text string) (int, bool) {
	minor, found := strings.CutPrefix(text, "1.")
	n, err := strconv.ParseUint(minor, 10, 16)
	return int(n), found && err == nil
}

// Version is what an engine says of itself.
type Version struct {
	Version string `json:"Version"`
	API     string `json:"ApiVersion"`
	MinAPI  string `json:"MinAPIVersion"`

	Components []struct{ Name string }
}

// Podman reports whether it is Podman that answers.
func (v Version) Podman() bool {
	for _, c := range v.Components {
		if strings.HasPrefix(c.Name, "Podman") {
			return true
		}
	}
	return false
}

// Version asks the engine what it is.
func (c *Client) Version(ctx context.Context) (v Version, err error) {
	err = c.get(ctx, "ask the Docker engine for its version", "/version", nil, &v)
	return v, err
}

// Raw returns the answer to GET path, at most limit bytes of it.
func (c *Client) Raw(ctx context.Context, path string, limit int64) ([]byte, error) {
	body, err := c.do(ctx, "ask the Docker engine", http.MethodGet, path, nil, nil, "")
	if err != nil {
		return nil, err
	}
	defer body.Close()
	b, err := io.ReadAll(io.LimitReader(body, limit))
	if err != nil {
		return nil, fmt.Errorf("cannot read the answer of the Docker engine: %w", err)
	}
	return b, nil
}

// get asks a question and reads the answer into out.
func (c *Client) get(ctx context.Context, what, path string, query url.Values, out any) error {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	return c.call(ctx, what, http.MethodGet, path, query, nil, out)
}

// call sends a value as JSON, or nothing, and reads the answer into out, or not at all.
func (c *Client) call(ctx context.Context, what, method, path string, query url.Values, in, out any) error {
	var content io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return fmt.Errorf("cannot %s: %w", what, err)
		}
		content = bytes.NewReader(b)
	}
	body, err := c.do(ctx, what, method, path, query, content, "application/json")
	if err != nil {
		return err
	}
	defer body.Close()
	if out == nil {
		_, err = io.Copy(io.Discard, io.LimitReader(body, maxAnswer))
		return err
	}
	if err := json.NewDecoder(io.LimitReader(body, maxAnswer)).Decode(out); err != nil {
		return fmt.Errorf("cannot %s: the answer of the Docker engine is not understood: %w", what, err)
	}
	return nil
}

// do sends a request and returns the body of an answer that is no refusal.
func (c *Client) do(ctx context.Context, what, method, path string, query url.Values, content io.Reader, kind string) (io.ReadCloser, error) {
	target := "http://docker"
	if c.api != "" {
		target += "/v" + c.api
	}
	target += path
	if len(query) > 0 {
		target += "?" + query.Encode()
	}
	request, err := http.NewRequestWithContext(ctx, method, target, content)
	if err != nil {
		return nil, fmt.Errorf("cannot %s: %w", what, err)
	}
	if content != nil {
		request.Header.Set("Content-Type", kind)
	}
	response, err := c.http.Do(request)
	if err != nil {
		var u *url.Error
		if errors.As(err, &u) { // its text has an address that nobody knows
			err = u.Err
		}
		return nil, fmt.Errorf("cannot %s at %s: %w", what, c.socket, err)
	}
	if response.StatusCode < 300 || response.StatusCode == http.StatusNotModified { // it is so already
		return response.Body, nil
	}
	defer response.Body.Close()
	b, _ := io.ReadAll(io.LimitReader(response.Body, maxComplaint))
	return nil, &Error{Status: response.StatusCode, Message: complaint(b), what: what}
}

// complaint is the message of a refusal in one line.
func complaint(b []byte) string {
	var v struct{ Message string }
	if json.Unmarshal(b, &v) != nil || v.Message == "" {
		v.Message = string(b)
	}
	return oneLine(v.Message)
}

func oneLine(text string) string {
	return strings.Join(strings.Fields(strings.ToValidUTF8(text, "")), " ")
}

// filters is the parameter by which lists are narrowed.
func filters(kind string, values ...string) url.Values {
	b, err := json.Marshal(map[string][]string{kind: values})
	if err != nil { // strings
		panic(err)
	}
	return url.Values{"filters": {string(b)}}
}

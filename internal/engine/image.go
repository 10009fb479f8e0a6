package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

const (
	// loadTimeout is for an archive of 1 GB on a slow card.
	loadTimeout = 20 * time.Minute
	// pullTimeout is for 300 MB over a line of 0.5 Mbit/s.
	pullTimeout = 90 * time.Minute
	// maxProgress bounds the story of a pull, in bytes: a line of 200 bytes, ten times a second, for an hour.
	maxProgress = 64 << 20
)

// Image is an image of the engine.
type Image struct {
	ID      string   `json:"Id"`
	Tags    []string `json:"RepoTags"`    // "rancher/k3s:v1.33.2-k3s1"
	Digests []string `json:"RepoDigests"` // "rancher/k3s@sha256:..."
	Size    int64    `json:"Size"`
}

// Images lists all images that have a name.
func (c *Client) Images(ctx context.Context) (all []Image, err error) {
	err = c.get(ctx, "list the images", "/images/json", nil, &all)
	return all, err
}

// Image returns an image by its name or id. See [NotFound].
func (c *Client) Image(ctx context.Context, name string) (i Image, err error) {
	err = c.get(ctx, "look for the image "+name, "/images/"+name+"/json", nil, &i)
	return i, err
}

// LoadImages loads the images of a tar archive, as docker save makes it.
func (c *Client) LoadImages(ctx context.Context, archive io.Reader) error {
	ctx, cancel := context.WithTimeout(ctx, loadTimeout)
	defer cancel()
	body, err := c.do(ctx, "load images", http.MethodPost, "/images/load", url.Values{"quiet": {"1"}}, archive, "application/x-tar")
	if err != nil {
		return err
	}
	defer body.Close()
	return follow(body, "load images", nil)
}

// PullImage pulls an image by its digest: "docker.io/rancher/k3s", "sha256:...". progress is told how much of it has come, and may
// be nil.
func (c *Client) PullImage(ctx context.Context, repository, digest string, progress func(done, total int64)) error {
	if !strings.HasPrefix(digest, "sha256:") {
		return fmt.Errorf("cannot pull %s: %q is no digest", repository, digest)
	}
	ctx, cancel := context.WithTimeout(ctx, pullTimeout)
	defer cancel()
	what := "pull " + repository + "@" + digest
	body, err := c.do(ctx, what, http.MethodPost, "/images/create", url.Values{"fromImage": {repository}, "tag": {digest}}, nil, "")
	if err != nil {
		return err
	}
	defer body.Close()
	return follow(body, what, progress)
}

// TagImage gives an image one more name.
func (c *Client) TagImage(ctx context.Context, name, repository, tag string) error {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	return c.call(ctx, "name an image "+repository+":"+tag, http.MethodPost, "/images/"+name+"/tag", url.Values{"repo": {repository}, "tag": {tag}}, nil, nil)
}

// RemoveImage removes a name of an image, and with the last one the image. See [NotFound] and [Conflict].
func (c *Client) RemoveImage(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeout(ctx, removeTimeout)
	defer cancel()
	return c.call(ctx, "remove the image "+name, http.MethodDelete, "/images/"+name, nil, nil, nil)
}

// follow reads what the engine tells while it works on a request, which is where its failures are.
func follow(body io.Reader, what string, progress func(done, total int64)) error {
	type part struct{ done, total int64 }
	parts := map[string]part{}
	lines := json.NewDecoder(io.LimitReader(body, maxProgress))
	for {
		var line struct {
			ID             string `json:"id"`
			Error          string `json:"error"`
			ProgressDetail struct {
				Current int64 `json:"current"`
				Total   int64 `json:"total"`
			} `json:"progressDetail"`
			Status string `json:"status"`
		}
		err := lines.Decode(&line)
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("cannot %s: the Docker engine has not told the end: %w", what, err)
		case line.Error != "":
			return &Error{Status: http.StatusOK, Message: oneLine(line.Error[:min(len(line.Error), maxComplaint)]), what: what}
		}
		if progress == nil || line.ProgressDetail.Total == 0 || line.Status != "Downloading" || len(parts) > 1000 {
			continue
		}
		parts[line.ID] = part{line.ProgressDetail.Current, line.ProgressDetail.Total}
		var done, total int64
		for _, p := range parts {
			done, total = done+p.done, total+p.total
		}
		progress(done, total)
	}
}

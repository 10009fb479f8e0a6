package engine

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestNegotiate(t *testing.T) {
	for _, tt := range []struct{ newest, oldest, want, fails string }{
		{"1.52", "1.44", "1.52", ""}, // Docker 29
		{"1.43", "1.12", "1.43", ""}, // Docker 24
		{"1.41", "1.12", "1.41", ""}, // Docker 20.10
		{"1.40", "", "1.40", ""},     // Docker 19.03
		{"1.99", "1.44", "1.52", ""},
		{"1.39", "1.12", "", "1.40 is the oldest"},
		{"1.99", "1.60", "", "no API older than 1.60"},
		{"", "", "", "names no version"},
		{"2.0", "", "", "names no version"},
		{"1.44", "1.x", "", "no oldest version"},
	} {
		got, err := negotiate(tt.newest, tt.oldest)
		if got != tt.want || (err == nil) != (tt.fails == "") || err != nil && !strings.Contains(err.Error(), tt.fails) {
			t.Errorf("%q, %q: %q, %v", tt.newest, tt.oldest, got, err)
		}
	}
}

// serve is an engine that gives one answer to all but the question for its version.
func serve(t *testing.T, status int, body string) *Client {
	t.Helper()
	dir, err := os.MkdirTemp("", "engine")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	l, err := net.Listen("unix", filepath.Join(dir, "s"))
	if err != nil {
		t.Fatal(err)
	}
	srv := &httptest.Server{Listener: l, Config: &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/version" {
			_, _ = w.Write([]byte(`{"Version":"29.0.0","ApiVersion":"1.52","MinAPIVersion":"1.44"}`))
			return
		}
		if !strings.HasPrefix(r.URL.Path, "/v1.52/") {
			t.Errorf("asked for %s", r.URL.Path)
		}
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
	})}}
	srv.Start()
	t.Cleanup(srv.Close)
	c, err := Connect(t.Context(), l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func TestRefusals(t *testing.T) {
	c := serve(t, http.StatusNotFound, `{"message":"No such container: x"}`)
	_, err := c.Container(t.Context(), "x")
	if !NotFound(err) || Conflict(err) || err.Error() != "cannot look at the container x: the Docker engine says: No such container: x" {
		t.Error(err)
	}
	c = serve(t, http.StatusConflict, "in\nuse")
	if err := c.RemoveImage(t.Context(), "x:1"); !Conflict(err) || !strings.HasSuffix(err.Error(), "says: in use") {
		t.Error(err)
	}
	c = serve(t, http.StatusOK, "<html>")
	if _, err := c.Networks(t.Context()); err == nil || !strings.Contains(err.Error(), "not understood") {
		t.Error(err)
	}
}

func TestNoEngine(t *testing.T) {
	_, err := Connect(t.Context(), filepath.Join(t.TempDir(), "docker.sock"))
	if !errors.Is(err, os.ErrNotExist) || strings.Contains(err.Error(), "http://") {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := At("/run/none").Version(ctx); err == nil {
		t.Error("an engine that is not there has a version")
	}
}

func TestFailuresInTheStoryOfAPull(t *testing.T) {
	c := serve(t, http.StatusOK, `{"status":"Downloading","id":"a","progressDetail":{"current":1,"total":4}}
{"status":"Downloading","id":"b","progressDetail":{"current":2,"total":4}}
{"error":"no space left on device"}`)
	var done, total int64
	err := c.PullImage(t.Context(), "rancher/k3s", "sha256:00", func(d, of int64) { done, total = d, of })
	if err == nil || !strings.Contains(err.Error(), "no space left on device") || done != 3 || total != 8 {
		t.Errorf("%v, %d of %d", err, done, total)
	}
	if err := serve(t, http.StatusOK, `{"status":"Do`).LoadImages(t.Context(), strings.NewReader("")); err == nil {
		t.Error("a story without an end is taken")
	}
	if err := c.PullImage(t.Context(), "rancher/k3s", "latest", nil); err == nil {
		t.Error("an image is pulled by a name")
	}
}

// TestComplaintOfAStreamIsBounded: what an engine says goes into logs and events.
func TestComplaintOfAStreamIsBounded(t *testing.T) {
	err := follow(strings.NewReader(`{"error":"`+strings.Repeat("no ", 1<<20)+`"}`), "pull", nil)
	if err == nil || len(err.Error()) > 2*maxComplaint {
		t.Errorf("%d bytes", len(err.Error()))
	}
}

func FuzzFollow(f *testing.F) {
	f.Add([]byte(`{"status":"Downloading","id":"a","progressDetail":{"current":1,"total":4}}`))
	f.Add([]byte(`{"error":"x"}`))
	f.Fuzz(func(t *testing.T, story []byte) {
		_ = follow(strings.NewReader(string(story)), "pull", func(int64, int64) {})
		_ = complaint(story)
		_, _ = negotiate(string(story), string(story))
	})
}

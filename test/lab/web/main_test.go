package main

import (
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestHandler(t *testing.T) {
	h := handler("a test", "web-1", 0, slog.New(slog.DiscardHandler))
	for path, want := range map[string]string{
		"/":        "hello from a test on pod web-1\n",
		"/healthz": "ok\n",
	} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
		if got := w.Body.String(); got != want {
			t.Errorf("%s answers %q, want %q", path, got, want)
		}
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("GET", "/slow", nil))
	if got := strings.Count(w.Body.String(), "\n"); got != 10 || !w.Flushed {
		t.Errorf("/slow answers %d lines, flushed: %v", got, w.Flushed)
	}
}

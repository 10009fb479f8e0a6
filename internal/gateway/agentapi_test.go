package gateway

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/tunnel"
)

func TestLifeSignOf(t *testing.T) {
	for agents, want := range map[int]time.Duration{
		0: 20 * time.Second, 3750: 20 * time.Second, 7500: 40 * time.Second, 10_000: 50 * time.Second, 1_000_000: 50 * time.Second,
	} {
		if got := lifeSignOf(agents); got != want || got+5*time.Second > tunnel.DesiredSilence {
			t.Errorf("%d agents: %s, want %s, well below %s", agents, got, want, tunnel.DesiredSilence)
		}
	}
}

// TestRest: a stream of documents of which nothing changes gives a sign of life now and then, less often with thousands of agents, and asks
// nothing of the store, which is not there.
func TestRest(t *testing.T) {
	for agents, want := range map[int]int{1: 6, 10_000: 2} {
		synctest.Test(t, func(t *testing.T) {
			g := new(Gateway)
			g.sessions.machines = agents
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			w := httptest.NewRecorder()
			r := httptest.NewRequestWithContext(ctx, http.MethodGet, "/", nil)
			changed := make(chan struct{})
			time.AfterFunc(2*time.Minute+time.Second, func() { close(changed) })
			if !g.rest(w, r, changed) {
				t.Errorf("%d agents: nobody is there", agents)
			}
			if said := w.Body.String(); said != strings.Repeat("\n", want) || !w.Flushed {
				t.Errorf("%d agents: said %q in two minutes, want %d signs of life", agents, said, want)
			}
			if began := time.Now(); !g.rest(w, r, nil) || time.Since(began) != recheckAfter {
				t.Errorf("%d agents: nothing changed, and it looked again after %s, want %s", agents, time.Since(began), recheckAfter)
			}
			time.AfterFunc(time.Second, cancel)
			if began := time.Now(); g.rest(w, r, nil) || time.Since(began) != time.Second {
				t.Errorf("%d agents: it rested on for %s after who listened was gone", agents, time.Since(began))
			}
		})
	}
}

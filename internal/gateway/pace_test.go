package gateway

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/metric"
)

// carried passes n bytes up and n bytes down for a user, and returns how long that took.
func carried(t *testing.T, u *usage, l Limits, user, cluster string, n int) time.Duration {
	t.Helper()
	s, err := u.take(l, claim{user: user, to: agentKey{cluster, ""}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.release()
	began := time.Now()
	answer := httptest.NewRecorder()
	w, r := s.paced(answer, httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", strings.NewReader(strings.Repeat("u", n))))
	raw, err := io.ReadAll(r.Body)
	if err != nil || len(raw) != n {
		t.Errorf("%d bytes came up, %v", len(raw), err)
	}
	if got, err := w.Write(bytes.Repeat([]byte("d"), n)); err != nil || got != n || answer.Body.Len() != n {
		t.Errorf("%d bytes went down, %d arrived, %v", got, answer.Body.Len(), err)
	}
	return time.Since(began)
}

// TestBytesPerSecond: one user has so many bytes per second in all that is open, one after the other or at a time, and takes nothing of
// another one's; all users of a machine have so many together.
func TestBytesPerSecond(t *testing.T) {
	const most = 1 << 20
	about := func(t *testing.T, what string, got time.Duration, want float64) {
		t.Helper()
		if got.Seconds() < want-0.1 || got.Seconds() > want+0.1 {
			t.Errorf("%s took %s, not %.1f s", what, got, want)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		u := &usage{metrics: metric.New(metric.Gateway())}
		l := Limits{UserBytes: most}.filled()
		about(t, "a second's worth", carried(t, u, l, "alice", "shop", most/2), 0)
		about(t, "the same again", carried(t, u, l, "alice", "bank", most/2), 1)
		about(t, "another user", carried(t, u, l, "bob", "shop", most/2), 0)
		about(t, "nobody", carried(t, u, l, "", "shop", 4*most), 0)
		time.Sleep(10 * time.Second)
		about(t, "after a rest", carried(t, u, l, "alice", "shop", most/2), 0)
		var all sync.WaitGroup
		began := time.Now()
		for range 4 {
			all.Go(func() { carried(t, u, l, "alice", "shop", most/2) })
		}
		all.Wait()
		about(t, "four at a time", time.Since(began), 4)
		time.Sleep(time.Hour)
		carried(t, u, l, "carol", "shop", 1)
		if len(u.userBytes.of) != 1 {
			t.Errorf("%d budgets are kept", len(u.userBytes.of))
		}
	})
	synctest.Test(t, func(t *testing.T) {
		u := &usage{metrics: metric.New(metric.Gateway())}
		l := Limits{AgentBytes: most}.filled()
		about(t, "alice at the machine", carried(t, u, l, "alice", "shop", most/2), 0)
		about(t, "bob at the machine", carried(t, u, l, "bob", "shop", most/2), 1)
		about(t, "another machine", carried(t, u, l, "alice", "bank", most/2), 0)
		var text bytes.Buffer
		if err := u.metrics.Write(&text); err != nil {
			t.Fatal(err)
		}
		if want := metric.GatewayPrefix + metric.Delayed + `{limit="agent"} ` + strconv.Itoa(most); !strings.Contains(text.String(), want) {
			t.Errorf("want %s in\n%s", want, text.String())
		}
	})
}

// TestBytesOfBulk: requests that carry much have all that a user may, between them, and leave room for one that carries little: a shell does not
// wait for a copy.
func TestBytesOfBulk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const most = 2 << 20
		u := &usage{metrics: metric.New(metric.Gateway())}
		l := Limits{UserBytes: most}.filled()
		ctx, cancel := context.WithCancel(t.Context())
		var all sync.WaitGroup
		began := time.Now()
		var sent [3]atomic.Int64
		for i := range sent {
			s, err := u.take(l, claim{user: "alice", to: agentKey{"shop", ""}})
			if err != nil {
				t.Fatal(err)
			}
			all.Go(func() {
				defer s.release()
				w, _ := s.paced(httptest.NewRecorder(), httptest.NewRequestWithContext(ctx, http.MethodGet, "/", nil))
				for ctx.Err() == nil {
					n, _ := w.Write(make([]byte, 100_000))
					sent[i].Add(int64(n))
				}
			})
		}
		time.Sleep(5 * time.Second) // each has carried more than a MiB
		shell, err := u.take(l, claim{user: "alice", to: agentKey{"shop", ""}})
		if err != nil {
			t.Fatal(err)
		}
		w, _ := shell.paced(httptest.NewRecorder(), httptest.NewRequestWithContext(ctx, http.MethodGet, "/", nil))
		for range 100 {
			asked := time.Now()
			_, _ = w.Write(make([]byte, 1000))
			if took := time.Since(asked); took > 0 {
				t.Fatalf("a small one waits for %s", took)
			}
			time.Sleep(50 * time.Millisecond)
		}
		shell.release()
		elapsed, total := time.Since(began).Seconds(), 0
		cancel()
		all.Wait()
		for i := range sent {
			if total += int(sent[i].Load()); float64(sent[i].Load()) < elapsed*most/4 {
				t.Errorf("one of three has %d bytes in %.0f s", sent[i].Load(), elapsed)
			}
		}
		if want := (elapsed + 1) * most; float64(total) < 0.95*want || float64(total) > want {
			t.Errorf("%d bytes in %.0f s, want about %.0f", total, elapsed, want)
		}
	})
}

// TestBytesThatNobodyWaitsFor: a request that is given up waits no longer, and what it had reserved is another's.
func TestBytesThatNobodyWaitsFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := &usage{metrics: metric.New(metric.Gateway())}
		l := Limits{UserBytes: LeastBytes}.filled()
		carried(t, u, l, "alice", "shop", LeastBytes/2)
		s, err := u.take(l, claim{user: "alice", to: agentKey{"shop", ""}})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		began := time.Now()
		w, _ := s.paced(httptest.NewRecorder(), httptest.NewRequestWithContext(ctx, http.MethodGet, "/", nil))
		_, _ = w.Write(make([]byte, LeastBytes/2))
		if took := time.Since(began); took != 10*time.Millisecond {
			t.Errorf("it waited for %s", took)
		}
		s.release()
	})
}

// TestNoLimitOnBytes: where there is none, nothing is in between.
func TestNoLimitOnBytes(t *testing.T) {
	u := &usage{}
	s, err := u.take(Limits{}.filled(), claim{user: "alice", to: agentKey{"shop", ""}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.release()
	w, r := httptest.NewRecorder(), httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
	if pw, pr := s.paced(w, r); pw != w || pr != r {
		t.Error("the request is another one")
	}
}

package transport

import (
	"context"
	"errors"
	"net"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// contest is a race between ways each of which does as it is told after a while.
type contest struct {
	began time.Time
	mu    sync.Mutex
	seen  []string // what happened when
	open  map[string]bool
}

// outcome is what becomes of a way: after a time it fails or succeeds; one of "late" succeeds when it is given up.
type outcome struct {
	after time.Duration
	how   string
}

// pipe is a connection that says when it is closed.
type pipe struct {
	net.Conn
	closed func()
}

func (p pipe) Close() error {
	p.closed()
	return p.Conn.Close()
}

func (c *contest) note(what string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.seen = append(c.seen, time.Since(c.began).String()+" "+what)
}

func (c *contest) run(ctx context.Context, ways []way, outcomes map[string]outcome) (*Conn, []failure) {
	c.began, c.open = time.Now(), map[string]bool{}
	return race(ctx, ways, func(ctx context.Context, w way) (*Conn, error) {
		name := w.String()
		c.note("begins " + name)
		o := outcomes[name]
		made := func() (*Conn, error) {
			here, there := net.Pipe()
			_ = there.Close()
			c.mu.Lock()
			defer c.mu.Unlock()
			c.open[name] = true
			return &Conn{way: w, Conn: pipe{here, func() {
				c.mu.Lock()
				defer c.mu.Unlock()
				delete(c.open, name)
			}}}, nil
		}
		select {
		case <-ctx.Done():
			if o.how == "late" {
				return made()
			}
			c.note("gives up " + name)
			return nil, ctx.Err()
		case <-time.After(o.after):
		}
		if o.how == "fails" {
			return nil, errors.New(name + " fails")
		}
		return made()
	})
}

func TestRace(t *testing.T) {
	p, _ := url.Parse("http://u:p@proxy:1")
	ways := []way{{wait: stagger}, {webSocket: true, wait: stagger}, {proxy: p, wait: patience}, {webSocket: true, proxy: p, wait: stagger}}
	const far = time.Hour
	for name, c := range map[string]struct {
		outcomes map[string]outcome
		want     string
		seen     []string
	}{
		"the first is quick": {map[string]outcome{"TLS": {100 * time.Millisecond, ""}}, "TLS", []string{"0s begins TLS"}},
		"the first is silent": {map[string]outcome{"TLS": {far, ""}, "WebSocket": {100 * time.Millisecond, ""}}, "WebSocket",
			[]string{"0s begins TLS", "500ms begins WebSocket", "600ms gives up TLS"}},
		"the first is slow, and no worse": {map[string]outcome{"TLS": {700 * time.Millisecond, ""}, "WebSocket": {far, "late"}}, "TLS",
			[]string{"0s begins TLS", "500ms begins WebSocket"}},
		"the first fails at once": {map[string]outcome{"TLS": {10 * time.Millisecond, "fails"}, "WebSocket": {10 * time.Millisecond, ""}}, "WebSocket",
			[]string{"0s begins TLS", "10ms begins WebSocket"}},
		"a failure beside a way that runs hurries nobody": {map[string]outcome{"TLS": {600 * time.Millisecond, "fails"}, "WebSocket": {far, ""},
			"TLS through http://proxy:1": {time.Second, ""}, "WebSocket through http://proxy:1": {far, ""}}, "TLS through http://proxy:1",
			[]string{"0s begins TLS", "500ms begins WebSocket", "5.5s begins TLS through http://proxy:1", "6s begins WebSocket through http://proxy:1",
				"6.5s gives up WebSocket", "6.5s gives up WebSocket through http://proxy:1"}},
		"all fail": {map[string]outcome{"TLS": {0, "fails"}, "WebSocket": {0, "fails"}, "TLS through http://proxy:1": {time.Second, "fails"},
			"WebSocket through http://proxy:1": {0, "fails"}}, "",
			[]string{"0s begins TLS", "0s begins WebSocket", "0s begins TLS through http://proxy:1", "500ms begins WebSocket through http://proxy:1"}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var x contest
				conn, failures := x.run(t.Context(), ways, c.outcomes)
				got := ""
				if conn != nil {
					got = conn.way.String()
					if !x.open[got] || len(x.open) != 1 {
						t.Errorf("open are %v", x.open)
					}
				} else if len(failures) != len(ways) || failures[2].err.Error() != ways[2].String()+" fails" {
					t.Errorf("%v", failures)
				}
				slices.Sort(x.seen) // what happens at the same time has no order
				slices.Sort(c.seen)
				if got != c.want || !slices.Equal(x.seen, c.seen) {
					t.Errorf("%q, saw %q, want %q, %q", got, x.seen, c.want, c.seen)
				}
			})
		})
	}
}

func TestRaceEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(700*time.Millisecond, cancel)
		var x contest
		conn, failures := x.run(ctx, []way{{wait: stagger}, {webSocket: true, wait: stagger}, {wait: patience}},
			map[string]outcome{"TLS": {time.Hour, ""}, "WebSocket": {time.Hour, ""}})
		if conn != nil || len(failures) != 2 || time.Since(x.began) != 700*time.Millisecond {
			t.Errorf("%v, %v after %s", conn, failures, time.Since(x.began))
		}
	})
}

// TestNoSecretInWays: what is logged, remembered and shown of a proxy is its address.
func TestNoSecretInWays(t *testing.T) {
	p, err := url.Parse("socks5://user:s3cret@proxy.example:1080")
	if err != nil {
		t.Fatal(err)
	}
	if s := (way{webSocket: true, proxy: p}).String(); s != "WebSocket through socks5://proxy.example:1080" || strings.Contains(s, "s3cret") {
		t.Error(s)
	}
}

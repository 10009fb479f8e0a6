//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/pipeopshq/pipeops-agent/test/lab"
)

// answersWithin is how long after the start of a machine the page of a project may stay away.
const answersWithin = 90 * time.Second

// reboots is how often each machine is rebooted, and its power is cut: E2E_REBOOTS, 1 if it is not set. The bar for a
// release is 10. Where it is not set, k3d with several nodes is left out.
func reboots(t *testing.T) int {
	t.Helper()
	text := os.Getenv("E2E_REBOOTS")
	if text == "" {
		return 1
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("E2E_REBOOTS is %q: want a number from 1", text)
	}
	return n
}

// TestRebootsK3s reboots a machine with k3s, and cuts its power.
func TestRebootsK3s(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	m := w.machine(t, lab.Options{})
	if err := w.PushSample(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	w.withAgent(t, m)
	installed(t, w, m, "again")
	w.deploy(t, m, "again")
	survives(t, w, m, "again", nil)
}

// survives reboots the machine and cuts its power in turn, without anybody's help: each time the page of the project must
// answer in time. It is asked for only once the machine has booted, so that nobody answers from before. What else must hold after
// each start holds looks at, with what came before it; nil is nothing.
func survives(t *testing.T, w *world, m *lab.Machine, cluster string, holds func(when string)) {
	t.Helper()
	var rebooted, cut []time.Duration
	again := func(began time.Time, when string) time.Duration {
		took := w.answersAgain(t, m, cluster, began, when)
		if holds != nil {
			holds(when)
		}
		return took
	}
	for n := range reboots(t) {
		began := time.Now()
		if err := m.Reboot(t.Context()); err != nil {
			t.Fatal(err)
		}
		rebooted = append(rebooted, again(began, fmt.Sprintf("after reboot %d", n+1)))
		if err := m.Cut(t.Context()); err != nil {
			t.Fatal(err)
		}
		began = time.Now()
		if err := m.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		cut = append(cut, again(began, fmt.Sprintf("after power cut %d", n+1)))
	}
	t.Logf("%d reboots and power cuts; the page answered after, in s:\nreboot:    %s\npower cut: %s", len(cut), figures(rebooted), figures(cut))
}

// answersAgain waits for the page and returns how long after the given time it was there.
func (w *world) answersAgain(t *testing.T, m *lab.Machine, cluster string, since time.Time, when string) time.Duration {
	t.Helper()
	ctx, cancel := context.WithDeadline(t.Context(), since.Add(answersWithin))
	defer cancel()
	var last error
	err := lab.WaitFor(ctx, "the page "+when, func(ctx context.Context) (bool, error) {
		attempt, cancel := context.WithTimeout(ctx, 2*time.Second) // a browser's user tries again too
		defer cancel()
		page, err := w.Gateway.Run(attempt, "project", "open", "web", "--cluster", cluster)
		if err != nil && ctx.Err() == nil {
			last = err
		}
		return err == nil && strings.HasPrefix(page, "hello from "+greeting), nil
	})
	if err != nil {
		status, _ := m.Exec(t.Context(), nil, "sh", "-c", "pipeops-agent status; systemctl --failed --no-pager; journalctl --no-pager -b -n 60 -u k3s -u 'pipeops-*' -u docker")
		t.Fatalf("%v: %v\n%s%s", err, last, status.Stdout, status.Stderr)
	}
	return time.Since(since)
}

// figures writes durations in the order they came, then the slowest.
func figures(all []time.Duration) string {
	var b strings.Builder
	for _, d := range all {
		fmt.Fprintf(&b, "%.1f ", d.Seconds())
	}
	fmt.Fprintf(&b, "(slowest %.1f)", slices.Max(all).Seconds())
	return b.String()
}

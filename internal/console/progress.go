package console

import (
	"encoding/json"
	"fmt"
	"io"
	"sync"
	"time"

	"golang.org/x/term"

	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

// Progress shows the events of an install. It may be used concurrently.
type Progress struct {
	show  func(wire.Event)
	close func()
}

// Show prints one event.
func (p Progress) Show(e wire.Event) { p.show(e) }

// Close ends the view: nothing moves on the terminal afterwards.
func (p Progress) Close() { p.close() }

// JSON returns a view that prints every event as one line of JSON.
func JSON(w io.Writer) Progress {
	var mu sync.Mutex
	encoder := json.NewEncoder(w)
	return Progress{
		show: func(e wire.Event) {
			mu.Lock()
			defer mu.Unlock()
			_ = encoder.Encode(e)
		},
		close: func() {},
	}
}

// Plain returns a view for logs and pipes: a line when a step starts and one when it ends, and no more than one line of
// bytes in five seconds.
func Plain(w io.Writer) Progress {
	var mu sync.Mutex
	var moved moved
	var lastBytes time.Time
	return Progress{
		show: func(e wire.Event) {
			mu.Lock()
			defer mu.Unlock()
			e = moved.follow(e)
			e.Message = cleanLines(e.Message)
			if e.State == "progress" {
				if e.Time.Sub(lastBytes) < 5*time.Second {
					return
				}
				lastBytes = e.Time
			}
			if line := line(e); line != "" {
				_, _ = fmt.Fprintln(w, line)
			}
		},
		close: func() {},
	}
}

// moved remembers how many bytes the running step has moved, so that its end can tell.
type moved struct {
	step  string
	bytes int64
}

// follow returns the event, with the bytes of its step if it ends one.
func (m *moved) follow(e wire.Event) wire.Event {
	switch {
	case e.State == "progress":
		m.step, m.bytes = e.Step, e.Bytes
	case e.State == "done" && e.Step == m.step && e.Bytes == 0:
		e.Bytes = m.bytes
	}
	return e
}

// line is the plain line of an event; empty means that it is not shown.
func line(e wire.Event) string {
	took := duration(e.DurationMS)
	switch {
	case e.Kind != "step":
		return e.Message
	case e.State == "started":
		return fmt.Sprintf("... %s", e.Title)
	case e.State == "progress":
		return fmt.Sprintf("    %s: %s", e.Title, mebibytes(e.Bytes, e.Total))
	case e.State == "done":
		return fmt.Sprintf("ok  %s (%s%s)", e.Title, took, trailing(e))
	case e.State == "unchanged":
		return fmt.Sprintf("ok  %s (as it should be)", e.Title)
	case e.State == "failed":
		return fmt.Sprintf("FAILED  %s (%s)", e.Title, took)
	case e.State == "rolled-back":
		return fmt.Sprintf("undone  %s", e.Title)
	case e.State == "waiting-reboot", e.State == "waiting-user":
		return fmt.Sprintf("WAITS  %s: %s", e.Title, e.Message)
	}
	return ""
}

// Terminal returns a view that keeps one live line with the running step, its bytes and its time, above it the lines of
// what is done.
func Terminal(w io.Writer, fd int) Progress {
	t := &terminal{w: w, fd: fd, stop: make(chan struct{})}
	var ticking sync.WaitGroup
	ticking.Go(func() {
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-t.stop:
				return
			case <-tick.C:
				t.mu.Lock()
				t.draw()
				t.mu.Unlock()
			}
		}
	})
	return Progress{
		show: t.event,
		close: func() {
			close(t.stop)
			ticking.Wait()
			t.mu.Lock()
			defer t.mu.Unlock()
			t.wipe()
		},
	}
}

type terminal struct {
	w    io.Writer
	fd   int
	stop chan struct{}

	mu      sync.Mutex
	moved   moved
	running *wire.Event // nil: no live line
	since   time.Time
	frame   int
}

func (t *terminal) event(e wire.Event) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.wipe()
	e = t.moved.follow(e)
	e.Message = cleanLines(e.Message)
	switch {
	case e.Kind != "step":
		if e.Message != "" {
			_, _ = fmt.Fprintln(t.w, e.Message)
		}
	case e.State == "started":
		t.running, t.since = &e, time.Now()
	case e.State == "progress":
		if t.running != nil {
			t.running = &e
		}
	case e.State == "done":
		t.running = nil
		_, _ = fmt.Fprintf(t.w, "  \x1b[32m✓\x1b[0m %-44s %8s%s\n", e.Title, duration(e.DurationMS), trailing(e))
	case e.State == "unchanged":
		t.running = nil
		_, _ = fmt.Fprintf(t.w, "  \x1b[2m= %-44s as it should be\x1b[0m\n", e.Title)
	case e.State == "failed":
		t.running = nil
		_, _ = fmt.Fprintf(t.w, "  \x1b[31m✗\x1b[0m %-44s %8s\n", e.Title, duration(e.DurationMS))
	case e.State == "waiting-reboot", e.State == "waiting-user":
		t.running = nil
		_, _ = fmt.Fprintf(t.w, "  \x1b[33m…\x1b[0m %-44s   waits\n", e.Title)
	case e.State == "rolled-back":
		_, _ = fmt.Fprintf(t.w, "  \x1b[33m↶\x1b[0m %-44s   undone\n", e.Title)
	}
	t.draw()
}

// trailing says how many bytes a finished step has moved, if any.
func trailing(e wire.Event) string {
	if e.Bytes == 0 {
		return ""
	}
	return ", " + mebibytes(e.Bytes, 0)
}

func (t *terminal) draw() {
	if t.running == nil {
		return
	}
	t.frame++
	spinner := []rune("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏")
	text := fmt.Sprintf("  %c %-44s %8s", spinner[t.frame%len(spinner)], t.running.Title, duration(time.Since(t.since).Milliseconds()))
	if t.running.Bytes > 0 {
		text += "  " + mebibytes(t.running.Bytes, t.running.Total)
	}
	if width, _, err := term.GetSize(t.fd); err == nil && width > 1 {
		if cut := []rune(text); len(cut) >= width {
			text = string(cut[:width-1])
		}
	}
	_, _ = fmt.Fprintf(t.w, "\r\x1b[K%s", text)
}

func (t *terminal) wipe() { _, _ = fmt.Fprint(t.w, "\r\x1b[K") }

// duration renders milliseconds as people read them.
func duration(ms int64) string {
	if ms < 60_000 {
		return fmt.Sprintf("%.1f s", float64(ms)/1000)
	}
	return fmt.Sprintf("%d:%02d min", ms/60_000, ms/1000%60)
}

// mebibytes renders a number of bytes, of a total where that is known.
func mebibytes(n, total int64) string {
	const mib = 1 << 20
	if total > 0 {
		return fmt.Sprintf("%.1f of %.1f MiB", float64(n)/mib, float64(total)/mib)
	}
	return fmt.Sprintf("%.1f MiB", float64(n)/mib)
}

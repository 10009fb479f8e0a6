package console

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/pipeopshq/pipeops-agent/internal/reason"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// events of an install: two steps, bytes in one of them, then a failure.
func events() []wire.Event {
	at := func(ms int) time.Time { return time.Unix(1_700_000_000, 0).Add(time.Duration(ms) * time.Millisecond) }
	return []wire.Event{
		{Time: at(0), Kind: "decision", Message: "k3s fits this machine"},
		{Time: at(1), Kind: "step", Step: "binary", Title: "Install the k3s binary", State: "started"},
		{Time: at(100), Kind: "step", Step: "binary", Title: "Install the k3s binary", State: "progress", Bytes: 1 << 20, Total: 2 << 20},
		{Time: at(200), Kind: "step", Step: "binary", Title: "Install the k3s binary", State: "progress", Bytes: 2 << 20, Total: 2 << 20},
		{Time: at(1300), Kind: "step", Step: "binary", Title: "Install the k3s binary", State: "done", DurationMS: 1299},
		{Time: at(1300), Kind: "step", Step: "sysctl", Title: "Raise the inotify limits", State: "unchanged"},
		{Time: at(1301), Kind: "step", Step: "unit", Title: "Start k3s", State: "started"},
		{Time: at(91301), Kind: "step", Step: "unit", Title: "Start k3s", State: "failed", DurationMS: 90_000},
		{Time: at(91302), Kind: "step", Step: "unit", Title: "Start k3s", State: "rolled-back"},
	}
}

func TestPlain(t *testing.T) {
	var out bytes.Buffer
	view := Plain(&out)
	for _, e := range events() {
		view.Show(e)
	}
	view.Close()
	want := `k3s fits this machine
... Install the k3s binary
    Install the k3s binary: 1.0 of 2.0 MiB
ok  Install the k3s binary (1.3 s, 2.0 MiB)
ok  Raise the inotify limits (as it should be)
... Start k3s
FAILED  Start k3s (1:30 min)
undone  Start k3s
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Error(diff)
	}
}

func TestTerminalKeepsOneLiveLine(t *testing.T) {
	var out bytes.Buffer
	view := Terminal(&out, -1)
	for _, e := range events() {
		view.Show(e)
	}
	view.Close()
	text := out.String()
	for _, want := range []string{"k3s fits this machine\n", "1.0 of 2.0 MiB", "✓", "1.3 s, 2.0 MiB\n", "as it should be", "✗", "undone"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is missing in %q", want, text)
		}
	}
	if !strings.HasSuffix(text, "\r\x1b[K") {
		t.Errorf("something is left on the live line: %q", text)
	}
	if lines := strings.Count(text, "\n"); lines != 5 { // decision, done, unchanged, failed, rolled back
		t.Errorf("%d lines end", lines)
	}
}

// The names in a certificate, a status line or a log are written by whoever stands on the way.
func TestNothingObeysWhatOthersWrote(t *testing.T) {
	const evil = "certificate of \x1b]0;owned\a\u202etac\r, not\n  of mirror.test"
	const want = "certificate of ?]0;owned??tac?, not\n  of mirror.test"
	event := wire.Event{Kind: "error", Message: evil}
	for name, print := range map[string]func(w *bytes.Buffer){
		"error":       func(w *bytes.Buffer) { Error(w, errors.New(evil), "") },
		"known error": func(w *bytes.Buffer) { Error(w, reason.New(reason.DownloadFailed, "x", errors.New(evil)), "") },
		"plain":       func(w *bytes.Buffer) { view := Plain(w); view.Show(event); view.Close() },
	} {
		var out bytes.Buffer
		print(&out)
		if got := out.String(); !strings.Contains(got, want) || strings.ContainsAny(got, "\x1b\a\r\u202e") {
			t.Errorf("%s: %q", name, got)
		}
	}
	var out bytes.Buffer
	view := Terminal(&out, -1)
	view.Show(event)
	view.Close()
	if got := out.String(); !strings.Contains(got, want) {
		t.Errorf("terminal: %q", got)
	}
}

// TestFixDoesNotObeyOthers: a fix names contexts, paths and users as somebody else has called them.
func TestFixDoesNotObeyOthers(t *testing.T) {
	var out bytes.Buffer
	Error(&out, reason.Newf(reason.ClusterRights, "x").WithFix("run: access manifest --user 'a\x1b]52;c;cm0K\x07'"), "")
	if strings.ContainsAny(out.String(), "\x1b\x07") {
		t.Errorf("%q", out.String())
	}
}

func TestErrors(t *testing.T) {
	refused := fmt.Errorf("cannot install: %w", reason.New(reason.NetPortTaken, "port 6443/tcp is held by nginx (pid 812)", nil))
	var out bytes.Buffer
	Error(&out, refused, "")
	want := `error: a port that is needed is taken
  why   port 6443/tcp is held by nginx (pid 812)
  fix   stop the program that is named, or move it to another port
  code  NET_PORT_TAKEN, exit code 10, more: docs/reasons.md#net_port_taken
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Error(diff)
	}
	out.Reset()
	Error(&out, refused, "pipeops-agent doctor --explain")
	if !strings.HasSuffix(out.String(), "exit code 10, more: pipeops-agent doctor --explain NET_PORT_TAKEN\n") {
		t.Error(out.String())
	}
	out.Reset()
	ErrorJSON(&out, refused)
	for _, part := range []string{`"code":"NET_PORT_TAKEN"`, `"exit":10`, `"fix":"stop`} {
		if !strings.Contains(out.String(), part) {
			t.Errorf("%s is missing in %s", part, out.String())
		}
	}
	out.Reset()
	Error(&out, errors.New("cannot x"), "")
	if out.String() != "error: cannot x\n" {
		t.Errorf("got %q", out.String())
	}
}

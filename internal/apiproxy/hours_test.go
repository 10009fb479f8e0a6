package apiproxy

import (
	"bufio"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/session"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

// speaker is an API server that says what the test says, when the test says it.
type speaker struct {
	answer *io.PipeReader // of plain requests
	spoken net.Conn       // of upgraded ones
}

func (s speaker) RoundTrip(r *http.Request) (*http.Response, error) {
	response := &http.Response{StatusCode: http.StatusOK, ProtoMajor: 1, ProtoMinor: 1, Request: r, ContentLength: -1, Body: s.answer, Header: http.Header{}}
	if r.Header.Get("Upgrade") != "" {
		response.StatusCode, response.Body, response.ContentLength = http.StatusSwitchingProtocols, s.spoken, 0
		response.Header = http.Header{"Connection": {"Upgrade"}, "Upgrade": {r.Header.Get("Upgrade")}}
	}
	return response, nil
}

// TestNothingEndsWhatIsSilentForDays: a watch, the logs of a quiet program, an upload that stands still and a shell that nobody types into
// last as long as both ends want, through both ends of a session. No limit of time is ours.
func TestNothingEndsWhatIsSilentForDays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := slog.New(slog.DiscardHandler)
		near, far := net.Pipe()
		gateway, agent := session.Server(near, log), session.Client(far, log)
		answer, say := io.Pipe()
		spoken, container := net.Pipe()
		base, err := url.Parse("https://kubernetes.example")
		if err != nil {
			t.Fatal(err)
		}
		upstream := speaker{answer, spoken}
		proxy := New(Options{Log: log, Upstream: func(context.Context) (Upstream, error) {
			return Upstream{Base: base, HTTP: upstream, Upgrade: upstream}, nil
		}})
		var serving sync.WaitGroup
		serving.Go(func() { _ = agent.Serve(t.Context(), proxy) })
		serving.Go(func() { _ = gateway.Serve(t.Context(), http.NotFoundHandler()) })

		body, send := io.Pipe() // the body of the watch's request stands still, too
		ask := func(body io.Reader, header http.Header) *http.Response {
			r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://agent"+wire.PathAgentKube+"/api/v1/pods?watch=1", body)
			if err != nil {
				t.Fatal(err)
			}
			r.Header = header
			r.Header.Set(wire.HeaderUser, "pipeops:alice")
			response, err := gateway.Transport().RoundTrip(r)
			if err != nil {
				t.Fatal(err)
			}
			return response
		}
		watch := ask(body, http.Header{})
		defer watch.Body.Close()
		shell := ask(nil, http.Header{"Connection": {"Upgrade"}, "Upgrade": {"SPDY/3.1"}})
		terminal, ok := shell.Body.(io.ReadWriteCloser)
		if !ok || shell.StatusCode != http.StatusSwitchingProtocols {
			t.Fatalf("the shell is %s, %T, %v", shell.Status, shell.Body, shell.Header)
		}
		lines, prompt := bufio.NewReader(watch.Body), bufio.NewReader(terminal)
		for range 3 {
			for _, silence := range []time.Duration{0, time.Minute, 5 * time.Minute, 3 * time.Hour, 48 * time.Hour} {
				time.Sleep(silence)
				go func() { _, _ = io.WriteString(say, "event\n") }()
				if got, err := lines.ReadString('\n'); err != nil {
					t.Fatalf("the watch after %v: %q, %v", silence, got, err)
				}
				go func() { _, _ = io.WriteString(container, "$ \n") }()
				if got, err := prompt.ReadString('\n'); err != nil {
					t.Fatalf("the shell after %v: %q, %v", silence, got, err)
				}
				go func() { _, _ = io.WriteString(terminal, "typed") }()
				if _, err := io.ReadFull(container, make([]byte, len("typed"))); err != nil {
					t.Fatalf("typed after %v: %v", silence, err)
				}
			}
		}
		_ = container.Close() // the program ends, and the shell with it
		if _, err := prompt.ReadByte(); err != io.EOF {
			t.Errorf("the shell ends with %v", err)
		}
		_ = terminal.Close()
		_ = say.CloseWithError(io.ErrUnexpectedEOF) // the API server is cut off
		if _, err := lines.ReadString('\n'); err == nil || err == io.EOF {
			t.Errorf("a watch that was cut off ends with %v", err)
		}
		_ = send.Close()
		gateway.Close(nil)
		agent.Close(nil)
		serving.Wait()
	})
}

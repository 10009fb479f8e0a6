package tunnel

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/pipeopshq/pipeops-agent/internal/reason"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// answers is a gateway that gives one answer.
type answers func(*http.Request) *http.Response

func (f answers) RoundTrip(r *http.Request) (*http.Response, error) { return f(r), nil }

func client(status int, body io.Reader) *Client {
	return &Client{http: &http.Client{Transport: answers(func(r *http.Request) *http.Response {
		return &http.Response{StatusCode: status, Status: http.StatusText(status), Body: io.NopCloser(body), Request: r, Header: http.Header{}}
	})}}
}

func TestPaced(t *testing.T) {
	var c Client
	for _, tt := range []struct {
		told int
		want time.Duration
	}{{0, time.Minute}, {10, time.Minute}, {25, time.Minute}, {50, 2 * time.Minute}, {1000, 4 * time.Minute}} {
		if told := (wire.Welcome{KeepAlive: tt.told}); tt.told > 0 {
			c.every.Store(int64(told.KeepAliveTime()))
		}
		if got := c.Paced(time.Minute); got != tt.want {
			t.Errorf("told %d s: %s, want %s", tt.told, got, tt.want)
		}
	}
}

func TestDesiredReadsDocumentsAndSignsOfLife(t *testing.T) {
	c := client(200, strings.NewReader(`{"kind":"Project","name":"a","generation":3}`+"\n\n"+`{"kind":"Project","name":"b","generation":4,"deleted":true}`+"\n\n"))
	var got []wire.Document
	err := c.Desired(t.Context(), 2, func(d wire.Document) error { got = append(got, d); return nil })
	if !reason.Is(err, reason.SessionLost) {
		t.Errorf("the end of the stream is %v", err)
	}
	if len(got) != 2 || got[0].Generation != 3 || !got[1].Deleted {
		t.Errorf("got %+v", got)
	}
}

// TestFollowKeepsTheOrder: who leads is told in its place between the documents.
func TestFollowKeepsTheOrder(t *testing.T) {
	var asked string
	body := `{"lead":{"term":3,"primary":true}}` + "\n" + `{"kind":"Project","name":"a","generation":3}` + "\n\n" + `{"lead":{"term":3,"primary":true,"complete":true}}` + "\n" + `{"lead":{"term":4,"primary":false}}` + "\n"
	c := &Client{http: &http.Client{Transport: answers(func(r *http.Request) *http.Response {
		asked = r.URL.RequestURI()
		return &http.Response{StatusCode: 200, Body: io.NopCloser(strings.NewReader(body)), Request: r}
	})}}
	var got []string
	err := c.Follow(t.Context(), 7, 2, func(d wire.Document) error { got = append(got, d.Name); return nil }, func(l wire.Lead) error {
		got = append(got, fmt.Sprint(l.Term, l.Primary, l.Complete))
		return nil
	})
	if want := "[3 true false a 3 true true 4 false false]"; fmt.Sprint(got) != want || asked != wire.PathDesired+"?after=7&term=2" || !reason.Is(err, reason.SessionLost) {
		t.Errorf("asked %s, got %v, want %s; %v", asked, got, want, err)
	}
	refused := errors.New("not kept")
	if err := c.Follow(t.Context(), 0, 0, nil, func(wire.Lead) error { return refused }); !errors.Is(err, refused) {
		t.Errorf("got %v", err)
	}
}

// FuzzFollow: whatever a gateway sends, the stream ends with an error, and each line is a document or says who leads.
func FuzzFollow(f *testing.F) {
	f.Add([]byte(`{"lead":{"term":3,"primary":true}}` + "\n" + `{"kind":"Project","name":"a","generation":3}` + "\n\n"))
	f.Add([]byte(`{"lead":null,"kind":"x"}` + "\n" + `{"lead":[]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		n := 0
		err := client(200, bytes.NewReader(body)).Follow(t.Context(), 0, 0, func(wire.Document) error { n++; return nil }, func(wire.Lead) error { n++; return nil })
		if err == nil || n > bytes.Count(body, []byte("\n"))+1 {
			t.Errorf("%d lines of %q, %v", n, body, err)
		}
	})
}

func TestDesiredFailures(t *testing.T) {
	refused := errors.New("not this one")
	tests := []struct {
		name   string
		status int
		body   io.Reader
		check  func(error) bool
	}{
		{"refusal", 403, strings.NewReader(`{"code":"CERTIFICATE_EXPIRED","message":"x"}`), func(err error) bool { return reason.Is(err, reason.CertificateExpired) }},
		{"no JSON", 200, strings.NewReader("{\n"), func(err error) bool { return err != nil }},
		{"line too long", 200, strings.NewReader(strings.Repeat("x", wire.MaxDocument+1)), func(err error) bool { return reason.Is(err, reason.SessionLost) }},
		{"cut", 200, io.MultiReader(strings.NewReader(`{"kind":`), broken{}), func(err error) bool { return err != nil }},
		{"not accepted", 200, strings.NewReader("{}\n"), func(err error) bool { return errors.Is(err, refused) }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := client(tt.status, tt.body).Desired(t.Context(), 0, func(wire.Document) error { return refused })
			if !tt.check(err) {
				t.Errorf("got %v", err)
			}
		})
	}
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

func TestDesiredGivesUpASilentGateway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		body, say := io.Pipe()
		c := &Client{http: &http.Client{Transport: answers(func(r *http.Request) *http.Response {
			context.AfterFunc(r.Context(), func() { _ = body.CloseWithError(r.Context().Err()) })
			return &http.Response{StatusCode: 200, Body: body, Request: r}
		})}}
		go func() {
			for range 3 { // signs of life in time
				time.Sleep(DesiredSilence - time.Second)
				_, _ = io.WriteString(say, "\n")
			}
		}()
		start := time.Now()
		err := c.Desired(t.Context(), 0, func(wire.Document) error { return nil })
		if took := time.Since(start); took != 3*(DesiredSilence-time.Second)+DesiredSilence || !reason.Is(err, reason.SessionLost) {
			t.Errorf("gave up after %s: %v", took, err)
		}
		has := "no sign of life"
		if err == nil || !strings.Contains(err.Error(), has) {
			t.Errorf("got %v", err)
		}
	})
}

func TestCallMapsRefusals(t *testing.T) {
	if err := client(204, strings.NewReader("")).Heartbeat(t.Context(), wire.Heartbeat{}); err != nil {
		t.Error(err)
	}
	err := client(403, strings.NewReader(`{"code":"IDENTITY_REVOKED","message":"by an operator"}`)).Status(t.Context(), wire.Status{})
	if !reason.Is(err, reason.IdentityRevoked) {
		t.Errorf("got %v", err)
	}
	if _, err := client(200, strings.NewReader(`{"certificate":`)).Renew(t.Context(), wire.RenewRequest{}); !reason.Is(err, reason.SessionLost) {
		t.Errorf("got %v", err)
	}
}

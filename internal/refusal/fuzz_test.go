package refusal

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"unicode"

	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

// FuzzRead: whatever the other end gives for a refusal is a reason of the catalogue, of bounded length, that steers no terminal.
func FuzzRead(f *testing.F) {
	for _, body := range []string{`{"code":"TOKEN_USED","message":"by shop"}`, `{"code":"\u001b[2J","message":"\u009b1m"}`, `{"code":"NOT_OURS","message":"a\nb"}`, "<html>", ""} {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		body := bytes.NewReader(raw)
		err := Read(&http.Response{Status: "403 Forbidden", Body: io.NopCloser(body)})
		var known *reason.Error
		if !errors.As(err, &known) || known.Code == "" || known.Fix == "" {
			t.Fatalf("%q: %v", raw, err)
		}
		if read := len(raw) - body.Len(); read > maxBody {
			t.Errorf("%d bytes were read", read)
		}
		if strings.ContainsFunc(err.Error(), unicode.IsControl) {
			t.Errorf("%q is shown as %q", raw, err)
		}
	})
}

package session

import (
	"errors"
	"io"
	"net/http"
	"time"
)

// Answer is the body of an answer on its way to whoever asked by w. When it is cut, the rest of the request is no longer waited for:
// net/http would read on before it ends the connection (maxPostHandlerReadBytes), and with a request that stands still the cut would
// never be seen.
func Answer(w http.ResponseWriter, body io.ReadCloser) io.ReadCloser { return &answer{body, w} }

type answer struct {
	io.ReadCloser
	w http.ResponseWriter
}

func (a *answer) Read(p []byte) (int, error) {
	n, err := a.ReadCloser.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		_ = http.NewResponseController(a.w).SetReadDeadline(time.Unix(1, 0)) // long past, by whatever clock
	}
	return n, err
}

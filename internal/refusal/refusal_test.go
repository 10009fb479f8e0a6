package refusal

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/pipeopshq/pipeops-agent/internal/reason"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

func TestRoundTrip(t *testing.T) {
	recorder := httptest.NewRecorder()
	Write(recorder, http.StatusForbidden, fmt.Errorf("cannot enrol: %w", reason.Newf(reason.TokenUsed, "it was used by %s", "shop")))
	response := recorder.Result()
	if response.StatusCode != http.StatusForbidden {
		t.Errorf("status %d", response.StatusCode)
	}
	err := Read(response)
	if !reason.Is(err, reason.TokenUsed) || !strings.Contains(err.Error(), "it was used by shop") {
		t.Errorf("got %v", err)
	}
}

func TestInternalErrorsAreNotShown(t *testing.T) {
	recorder := httptest.NewRecorder()
	Write(recorder, http.StatusInternalServerError, errors.New("cannot open /secret/place"))
	if body := recorder.Body.String(); strings.Contains(body, "secret") {
		t.Errorf("the answer shows %s", body)
	}
}

func TestReadForeignAnswers(t *testing.T) {
	for _, body := range []string{"", "<html>a proxy's page</html>", "{}", "[1]", `{"code":"NOT_OURS","message":"a` + "\x1b" + `[31mb"}`, strings.Repeat("x", 1<<20)} {
		response := &http.Response{Status: "502 Bad Gateway", Body: io.NopCloser(strings.NewReader(body))}
		err := Read(response)
		if !reason.Is(err, reason.GatewayRefused) {
			t.Errorf("%.40q: got %v", body, err)
		}
		if strings.Contains(err.Error(), "\x1b") {
			t.Errorf("%.40q reaches the terminal raw", body)
		}
	}
	if err := FromWire(wire.Error{Code: string(reason.TokenExpired)}); !reason.Is(err, reason.TokenExpired) {
		t.Errorf("got %v", err)
	}
}

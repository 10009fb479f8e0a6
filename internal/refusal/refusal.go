// Package refusal is how a reason crosses HTTP: an answer that is no success carries a [wire.Error] with a code of the
// catalogue, and the other end makes a [reason.Error] of it again. Programs of Kubernetes get a Status object instead,
// since that is what they can print.
package refusal

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/pipeopshq/pipeops-agent/internal/reason"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

// maxBody bounds what is read of a refusal: a code and a sentence.
const maxBody = 16 << 10

// Write answers with err. An error that carries no reason becomes "internal error" and is not shown to the other end.
func Write(w http.ResponseWriter, status int, err error) {
	body := wire.Error{Message: "internal error"}
	var e *reason.Error
	if errors.As(err, &e) {
		body = wire.Error{Code: string(e.Code), Message: e.Evidence}
	}
	note(w, body.Code)
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // the other end is gone, or has it
}

// Read makes an error of an answer that is no success. It reads the body but does not close it. The error is a
// [reason.Error]: of the code that the other end gave, or GATEWAY_REFUSED if that is none of this version's.
func Read(response *http.Response) error {
	raw, err := io.ReadAll(io.LimitReader(response.Body, maxBody))
	if err != nil {
		return reason.New(reason.GatewayUnreachable, "the answer "+response.Status+" was cut", err)
	}
	var body wire.Error
	if json.Unmarshal(raw, &body) != nil || body.Code == "" && body.Message == "" {
		return reason.Newf(reason.GatewayRefused, "the gateway answered %s", response.Status)
	}
	return FromWire(body)
}

// FromWire makes an error of a refusal.
func FromWire(body wire.Error) error {
	message := printable(body.Message)
	for _, entry := range reason.All() {
		if string(entry.Code) == body.Code {
			return &reason.Error{Entry: entry, Evidence: message}
		}
	}
	return reason.New(reason.GatewayRefused, fmt.Sprintf("%s %s", printable(body.Code), message), nil)
}

// Note tells who records the request the code of err, if it has one. An answer for a program of Kubernetes does not show it.
func Note(w http.ResponseWriter, err error) {
	var e *reason.Error
	if errors.As(err, &e) {
		note(w, string(e.Code))
	}
}

// note tells who records the request why it is refused: the first of the writers below w that wants to know.
func note(w http.ResponseWriter, code string) {
	for {
		switch x := w.(type) {
		case interface{ Refused(string) }:
			x.Refused(code)
			return
		case interface{ Unwrap() http.ResponseWriter }:
			w = x.Unwrap()
		default:
			return
		}
	}
}

// printable keeps what another machine wrote from steering the terminal that shows it.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < 0x20 || r >= 0x7f && r < 0xa0 {
			return ' '
		}
		return r
	}, s)
}

// WriteStatus answers a program of Kubernetes. kubectl prints "Error from server (cause): message".
func WriteStatus(w http.ResponseWriter, status int, cause, message string) {
	note(w, cause)
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(struct {
		Kind       string   `json:"kind"`
		APIVersion string   `json:"apiVersion"`
		Metadata   struct{} `json:"metadata"`
		Status     string   `json:"status"`
		Message    string   `json:"message"`
		Reason     string   `json:"reason"`
		Code       int      `json:"code"`
	}{"Status", "v1", struct{}{}, "Failure", message, cause, status})
}

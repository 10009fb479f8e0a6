// Package console prints for people: errors with their way out, and the progress of an install, on a terminal, as plain
// lines, or as lines of JSON.
package console

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

// Error prints err as people need it: what happened, why, what to do, and the code with where it is explained: the command
// that does so, or "" for the documentation.
func Error(w io.Writer, err error, explaining string) {
	var e *reason.Error
	if !errors.As(err, &e) {
		_, _ = fmt.Fprintf(w, "error: %s\n", cleanLines(err.Error()))
		return
	}
	_, _ = fmt.Fprintf(w, "error: %s\n", e.Title)
	if why := e.Why(); why != "" {
		_, _ = fmt.Fprintf(w, "  why   %s\n", cleanLines(why)) // it may be what another machine said
	}
	fix := e.Fix
	if e.Where != reason.Here {
		fix += " (on the " + string(e.Where) + ")"
	}
	more := e.Doc()
	if explaining != "" {
		more = explaining + " " + string(e.Code)
	}
	// it may name contexts and users as others have called them
	_, _ = fmt.Fprintf(w, "  fix   %s\n  code  %s, exit code %d, more: %s\n", cleanLines(fix), e.Code, e.Entry.Exit, more)
}

// Failure is an error in JSON.
type Failure struct {
	Code     string `json:"code"`
	Exit     int    `json:"exit"`
	Title    string `json:"title"`
	Evidence string `json:"evidence"`
	Fix      string `json:"fix,omitempty"`
	Where    string `json:"where,omitempty"`
	Cost     string `json:"cost,omitempty"`
	Doc      string `json:"doc,omitempty"`
}

// ErrorJSON prints {"error": Failure} on one line.
func ErrorJSON(w io.Writer, err error) {
	failure := Failure{Code: "INTERNAL", Exit: reason.Exit(err), Title: "internal error", Evidence: err.Error()}
	var e *reason.Error
	if errors.As(err, &e) {
		failure = Failure{string(e.Code), e.Entry.Exit, e.Title, e.Why(), e.Fix, string(e.Where), string(e.Cost), e.Doc()}
	}
	_ = json.NewEncoder(w).Encode(map[string]Failure{"error": failure})
}

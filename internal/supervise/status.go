package supervise

import (
	"fmt"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/unit"
)

// Status is what a supervisor says of a service.
type Status struct {
	Name    string `json:"name"`
	Title   string `json:"title"`
	Enabled bool   `json:"enabled"` // it starts with the machine

	Active   string    `json:"active"` // in systemd's words: active, activating, deactivating, inactive, failed
	Sub      string    `json:"sub"`    // running, start, auto-restart, stop, dead, exited, failed
	PID      int       `json:"pid,omitempty"`
	Since    time.Time `json:"since,omitzero"`    // of the state
	Restarts int       `json:"restarts"`          // by itself, since it was last started by somebody
	Last     string    `json:"last,omitempty"`    // how its last process ended
	Code     int       `json:"code,omitempty"`    // its exit code; -1 a signal, or not known
	Ended    time.Time `json:"ended,omitzero"`    // and when
	Next     time.Time `json:"next,omitzero"`     // when it is started anew
	Adopted  bool      `json:"adopted,omitempty"` // an earlier supervisor has started its process
	Says     string    `json:"says,omitempty"`    // what it says of itself
	Log      string    `json:"log"`
}

// Ails reports whether it should run, and does not: it has failed, or waits to be started anew.
func (s Status) Ails() bool { return s.Active == failed || s.Sub == autoRestart }

// lives reports whether there is a process, or is about to be one.
func (s Status) lives() bool {
	return s.PID != 0 || s.Active == activating && s.Sub != autoRestart || s.Active == deactivating
}

// State puts it in the words of package unit.
func (s Status) State(file string) unit.State {
	u := unit.State{
		Load: "loaded", Active: s.Active, Sub: s.Sub, File: "disabled", Result: "success",
		Restarts: uint32(max(s.Restarts, 0)), MainPID: uint32(max(s.PID, 0)), ExitCode: int32(s.Code), Fragment: file,
	}
	if s.Enabled {
		u.File = "enabled"
	}
	if s.Active == failed {
		u.Result = "exit-code"
	}
	return u
}

// Text says in a line how the service is; now is for ages.
func (s Status) Text(now time.Time) string {
	text := s.Active + " (" + s.Sub + ")"
	if s.PID != 0 {
		text += fmt.Sprintf(", process %d", s.PID)
	}
	if !s.Since.IsZero() {
		text += fmt.Sprintf(", for %s", now.Sub(s.Since).Round(time.Second))
	}
	if s.Restarts > 0 {
		text += fmt.Sprintf(", started again %d times", s.Restarts)
	}
	if s.Last != "" {
		text += ", last end: " + s.Last
	}
	if !s.Enabled {
		text += ", does not start by itself"
	}
	return text + "; " + s.Log
}

// Overview is what a supervisor says of itself and of all.
type Overview struct {
	PID      int       `json:"pid"`
	Version  string    `json:"version"`
	Started  time.Time `json:"started"`
	Stopping bool      `json:"stopping,omitempty"` // it is on its way down
	Stays    bool      `json:"stays,omitempty"`    // it is the first process of a container, and does not end with the last service
	Services []Status  `json:"services"`
}

// The states, as systemd calls them.
const (
	active       = "active"
	activating   = "activating"
	deactivating = "deactivating"
	inactive     = "inactive"
	failed       = "failed"
	autoRestart  = "auto-restart"
	exited       = "exited"
	awaits       = "waiting" // for its file
)

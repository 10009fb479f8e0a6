package rig

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"runtime"
	"strings"

	"github.com/pipeopshq/pipeops-agent/internal/wire"
	"github.com/pipeopshq/pipeops-agent/test/lab"
)

// Arch is the architecture of this machine as releases name it.
func Arch() string { return runtime.GOARCH }

// InstallLine is what a user pastes on a machine: curl | sh, unattended. Arguments go to pipeops-agent install.
func (r *Rig) InstallLine(cluster string, args ...string) string {
	line := fmt.Sprintf("curl -fsSL %s/install.sh | PIPEOPS_DOWNLOAD_URL=%s %s sh", r.Dist.URL(), r.Dist.URL(), strings.Join(r.Environment(cluster), " "))
	if len(args) > 0 {
		line += " -s -- " + strings.Join(args, " ")
	}
	return line
}

// Install runs InstallLine on a machine that PrepareMachine has prepared, and returns the exit code. The events of the
// install go to events as they come.
func (r *Rig) Install(ctx context.Context, m *lab.Machine, cluster string, events *Events, stderr io.Writer) (int, error) {
	return m.ExecTo(ctx, nil, events, stderr, "sh", "-c", r.InstallLine(cluster, "-o", "json"))
}

// Events is a writer that keeps the events of an install, given to it as JSON lines.
type Events struct {
	Show func(wire.Event) // told of each as it comes; nil means nobody is
	All  []wire.Event

	rest    bytes.Buffer
	failure string
}

func (e *Events) Write(p []byte) (int, error) {
	e.rest.Write(p)
	for {
		line, err := e.rest.ReadBytes('\n')
		if err != nil { // no whole line yet
			e.rest.Write(line)
			return len(p), nil
		}
		var event struct {
			wire.Event
			Error json.RawMessage `json:"error"` // the last line of a command that failed
		}
		if err := json.Unmarshal(line, &event); err != nil {
			return len(p), fmt.Errorf("%q is no event: %w", line, err)
		}
		if event.Error != nil {
			e.failure = string(event.Error)
			continue
		}
		e.All = append(e.All, event.Event)
		if e.Show != nil {
			e.Show(event.Event)
		}
	}
}

// Steps returns the last event of each step that ended well, in order.
func (e *Events) Steps() []wire.Event {
	var steps []wire.Event
	for _, event := range e.All {
		if event.State == "done" || event.State == "unchanged" {
			steps = append(steps, event)
		}
	}
	return steps
}

// Failure returns how the command failed, as it said it, empty if it did not.
func (e *Events) Failure() string { return e.failure }

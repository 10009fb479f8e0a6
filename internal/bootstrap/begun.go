package bootstrap

import (
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/bootstrap/plan"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

// Begun is an operation that has begun and not come to its end, as the state folder tells of it.
type Begun struct {
	Command string     `json:"command"`
	State   BegunState `json:"state"`
	Step    string     `json:"step,omitempty"`       // the last that the journal knows of
	Reached plan.State `json:"step_state,omitempty"` // what has become of that
	Since   time.Time  `json:"since,omitzero"`       // when the operation began, as far as that is known
	PID     int        `json:"pid,omitempty"`        // with Running
	Why     string     `json:"why,omitempty"`        // what it waits for, or failed of
}

// BegunState says how it stands with an operation.
type BegunState string

// The states of an operation that has begun.
const (
	Running       BegunState = "running"        // a process is at it
	Due           BegunState = "due"            // it is gone on with by itself, at the next boot at the latest
	AwaitsReboot  BegunState = "waiting-reboot" // and is gone on with by itself after it
	AwaitsConsent BegunState = "waiting-user"
	Stopped       BegunState = "stopped" // a user has stopped it
	FailedBefore  BegunState = "failed"  // and nobody has tried again since
)

// LookBegun reads what has begun, without the lock; nil is nothing, or nothing that this user may see. Root is that of /proc, "" is
// this machine.
func LookBegun(dir, root string) (*Begun, error) {
	u, err := ReadUnfinished(dir)
	if errors.Is(err, fs.ErrPermission) {
		return nil, nil
	}
	if err != nil {
		return nil, reason.New(reason.NotResumed, "the note of what was to be done", err)
	}
	j, err := plan.ReadJournal(dir)
	if errors.Is(err, fs.ErrPermission) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	b := Begun{}
	name, state, open := j.Open()
	for _, e := range j.Entries() {
		if e.State == plan.Planned && e.Plan == name {
			b.Since, b.Why = e.Time, ""
		}
		if e.Step != "" && e.Plan == name {
			b.Step, b.Reached = e.Step, e.State
		}
		if e.Error != "" {
			b.Why = e.Error
		}
	}
	b.Command = name
	if u != nil {
		b.Command, b.Since, b.Why = u.Command, u.Began, u.Why
	}
	holder := plan.Held(dir)
	switch {
	case holder.PID != 0 && u != nil:
		b.State, b.PID, b.Why = Running, holder.PID, ""
	case u != nil && u.Waits == plan.WaitingUser:
		b.State = AwaitsConsent
	case u != nil && u.Waits == plan.WaitingReboot && u.WaitBoot == Boot(root):
		b.State = AwaitsReboot
	case u != nil:
		b.State = Due
	case open:
		b.State, b.Why = Stopped, ""
	case state == plan.RolledBack, state == plan.Stuck:
		b.State = FailedBefore
	default:
		return nil, nil
	}
	return &b, nil
}

// Err tells of it as an entry of the catalogue.
func (b Begun) Err() error {
	evidence := article(b.Command)
	if !b.Since.IsZero() {
		evidence += " that began " + b.Since.UTC().Format(time.RFC3339)
	}
	switch b.State {
	case Running:
		return reason.Newf(reason.Busy, "%s is under way%s, in process %d", evidence, b.at(), b.PID).WithFix("wait for its end")
	case Due:
		return reason.Newf(reason.Interrupted, "%s was interrupted%s", evidence, b.at()).
			WithFix("pipeops-agent-resume goes on with it, at the next boot at the latest; or run it again")
	case AwaitsReboot:
		return reason.Newf(reason.RebootNeeded, "%s waits for it: %s", evidence, b.Why)
	case AwaitsConsent:
		return reason.Newf(reason.ConsentNeeded, "%s waits for it: %s", evidence, b.Why)
	case FailedBefore:
		code := reason.StepFailed
		if b.Reached == plan.Stuck {
			code = reason.StepNotRolledBack
		}
		return reason.Newf(code, "%s%s: %s", evidence, b.at(), b.Why)
	}
	return reason.Newf(reason.Interrupted, "%s was stopped%s", evidence, b.at())
}

// at says where it is.
func (b Begun) at() string {
	if b.Step == "" {
		return ""
	}
	return fmt.Sprintf(" (step %s: %s)", b.Step, b.Reached)
}

// article is a command with its article.
func article(command string) string {
	if command == joinCommand {
		return "a " + command
	}
	return "an " + command
}

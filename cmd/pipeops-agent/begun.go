package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"path/filepath"

	"github.com/pipeopshq/pipeops-agent/internal/bootstrap"
	"github.com/pipeopshq/pipeops-agent/internal/console"
	"github.com/pipeopshq/pipeops-agent/internal/identity"
	"github.com/pipeopshq/pipeops-agent/internal/localapi"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
	"github.com/pipeopshq/pipeops-agent/internal/supervise"
)

// statusReport is what status prints: what the agent says, and what of an install has not come to its end.
type statusReport struct {
	localapi.Status
	Begun    *bootstrap.Begun    `json:"begun,omitempty"`
	Services *supervise.Overview `json:"supervisor,omitempty"` // where we run the services ourselves
}

// statusWith adds what has begun. Where the agent does not answer yet, that is the evidence.
func statusWith(g *globals, status localapi.Status, silence error) (statusReport, error) {
	begun, err := bootstrap.LookBegun(g.state, "")
	switch {
	case silence == nil && err == nil:
		return statusReport{Status: status, Begun: begun}, nil
	case silence == nil || err != nil || !reason.Is(silence, reason.AgentNotRunning):
		return statusReport{Status: status}, errors.Join(silence, err)
	case begun == nil:
		return statusReport{Status: status}, cmp.Or(notInstalled(g.state), silence)
	}
	var e *reason.Error
	if !errors.As(begun.Err(), &e) {
		return statusReport{}, silence
	}
	return statusReport{}, reason.New(reason.AgentNotRunning, e.Evidence, nil).WithFix(e.Fix)
}

// notInstalled returns an error where no install has got as far as to enrol the machine, and none is on its way. One that
// was refused leaves a key, with which the next goes on.
func notInstalled(state string) error {
	_, err := identity.Load(filepath.Join(state, "identity"))
	var missing *reason.Error
	if !errors.As(err, &missing) || missing.Code != reason.IdentityMissing {
		return nil
	}
	return reason.Newf(reason.AgentNotRunning, "nothing is installed here by pipeops-agent: %s", missing.Evidence).
		WithFix("pipeops-agent install --gateway HOST:PORT --token-file FILE, or join as the gateway prints it; pipeops-agent plan shows what would be done")
}

// printBegun says it in one line above what the agent says.
func (r statusReport) printBegun(w io.Writer) error {
	if r.Begun == nil {
		return nil
	}
	text := r.Begun.Err().Error()
	var e *reason.Error
	if errors.As(r.Begun.Err(), &e) {
		text = e.Evidence + " (" + string(e.Code) + "): " + e.Fix
	}
	_, err := fmt.Fprintf(w, "! %s\n\n", console.Clean(text))
	return err
}

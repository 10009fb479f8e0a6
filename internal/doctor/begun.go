package doctor

import "github.com/pipeopshq/pipeops-agent/internal/reason"

// begun judges an install that has not come to its end: one that a process is at is no fault.
func (p Patient) begun() Finding {
	f := ofError(reason.Interrupted, p.Begun)
	switch {
	case p.UnderWay:
		f.Severity, f.harmless = Note, true
	case p.Agent != nil:
		f.Severity = Attention
	}
	return f
}
